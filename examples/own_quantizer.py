"""A quantizer of one's own: three values, -alpha, 0 and alpha; what is small in its layer becomes 0.

    plugins: [own_quantizer.py]
    base: {quantizer: {name: ternary, threshold: 0.5}, gradient: ste}

A quantizer gets one layer's weight, or all layers end to end: ``scope`` says which weights share a scale, so it is asked for
``mean``, ``channel_mean`` and ``largest`` in place of ``weight.mean()``.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field

from fsg import Section, register
from fsg.quantizers import ONE_LAYER, Quantized


class Ternary(Section):
    """``threshold``: the share of the layer's mean magnitude below which a weight becomes 0."""

    name: Literal["ternary"] = "ternary"
    threshold: Annotated[float, Field(ge=0, le=3)] = 0.7


@dataclass(frozen=True)
class TernaryQuantizer:
    """Frozen, so that two of one configuration are equal."""

    threshold: float

    @torch.no_grad()
    def __call__(self, weight, scope=ONE_LAYER):
        """W~ = W; its slope is 1 where |W| <= 1, as bwn's."""
        magnitude = weight.abs()
        alpha = scope.mean(magnitude)
        value = alpha * torch.sign(weight) * (magnitude >= self.threshold * alpha)
        ones = torch.ones_like(weight)
        return Quantized(pre=weight.detach().clone(), value=value, calibration=ones, slope=ones * (magnitude <= 1))


@register("quantizer", Ternary, bits=lambda config: 2)
def ternary(config):
    """Two bits hold three values."""
    return TernaryQuantizer(config.threshold)
