"""A gradient estimator of one's own: the straight-through gradient, less the further a weight is from its threshold.

    m = g / (1 + (W~ / scale)^2)        W~: the weight before its sign is taken, by bwn W itself

    plugins: [own_estimator.py]
    base: {quantizer: bwn, gradient: {name: nearness, scale: 0.3}}

``generate`` gives m in place of g. An estimator that learns returns its parameters from ``meta_groups``, and one that remembers
keeps buffers: both are checkpointed.
"""

from typing import Annotated, Literal

from pydantic import Field

from fsg import Section, register
from fsg.gradients import GradientEstimator


class Nearness(Section):
    """``scale``: the distance from the threshold at which half of the gradient is left."""

    name: Literal["nearness"] = "nearness"
    scale: Annotated[float, Field(gt=0)] = 0.5


@register("gradient", Nearness)
class NearnessEstimator(GradientEstimator):
    """Nothing learnt, nothing remembered."""

    def __init__(self, config, spans):
        super().__init__(spans)
        self.scale = config.scale

    def generate(self, signal):
        """m, (N,), of all weights end to end."""
        return signal.grad / (1 + (signal.pre / self.scale) ** 2)
