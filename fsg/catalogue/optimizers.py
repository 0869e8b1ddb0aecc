"""Base optimizers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from fsg.parts import register
from fsg.section import Rate, Section

BUILT_IN = ("sgd", "adam", "adamw")  # that every installation has, in the form that a CUDA graph takes


class OptimizerSection(Section):
    """What every base optimizer has. Derive a section of your own from this one."""

    name: str
    lr: Rate = 1e-2


class OptimizerConfig(OptimizerSection):
    """The base optimizer, of latent weights, biases and BatchNorm alike.

    Beside sgd, adam and adamw: adagrad, nadam, rmsprop and rprop of torch, and any optimizer of the ``pytorch-optimizer``
    package by its name there (the extra ``optimizers``) that can train a trial (docs/optimizers.md).
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "adam"
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> OptimizerConfig:
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum is {self.momentum}, but {self.name} takes none here; leave it out or use sgd.")
        return self


register(
    "optimizer",
    OptimizerConfig,
    "fsg.train.optim:base_optimizer",
    names=BUILT_IN,
    capturable=True,
    fusable=lambda config: f"fsg.train.fused.optim:{'SgdRows' if config.name == 'sgd' else 'AdamRows'}",
)
