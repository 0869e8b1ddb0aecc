"""Weight quantisers: latent weight W -> pre-quantised W~ = p(W) -> quantised Wq = q(W~), and the slopes around the step.

A quantiser is a pure function of one layer's latent weight. The derivative of its step does not exist; what stands in for
it is stated, not computed: ``calibration`` is c = dW~/dW (max|tanh W| and alpha held constant), ``slope`` is what the
straight-through estimator takes for dWq/dW: c where its gate |W~| <= 1 is open, 0 elsewhere.

| name          | p(W)                            | Wq                                      | c                              |
|---------------|---------------------------------|-----------------------------------------|--------------------------------|
| dorefa, k bit | tanh W / (2 max|tanh W|) + 1/2  | 2 round((2^k - 1) W~) / (2^k - 1) - 1   | (1 - tanh^2 W) / max|tanh W|   |
| bwn           | W                               | mean|W| sign(W), the layer's mean       | 1                              |
| bwn_channel   | W                               | mean|W_o| sign(W), the channel's mean   | 1                              |

dorefa's c holds the outer factor 2 and its gate is always open; it rounds half to even, so W = 0 becomes -1 at one bit.
In bwn sign(0) = +1. Sources: DoReFa-Net (arXiv:1606.06160), XNOR-Net (arXiv:1603.05279). Proof: tests/test_quantizers.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from fsg.config import Bwn, Dorefa, FloatWeights, QuantizerConfig


class Quantized(NamedTuple):
    """One layer's weight and the stages of its quantisation, each of W's shape and dtype, none with a graph."""

    pre: Tensor
    value: Tensor
    calibration: Tensor
    slope: Tensor


Quantizer = Callable[[Tensor], Quantized]


@dataclass(frozen=True)
class DorefaQuantizer:
    """DoReFa at ``bits`` bits; values are the 2^bits evenly spaced numbers from -1 to 1."""

    bits: int = 1

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Quantized:
        """Quantise a latent weight of any shape. An all-zero layer counts max|tanh W| as 1."""
        levels = 2**self.bits - 1
        squashed = torch.tanh(weight)
        largest = squashed.abs().amax()
        largest = torch.where(largest == 0, torch.ones_like(largest), largest)
        pre = squashed / largest * 0.5 + 0.5
        value = 2 * torch.round(pre * levels) / levels - 1
        calibration = (1 - squashed * squashed) / largest
        return Quantized(pre, value, calibration, calibration)


def _channel_means(magnitude: Tensor) -> Tensor:
    """The mean of each output channel, (out, 1, ...)."""
    return magnitude.flatten(1).mean(1).reshape(-1, *[1] * (magnitude.dim() - 1))


@dataclass(frozen=True)
class BwnQuantizer:
    """Binary weights times their mean magnitude, of the layer or of each output channel (dimension 0)."""

    per_channel: bool = False

    @torch.no_grad()
    def __call__(self, weight: Tensor) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        magnitude = weight.abs()
        alpha = _channel_means(magnitude) if self.per_channel else magnitude.mean()
        value = torch.where(weight >= 0, alpha, -alpha)
        gate = (magnitude <= 1).to(weight.dtype)
        return Quantized(weight.detach().clone(), value, torch.ones_like(weight), gate)


@dataclass(frozen=True)
class ReferenceBwnQuantizer:
    """BWN as the reference code has it, for parity: sign(0) = 0, and a gradient that carries the scale.

    ``scale``: ``none`` (the layers it trains FSG with), ``layer`` or ``channel`` (its baseline layers).
    """

    scale: Literal["none", "layer", "channel"] = "none"

    @torch.no_grad()
    def __call__(self, weight: Tensor, scale_from: Tensor | None = None) -> Quantized:
        """Quantise; the scale is that of ``scale_from`` where it is given."""
        magnitude = (weight if scale_from is None else scale_from).abs()
        alpha = torch.ones_like(magnitude)
        if self.scale == "layer":
            alpha = alpha * magnitude.mean()
        elif self.scale == "channel":
            alpha = alpha * _channel_means(magnitude)
        slope = alpha * (weight.abs() <= 1)
        return Quantized(weight.detach().clone(), alpha * torch.sign(weight), torch.ones_like(weight), slope)


def make_quantizer(config: QuantizerConfig) -> Quantizer | None:
    """The quantiser a configuration names; None for float weights."""
    match config:
        case Dorefa(bits=bits):
            return DorefaQuantizer(bits)
        case Bwn(name=name):
            if name == "bwn_reference":
                return ReferenceBwnQuantizer()
            return BwnQuantizer(per_channel=name == "bwn_channel")
        case FloatWeights():
            return None


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(slope)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None, None


def straight_through(latent: Tensor, quantized: Quantized) -> Tensor:
    """The quantised value, with dWq/dW := slope for autograd."""
    return _StraightThrough.apply(latent, quantized.value, quantized.slope)
