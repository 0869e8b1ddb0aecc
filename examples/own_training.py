"""A base optimizer and a schedule of one's own.

    plugins: [own_training.py]
    base: {optimizer: {name: sign_momentum, lr: 1.0e-3}, schedule: {name: late_drop, share: 0.8}, gradient: ste}

What an optimizer remembers it keeps in ``self.state``, and its rate it reads from its groups, where the schedule sets it.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from fsg import OptimizerSection, Section, register


class SignMomentum(OptimizerSection):
    """``decay``: of the moving average of gradients; ``lr`` comes with OptimizerSection."""

    name: Literal["sign_momentum"] = "sign_momentum"
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9


class SignMomentumOptimizer(torch.optim.Optimizer):
    """Every weight moves by the rate, in the direction of the average's sign."""

    def __init__(self, params, lr, decay):
        super().__init__(params, {"lr": lr, "decay": decay})

    @torch.no_grad()
    def step(self, closure=None):
        """One step; parameters without a gradient stay."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["decay"])
                p -= group["lr"] * average.sign()


@register("optimizer", SignMomentum)
def sign_momentum(config, params):
    """The optimizer of these parameters."""
    return SignMomentumOptimizer(params, config.lr, config.decay)


class LateDrop(Section):
    """``share``: of the epochs, at the full rate; a tenth of it afterwards."""

    name: Literal["late_drop"] = "late_drop"
    share: Annotated[float, Field(ge=0, le=1)] = 0.75
    warmup_epochs: Annotated[int, Field(ge=0)] = 0


@register("schedule", LateDrop)
def late_drop(config, done, epochs):
    """The factor of the epoch after ``done`` of ``epochs``; fsg itself climbs over ``warmup_epochs`` first."""
    return 1.0 if done < config.share * epochs else 0.1
