"""Rivals of FSG that learn nothing: two estimators with a memory of past gradients, four base optimizers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from fsg.catalogue.gradients import Gain
from fsg.catalogue.optimizers import CurvatureConfig, FloatOptimizer, OptimizerSection
from fsg.parts import part_of, register
from fsg.section import ByName, Rate, Section, Share

# Named here, as ``float`` is a field in an optimizer's section.
Momentum = Annotated[float, Field(ge=0, lt=1)]
Gamma = Annotated[float, Field(gt=0, le=1)]
Radius = Annotated[float, Field(ge=1e-9, le=1e9)]
Threshold = Annotated[float, Field(ge=0, le=100)]


class GradQueue(Section):
    """Grad Queue: each gradient weighted by how rare it is among the last ones.

    Args:
        length: Gradients that are kept of each weight.
        limit: Weights lie between 1 / ``limit`` and ``limit``.
        gain: ``bounded`` keeps the RMS of each layer's direction within a quarter and four times that of the straight-through
            one, ``locked`` makes them equal, ``free`` leaves it (docs/method.md, section 4).
    """

    name: Literal["grad_queue"] = "grad_queue"
    length: Annotated[int, Field(ge=2, le=1024)] = 5
    limit: Annotated[float, Field(gt=1, le=1000)] = 4.0
    gain: Gain = "bounded"


class Mstgd(Section):
    """MSTGD's mixture of past and present, its share from the mean and variance of the last gradients.

    Args:
        length: Gradients that are kept of each weight.
        gain: ``bounded`` keeps the RMS of each layer's direction within a quarter and four times that of the straight-through
            one, ``locked`` makes them equal, ``free`` leaves it (docs/method.md, section 4).
    """

    name: Literal["mstgd"] = "mstgd"
    length: Annotated[int, Field(ge=2, le=1024)] = 5
    gain: Gain = "bounded"


class Bop(OptimizerSection):
    """Bop: no latent weights, signs alone. A weight flips where an average of its gradients exceeds a threshold.

    Args:
        lr: Rate of the average, gamma in the paper.
        threshold: What the average must exceed.
        float: The optimizer of biases and BatchNorm, which have no sign to flip.
    """

    name: Literal["bop"] = "bop"
    lr: Gamma = 1e-2
    threshold: Threshold = 1e-7
    float: Annotated[FloatOptimizer, ByName] | None = FloatOptimizer()


class Lcam(OptimizerSection):
    """LCAM: SGD whose momentum depends on whether the loss is below the epoch's average.

    Args:
        below: Momentum where the loss is below it.
        above: Momentum elsewhere.
        weight_decay: Decay of weights.
    """

    name: Literal["lcam"] = "lcam"
    lr: Rate = 0.1
    below: Momentum = 0.95
    above: Momentum = 0.9
    weight_decay: Share = 0.0


class VsgdSchaul(OptimizerSection):
    """vSGD of Schaul, Zhang and LeCun: every weight's rate from its own gradients, times ``lr``.

    The package pytorch-optimizer has another method under the name ``vsgd``.

    Args:
        lr: A factor of every rate.
        curvature: The diagonal of the Hessian.
    """

    name: Literal["vsgd_schaul"] = "vsgd_schaul"
    lr: Rate = 1.0
    curvature: Annotated[CurvatureConfig, ByName] = CurvatureConfig()


class Gns(OptimizerSection):
    """Gradient-normalized smoothness: a Newton step by the Hessian's diagonal, damped so that it is no longer than a radius.

    The radius doubles after a step that brought the loss down enough, and halves after any other.

    Args:
        lr: A factor of every step.
        gamma: The first radius, over all weights together.
        curvature: The diagonal of the Hessian.
    """

    name: Literal["gns"] = "gns"
    lr: Rate = 1.0
    gamma: Radius = 1.0
    curvature: Annotated[CurvatureConfig, ByName] = CurvatureConfig()


def _needs_one_bit(config: Bop, trial: Any) -> str | None:
    """Bop flips signs: of anything else it makes nonsense."""
    quantizer = part_of("quantizer", trial.quantizer)
    bits, own = (quantizer.fact(name, trial.quantizer) for name in ("bits", "per_layer"))
    if bits != 1 or own is not None:
        have = "leaves weights float" if bits is None else f"has {bits} bits"
        have = "gives layers bits of their own" if own is not None else have
        return (
            f"optimizer bop flips the signs of weights of one bit, but quantizer {trial.quantizer.name} {have}; "
            "use a quantizer of one bit, as bwn, or another optimizer."
        )
    if config.float is None:
        return "optimizer bop has no step for biases and BatchNorm; give optimizer.float, as in float: {name: adam, lr: 0.01}."
    if part_of("gradient", trial.gradient).fact("gates"):
        return (
            f"optimizer bop flips a weight or leaves it, and gradient {trial.gradient.name} would take back a part of a flip; "
            "use a gradient without gates."
        )
    return None


def _length(config: GradQueue | Mstgd) -> int:
    return config.length


register("gradient", GradQueue, "fsg.gradients.untrained:GradQueueEstimator", memory_steps=_length)
register("gradient", Mstgd, "fsg.gradients.untrained:MstgdEstimator", memory_steps=_length)
register("optimizer", Bop, "fsg.train.optimizers.own:bop", unfit=_needs_one_bit)
register("optimizer", Lcam, "fsg.train.optimizers.own:lcam")
register("optimizer", VsgdSchaul, "fsg.train.optimizers.own:vsgd_schaul")
register("optimizer", Gns, "fsg.train.optimizers.own:gns")
