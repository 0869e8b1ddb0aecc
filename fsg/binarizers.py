"""Weight quantisers of published one-bit networks: two values to an output channel, offset +- scale.

s(W) is W standardised within its output channel: (W - mean) / sqrt(var + 1e-5), var with n - 1 as torch counts. a is a channel's
mean of |x|, constant in the derivative as everywhere here.

| name   | x, of which the sign is taken | Wq                     | kept beside the bits | slope c                     |
|--------|-------------------------------|------------------------|----------------------|-----------------------------|
| xnor   | W, or s(W)                    | a sign x, or 2^k sign x | a number a channel  | a 1[|x| <= 1] (+ 1/n) dx/dW |
| recu   | 2 sqrt(2) s(W)                | sign x                 | nothing              | 1[|x| <= Q] dx/dW           |
| siman  | |s(W)| - median |s(W)|        | sign x, sign 0 = -1    | nothing              | dx/dW                       |
| adabin | (W - mean) / std              | std sign x + mean      | two a channel        | 1[|x| <= 1]                 |

All are one bit a weight. A number a channel costs nothing where BatchNorm follows, which takes it up; adabin's mean does cost: it
adds mean times the sum of a patch to each output. A standardised weight moves by the whole derivative of s(W), mean and
deviation not held constant, as in the published codes (``to_latent``).

What differs from the published codes. ``recu`` and ``siman`` learn a scale a channel there, before a BatchNorm that undoes it,
and none here. ReCU's Q follows one mean |x| of the whole layer (``cifar/modules/binarized_modules.py:22``). SiMaN's code also
clamps the latent magnitudes in place before each forward pass, in evaluation too, to percentiles that widen from 15..85 to 0..100
over training (lines 27-30); it is left out, and moves no weight across its median. AdaBin differentiates through std and mean.
Proof: ``tests/test_binarizers.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fsg.catalogue.binarizers import AdaBin, ReCU, SiMaN, Xnor
from fsg.ops.spans import unit
from fsg.quantizers import ONE_LAYER, Quantized, Scope

EPS = 1e-5
SPREAD = 2 * math.sqrt(2)  # ReCU's weights have this standard deviation: the Laplace distribution's with b = 2


def standardised(weight: Tensor, scope: Scope) -> tuple[Tensor, Tensor]:
    """s(W), and 1 / sqrt(var + EPS); both broadcast against ``weight``. A channel of one weight becomes 0."""
    centred = weight - scope.channel_mean(weight)
    size = scope.channel_size(weight)
    variance = scope.channel_mean(centred * centred) * (size / (size - 1).clamp(min=1))
    inverse = torch.rsqrt(variance + EPS)
    return centred * inverse, inverse


def unstandardised(direction: Tensor, standard: Tensor, scope: Scope) -> Tensor:
    """The gradient of W from ``direction``, which holds mean and deviation constant: (I - 1 1'/n - s s'/(n - 1)) direction."""
    size = scope.channel_size(direction)
    along = scope.channel_mean(direction * standard) * (size / (size - 1).clamp(min=1))
    return direction - scope.channel_mean(direction) - along * standard


def signs(positive: Tensor, like: Tensor) -> Tensor:
    """+1 where ``positive``, else -1, in the dtype of ``like``."""
    return torch.where(positive, 1.0, -1.0).to(like.dtype)


@dataclass(frozen=True)
class XnorQuantizer:
    """XNOR-Net (arXiv:1603.05279): a sign(W), a = mean |W| of the channel, and its gradient a 1[|W| <= 1] + 1/n.

    Its ``util.lua:78-94`` adds 1/n to a and scales by (1 - 1/inputs), with SGD also by n. The derivative of a, which 1/n stands
    for, would be sign(W) times the channel's mean of g sign(W); the PyTorch port (``CIFAR_10/util.py:77-82``) takes that. Neither
    factor is here. The latent weights are centred and clamped there before each step, and free here.

    ``standardize`` and ``scale: power_of_two`` make it IR-Net's (``1w1a/modules/ir_1w1a.py:18-23``): a = 2^round(log2 mean |x|).
    """

    standardize: bool = False
    scale: Literal["mean", "power_of_two"] = "mean"

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        x, inverse = standardised(weight, scope) if self.standardize else (weight.clone(), torch.ones_like(weight))
        magnitude = x.abs()
        alpha = scope.channel_mean(magnitude)
        if self.scale == "power_of_two":
            alpha = torch.where(alpha > 0, torch.exp2(torch.round(torch.log2(unit(alpha)))), alpha)
        alpha, inverse = alpha.expand_as(x), inverse.expand_as(x)
        slope = alpha * (magnitude <= 1) * inverse
        if not self.standardize:
            slope = slope + 1 / scope.channel_size(weight)
        return Quantized(x, torch.where(x >= 0, alpha, -alpha), inverse, slope, x, alpha)

    def to_latent(self, direction: Tensor, pre: Tensor, scope: Scope) -> Tensor:
        """Where weights are standardised, less what moves a channel as a whole."""
        return unstandardised(direction, pre, scope) if self.standardize else direction


@dataclass(frozen=True)
class ReCUQuantizer:
    """ReCU (arXiv:2103.12369): sign(x), and no gradient beyond Q = -mean |x| log(2 - 2 tau), a Laplace distribution's quantile.

    tau = A e^p + B from ``tau_first`` to ``tau_last``: ``cifar/main.py:160-167``, ``cifar/modules/binarized_modules.py:20-24``.
    """

    tau_first: float = 0.85
    tau_last: float = 0.99

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        x, inverse = standardised(weight, scope)
        x, inverse = SPREAD * x, (SPREAD * inverse).expand_as(x)
        growth = (self.tau_last - self.tau_first) / (math.e - 1)
        tau = self.tau_first + growth * (torch.exp(scope.progress) - 1)
        magnitude = x.abs()
        inside = magnitude <= -scope.mean(magnitude) * torch.log(2 - 2 * tau)
        ones = torch.ones((), dtype=x.dtype, device=x.device).expand_as(x)
        return Quantized(x, signs(x >= 0, x), inverse, inverse * inside, x, ones)

    def to_latent(self, direction: Tensor, pre: Tensor, scope: Scope) -> Tensor:
        """Less what moves a channel as a whole."""
        return unstandardised(direction, pre / SPREAD, scope)


@dataclass(frozen=True)
class SiManQuantizer:
    """SiMaN (arXiv:2102.07981): +1 for the larger half of a channel's magnitudes, -1 for the other.

    ``cifar/modules/binarized_modules.py:33-59``; half an odd number is rounded down, and equal magnitudes are all -1.
    """

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        standard, inverse = standardised(weight, scope)
        magnitude = standard.abs()
        x = magnitude - scope.channel_median(magnitude)
        calibration = torch.sign(standard) * inverse
        ones = torch.ones((), dtype=x.dtype, device=x.device).expand_as(x)
        return Quantized(standard, signs(x > 0, x), calibration, calibration, x, ones)

    def to_latent(self, direction: Tensor, pre: Tensor, scope: Scope) -> Tensor:
        """Less what moves a channel as a whole."""
        return unstandardised(direction, pre, scope)


@dataclass(frozen=True)
class AdaBinQuantizer:
    """AdaBin's weights (arXiv:2208.08084): mean +- std of the channel, std with n; ``cifar10/utils/binarylib.py:101-107``."""

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        mean = scope.channel_mean(weight)
        centred = weight - mean
        deviation = scope.channel_mean(centred * centred).sqrt()
        x = centred / unit(deviation)
        alpha = deviation.expand_as(x)
        inverse = (1 / unit(deviation)).expand_as(x)
        slope = (x.abs() <= 1).to(x.dtype) * (alpha > 0)
        return Quantized(x, torch.where(x >= 0, mean + deviation, mean - deviation), inverse, slope, x, alpha)


def xnor(config: Xnor) -> XnorQuantizer:
    """As configured."""
    return XnorQuantizer(config.standardize, config.scale)


def recu(config: ReCU) -> ReCUQuantizer:
    """As configured."""
    return ReCUQuantizer(config.tau_first, config.tau_last)


def siman(config: SiMaN) -> SiManQuantizer:
    """It has no options."""
    return SiManQuantizer()


def adabin(config: AdaBin) -> AdaBinQuantizer:
    """It has no options."""
    return AdaBinQuantizer()
