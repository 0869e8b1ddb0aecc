"""Base optimizers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fsg.parts import has_part, register
from fsg.section import ByName, Rate, Section

BUILT_IN = ("sgd", "adam", "adamw")  # that every installation has, in the form that a CUDA graph takes


class CurvatureConfig(Section):
    """The diagonal of the Hessian that an optimizer steps by.

    Args:
        name: ``hutchinson``: z (H z), by one more backward pass (fsg/train/curvature.py); ``squared_gradient``: g^2, which is
            no curvature and costs nothing; an arm of its own.
        every: Steps from one estimate to the next; left out: as many as its authors let pass.
    """

    name: Literal["hutchinson", "squared_gradient"] = "hutchinson"
    every: Annotated[int, Field(ge=1, le=100_000)] | None = None


class FloatOptimizer(Section):
    """The base optimizer of biases and BatchNorm, where it is another than that of latent weights.

    Args:
        name: ``sgd``, ``adam``, ``adamw``, or another of torch or pytorch-optimizer (docs/optimizers.md).
        lr: Learning rate.
        momentum: Of ``sgd`` alone.
        weight_decay: Decay of weights.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")] = "adam"
    lr: Rate = 1e-2
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.0

    @model_validator(mode="after")
    def _momentum_is_for_sgd(self) -> FloatOptimizer:
        if self.momentum and self.name != "sgd":
            raise ValueError(f"momentum is {self.momentum}, but {self.name} takes none here; leave it out or use sgd.")
        return self

    @model_validator(mode="after")
    def _has_no_section_of_its_own(self) -> FloatOptimizer:
        if type(self) is FloatOptimizer and self.name not in BUILT_IN and has_part("optimizer", self.name):
            raise ValueError(
                f"{self.name} has a section of its own, which optimizer.float does not take; allowed are "
                f"{', '.join(BUILT_IN)} and the optimizers of torch and pytorch-optimizer."
            )
        return self


class OptimizerSection(Section):
    """What every base optimizer has. Derive a section of your own from this one.

    Args:
        name: As studies write it.
        lr: Learning rate.
        float: The optimizer of biases and BatchNorm; left out: this one, for all parameters.
    """

    name: str
    lr: Rate = 1e-2
    float: Annotated[FloatOptimizer, ByName] | None = None


class OptimizerConfig(FloatOptimizer, OptimizerSection):
    """The base optimizer, of latent weights, and without ``float`` of biases and BatchNorm alike.

    Beside sgd, adam and adamw: adagrad, nadam, rmsprop and rprop of torch, and any optimizer of the ``pytorch-optimizer``
    package by its name there (the extra ``optimizers``) that can train a trial (docs/optimizers.md).

    Args:
        curvature: Of those that step by the diagonal of the Hessian; left out: as their authors have it.
    """

    curvature: Annotated[CurvatureConfig, ByName] | None = None

    @model_validator(mode="after")
    def _steps_by_curvature(self) -> OptimizerConfig:
        if self.curvature is not None and self.name in BUILT_IN:
            raise ValueError(
                f"curvature is given, but {self.name} does not step by it; use adahessian, sophiah, vsgd_schaul or gns."
            )
        return self


register(
    "optimizer",
    OptimizerConfig,
    "fsg.train.optim:base_optimizer",
    names=BUILT_IN,
    capturable=True,
    fusable=lambda config: f"fsg.train.fused.optim:{'SgdRows' if config.name == 'sgd' else 'AdamRows'}",
)
