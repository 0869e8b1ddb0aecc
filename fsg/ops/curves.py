"""Surrogate curves: what stands for the derivative of sign(x), by its shape.

Each is F'(x) of a smooth or broken line F that the sign is replaced by in the backward pass alone; p is t/T, the share of
training done. Annealed curves get steeper: t = t_first (t_last / t_first)^p, at every step where the published codes do so
once an epoch. "Area" is the integral of F', which is 2 for the sign itself.

| shape   | F(x)                                         | area                        | published                          |
|---------|----------------------------------------------|-----------------------------|------------------------------------|
| clipped | clip(x, -c, c)                               | 2 c                         | BNN (arXiv:1602.02830)             |
| bireal  | 2 x - x |x|, +-1 beyond 1                    | 2                           | Bi-Real Net (arXiv:1808.00278)     |
| swish   | 2 s(bx) (1 + bx (1 - s(bx))) - 1, s sigmoid  | 2                           | BNN+ (arXiv:1812.11800)            |
| ede     | k tanh(t x), k = max(1/t, 1)                 | 2 k                         | IR-Net (arXiv:1909.10788)          |
| rbnn    | k (sqrt(2) t x - sign(x) t^2 x^2 / 2), +-k   | 2 k                         | RBNN (arXiv:2009.13055)            |
| reste   | sign(x) |x|^(1/o), straight within ``inner`` | 2 outer^(1/o)               | ReSTE (arXiv:2308.06689)           |
| fda     | 4/pi sum_i sin((2i + 1) w x) / (2i + 1)      | 2 F(1)                      | FDA-BNN (arXiv:2103.00841)         |
| tanh    | tanh(t x)                                    | 2                           | the smooth sign of arXiv:1902.00730 |
| arctan  | (2/pi) arctan(t x)                           | 2                           | SpikingJelly's ATan, for the sign  |

The functions below say which lines of code each was read from, and where these differ from one another.
Proof: ``tests/ops/test_surrogate_curves.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Curve = Callable[[Tensor, Tensor], Tensor]


def curve_of(shape: Any) -> Curve:
    """F' of a shape's section: (x, p) -> F'(x), of x's shape and dtype; p is 0-dimensional."""
    return partial(_CURVES[shape.name], shape)  # a network with it can be pickled


def clipped(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """1 where |x| <= clip, open at its ends. larq ``quantizers.py:72-91`` (``clip_value`` 1)."""
    return (x.abs() <= shape.clip).to(x.dtype)


def bireal(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """2 - 2 |x|, not below 0.

    Bi-Real-net ``BiReal18_34/birealnet.py:24-37``; larq ``quantizers.py:98-106``. There it is the activations' alone: the
    weights' gradient is clipped at |w| <= 1 and does not carry the scale (line 56), as ``bwn`` here.
    """
    return (2 - 2 * x.abs()).clamp(min=0)


def swish(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """b (2 - bx tanh(bx / 2)) / (1 + cosh bx): b at 0, below 0 beyond |bx| = 2.4.

    larq ``quantizers.py:109-118`` (b 5), bitorch ``swish_sign.py:54``. Written by exponentials that cannot overflow.
    """
    bx = (shape.beta * x).abs()
    small = torch.exp(-bx)  # 1 / (1 + cosh bx) = 2 e^-bx / (1 + e^-bx)^2
    return shape.beta * (2 - bx * torch.tanh(bx / 2)) * 2 * small / (1 + small) ** 2


def ede(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """k t (1 - tanh^2(t x)), k = max(1/t, 1).

    IR-Net ``CIFAR-10/ResNet20/1w32a/modules/binaryfunction.py:15``. t runs from 0.1 to 10 there (``1w32a/trainer.py:130``) and
    for VGG-Small; for the 1W/1A ResNet-20 the same repository starts at 0.001 (``1w1a/trainer.py:130``), and so does AdaBin's
    (``cifar10/utils/utils.py:45``, beside a line that is commented out and starts at 0.1).
    """
    t = _steepness(shape, progress)
    return torch.clamp(1 / t, min=1) * t * (1 - torch.tanh(t * x) ** 2)


def rbnn(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """k max(sqrt(2) t - t^2 |x|, 0), k = max(1/t, 1).

    RBNN ``cifar/modules/binarized_modules.py:81-82``, t from 0.01 to 10 (``cifar/main.py:166-172``). Its activations have
    k = 1 and t of at least 1 (lines 96-97): ``t_first: 1`` comes next to that.
    """
    t = _steepness(shape, progress)
    return torch.clamp(1 / t, min=1) * (math.sqrt(2) * t - t**2 * x.abs()).clamp(min=0)


def reste(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """(1/o) |x|^((1 - o)/o), 0 beyond ``outer``; o = 1 + (o_last - 1) (1 - cos(pi p / 2)).

    ReSTE ``model/binary_module/binarized_modules.py:77-93`` and ``main.py:189-196``. Within ``inner`` the power, which has no
    bound at 0, gives way to its chord, F(inner) / inner: o times what the curve has just outside, so it jumps there.
    """
    o = 1 + (shape.o_last - 1) * (1 - torch.cos(progress * (math.pi / 2)))
    magnitude = x.abs()
    power = magnitude.clamp(min=shape.inner) ** ((1 - o) / o) / o
    chord = shape.inner ** (1 / o - 1)
    inside = torch.where(magnitude <= shape.inner, chord.to(x.dtype), power)
    return torch.where(magnitude <= shape.outer, inside, torch.zeros_like(x))


def fda(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """4 w/pi sum_(i = 0..n) cos((2i + 1) w x) where |x| <= 1, else 0; n = n_first + floor(p (n_last - n_first)).

    BiBench ``bibench/models/layers/fda.py:10-24`` (w 0.1) and its ``model_params_update`` (n 9 to 18). FDA-BNN's own
    published code (mindspore ``research/cv/FDA-BNN``) evaluates only: its backward pass is the identity. With w = 0.1 the
    period is 63, so within |x| <= 1 the curve is nearly flat: 1.27 at 0 and 0.58 at 1 for n = 9.
    """
    n = shape.n_first + torch.floor(progress * (shape.n_last - shape.n_first))
    angle = shape.omega * x
    # The sum in closed form: sin(2 (n + 1) a) / (2 sin a), n + 1 at a = 0.
    divisor = 2 * torch.sin(angle)
    safe = torch.where(divisor == 0, torch.ones_like(divisor), divisor)
    total = torch.where(divisor == 0, (n + 1).to(x.dtype), torch.sin(2 * (n + 1) * angle) / safe)
    return torch.where(x.abs() <= 1, 4 * shape.omega / math.pi * total, torch.zeros_like(x))


def tanh(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """t (1 - tanh^2(t x)): ``ede`` without k, so that the area stays 2. The range of t is ours."""
    t = _steepness(shape, progress)
    return t * (1 - torch.tanh(t * x) ** 2)


def arctan(shape: Any, x: Tensor, progress: Tensor) -> Tensor:
    """(2/pi) t / (1 + (t x)^2). SpikingJelly ``activation_based/surrogate.py: ATan``, doubled: a sign rises by 2. t is ours."""
    t = _steepness(shape, progress)
    return (2 / math.pi) * t / (1 + (t * x) ** 2)


_CURVES = {
    "clipped": clipped,
    "bireal": bireal,
    "swish": swish,
    "ede": ede,
    "rbnn": rbnn,
    "reste": reste,
    "fda": fda,
    "tanh": tanh,
    "arctan": arctan,
}


def _steepness(shape: Any, progress: Tensor) -> Tensor:
    """t_first (t_last / t_first)^p, 0-dimensional."""
    ratio = math.log(shape.t_last / shape.t_first)
    return shape.t_first * torch.exp(ratio * progress)
