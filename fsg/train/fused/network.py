"""K networks of equal shape as one: each has its share of the channels, and no layer mixes shares.

A convolution becomes one with K times the groups, a linear layer a batch of K products, BatchNorm one over K C channels; what
has no parameters is left as it is. Letters: B images, K members, C channels of one member, H x W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.errors import ConfigError
from fsg.fusing import LANES
from fsg.layers import QuantConv2d, QuantLinear


class _Twin(nn.Module):
    """Of K layers. What it computes with is put in place before each use: ``given`` has (K, *shape) tensors by name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.given: dict[str, Tensor] = {}

    def flat(self, name: str) -> Tensor | None:
        """(K, n, ...) -> (K n, ...)."""
        return self.given[name].flatten(0, 1) if name in self.given else None

    def biased(self, y: Tensor) -> Tensor:
        """(B, K out, ...) and its bias, where there is one."""
        bias = self.flat("bias")
        return y if bias is None else _AddBias.apply(y, bias)


class _AddBias(torch.autograd.Function):
    """y + bias by channel. A channel's gradient is summed by itself: of columns side by side torch sums the last otherwise."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, bias: Tensor) -> Tensor:
        return y + bias.view(-1, *[1] * (y.dim() - 2))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        return grad, grad.transpose(0, 1).flatten(1).contiguous().sum(1)


class ConvTwin(_Twin):
    """(B, K C, H, W) -> (B, K out, H', W')."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__(layer)
        if layer.padding_mode != "zeros":
            raise ConfigError(f"a convolution with padding_mode {layer.padding_mode} cannot be fused.")
        self.stride, self.padding, self.dilation, self.groups = (
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Channels last on the CPU: forward and backward of 12 small networks took 5.0 ms so and 10.8 otherwise (torch 2.15)."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)
        y = F.conv2d(
            x, self.flat("weight"), None, self.stride, self.padding, self.dilation, self.groups * len(self.given["weight"])  # type: ignore[arg-type]
        )  # fmt: skip
        return self.biased(y)


class LinearTwin(_Twin):
    """(B, K in) -> (B, K out)."""

    def forward(self, x: Tensor) -> Tensor:
        """A batch of products, filled up with zeros to whole vectors: MKL rounds by where a matrix starts (torch 2.15)."""
        weight = self.given["weight"]
        members, outputs, inputs = weight.shape
        rows = _filled(x.view(-1, members, inputs).transpose(0, 1).contiguous())
        y = torch.bmm(rows, _filled(weight, outputs).mT)[:, :, :outputs]
        return self.biased(y.transpose(0, 1).reshape(len(x), members * outputs))


def _filled(matrices: Tensor, rows: int = 0) -> Tensor:
    """(K, m, n) with zeros behind each row, and behind the ``rows`` if they are given, to a multiple of LANES."""
    missing = (0, -matrices.shape[2] % LANES, 0, -rows % LANES)
    return F.pad(matrices, missing) if any(missing) else matrices


class NormTwin(_Twin):
    """BatchNorm of (B, K C, H, W) or (B, K C). ``running_mean``, ``running_var`` are given, too, and updated in place."""

    def __init__(self, layer: nn.modules.batchnorm._BatchNorm) -> None:
        super().__init__(layer)
        if layer.momentum is None or not layer.track_running_stats or not layer.affine:
            raise ConfigError(
                "a BatchNorm that averages cumulatively, keeps no statistics or has no scale cannot be fused."
            )
        self.momentum, self.eps = layer.momentum, layer.eps
        self.whole = layer.num_features % LANES == 0

    def forward(self, x: Tensor) -> Tensor:
        """By whole vectors of channels, or channel by channel: in the rest of a vector torch rounds otherwise (2.15, CPU)."""
        mean, variance = self.given["running_mean"].view(-1), self.given["running_var"].view(-1)
        layout = torch.channels_last if self.whole else torch.contiguous_format
        image = x.dim() == 4 and x.device.type == "cpu"
        y = F.batch_norm(
            x.contiguous(memory_format=layout) if image else x,
            mean,
            variance,
            self.flat("weight"),
            self.flat("bias"),
            self.training,
            self.momentum,
            self.eps,
        )
        return _GradientIn.apply(y, layout) if image else y


class _GradientIn(torch.autograd.Function):
    """What it is given; backward it hands the gradient on in this layout. In another, BatchNorm takes other sums."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, layout: torch.memory_format) -> Tensor:
        ctx.layout = layout
        return y.view_as(y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad.contiguous(memory_format=ctx.layout), None


_TWINS: Mapping[type[nn.Module], type[_Twin]] = {
    nn.Conv2d: ConvTwin,
    QuantConv2d: ConvTwin,
    nn.Linear: LinearTwin,
    QuantLinear: LinearTwin,
    nn.BatchNorm2d: NormTwin,
    nn.BatchNorm1d: NormTwin,
}


def side_by_side(network: nn.Module) -> nn.Module:
    """A network whose layers are twins, under the names that ``network`` has them by, of as many members as it is given.

    (B, K C, H, W) images -> (B, K classes) logits. ConfigError for a layer with parameters that has no twin.
    """
    twin = copy.deepcopy(network)
    for name, layer in list(twin.named_modules()):
        if type(layer) in _TWINS:
            owner, _, last = name.rpartition(".")
            setattr(twin.get_submodule(owner), last, _TWINS[type(layer)](layer))
        elif any(True for _ in layer.parameters(recurse=False)) or any(True for _ in layer.buffers(recurse=False)):
            raise ConfigError(
                f"the network's {name or 'top'} ({type(layer).__name__}) has no twin, so it cannot be fused."
            )
    return twin


def put(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Give the twins in ``network`` what they compute with: (K, *shape) tensors by the names of parameters and buffers."""
    twins = {name: module for name, module in network.named_modules() if isinstance(module, _Twin)}
    for path, tensor in tensors.items():
        owner, _, last = path.rpartition(".")
        twins[owner].given[last] = tensor


def norms_of(network: nn.Module) -> list[NormTwin]:
    """Its BatchNorms."""
    return [module for module in network.modules() if isinstance(module, NormTwin)]
