"""Layers whose weight is quantised: a latent float weight, a quantiser, and a place to put the quantised weight in use.

Used alone, a layer quantises its latent weight in every forward and autograd sees the straight-through estimator. A
training step that generates its own gradients puts the quantised weight in place itself (``using``), as a leaf
whose gradient is g = dLoss/dWq. Proof: tests/test_layers.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.ops.curves import Curve, curve_of
from fsg.quantizers import Quantizer, straight_through


class QuantConv2d(nn.Conv2d):
    """A convolution with a quantised weight and, where it has one, a float bias. ``quantizer=None`` leaves the weight float."""

    def __init__(self, *args: Any, quantizer: Quantizer | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quantizer = quantizer
        self.weight_in_use: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H', W')."""
        return self._conv_forward(x, weight_of(self), self.bias)


class QuantLinear(nn.Linear):
    """A linear layer with a quantised weight and a float bias. ``quantizer=None`` leaves the weight float."""

    def __init__(self, *args: Any, quantizer: Quantizer | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.quantizer = quantizer
        self.weight_in_use: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        return F.linear(x, weight_of(self), self.bias)


QuantLayer = QuantConv2d | QuantLinear


def weight_of(layer: QuantLayer) -> Tensor:
    """The quantised weight a layer multiplies with: the one put in place, or its latent weight quantised now."""
    if layer.weight_in_use is not None:
        return layer.weight_in_use
    if layer.quantizer is None:
        return layer.weight
    return straight_through(layer.weight, layer.quantizer(layer.weight), layer.quantizer)


def quantized_layers(model: nn.Module) -> dict[str, QuantLayer]:
    """The quantised layers of a model by name, in the order of its modules."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, QuantConv2d | QuantLinear) and module.quantizer is not None
    }


def join(tensors: Sequence[Tensor]) -> Tensor:
    """Lay tensors end to end in one flat vector, of which each becomes a view: who moves the vector moves them all."""
    flat = torch.cat([t.detach().flatten() for t in tensors])
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.data = part.view(tensor.shape)
    return flat


@contextmanager
def using(layers: Sequence[QuantLayer], weights: Sequence[Tensor]) -> Iterator[None]:
    """Inside, each layer multiplies with the weight given here instead of its own."""
    for layer, weight in zip(layers, weights, strict=True):
        layer.weight_in_use = weight
    try:
        yield
    finally:
        for layer in layers:
            layer.weight_in_use = None


def unless_float(quantizer: Quantizer | None, role: str, float_layers: Sequence[str]) -> Quantizer | None:
    """The quantiser of a layer of this role: None where a model's configuration leaves such layers float."""
    return None if role in float_layers else quantizer


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class _CurvedSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, curve: Curve, progress: Tensor) -> Tensor:
        ctx.save_for_backward(x, progress)
        ctx.curve = curve
        return torch.where(x >= 0, 1.0, -1.0).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        x, progress = ctx.saved_tensors
        return grad * ctx.curve(x, progress), None, None


class SignActivation(nn.Module):
    """sign(x) with sign(0) = +1; the gradient passes where |x| <= 1 (clipped straight-through estimator)."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; values -1 and +1."""
        return _Sign.apply(x)


class SurrogateSign(SignActivation):
    """sign(x) with sign(0) = +1; the gradient passes by a curve of x and of ``progress``, t / T, which a training step sets."""

    progress: Tensor

    def __init__(self, curve: Curve) -> None:
        super().__init__()
        self.curve = curve
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape; values -1 and +1."""
        return _CurvedSign.apply(x, self.curve, self.progress)


def make_activation(activations: Any, plain: Callable[[], nn.Module]) -> nn.Module:
    """The activation that a model's configuration names: ``float`` is ``plain``, else a sign."""
    if activations == "float":
        return plain()
    return SignActivation() if activations == "sign" else SurrogateSign(curve_of(activations.surrogate))


def clocks(model: nn.Module) -> list[Tensor]:
    """Where the activations of a model read t / T."""
    return [module.progress for module in model.modules() if isinstance(module, SurrogateSign)]
