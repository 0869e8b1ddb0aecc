"""All quantised layers end to end as one flat vector of N weights, and what is said of each layer by itself.

One flat vector instead of a list of layers: element-wise work is one call for the whole network, whatever its depth.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Spans(nn.Module):
    """Where each layer lies in the flat vector.

    ``sizes``: weights of each layer, in order. ``index``: (N,) int64 buffer, the layer of each weight.
    """

    index: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        layers = torch.arange(len(self.sizes))
        self.register_buffer(
            "index", layers.repeat_interleave(torch.tensor(self.sizes, dtype=torch.int64)), persistent=False
        )

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def total(self) -> int:
        """N, the weights of all layers."""
        return sum(self.sizes)

    @property
    def starts(self) -> list[int]:
        """Offset of each layer in the flat vector."""
        return [0, *itertools.accumulate(self.sizes[:-1])]

    def split(self, flat: Tensor) -> tuple[Tensor, ...]:
        """Views of each layer's part of a (..., N) tensor."""
        return flat.split(self.sizes, dim=-1)

    def expand(self, per_layer: Tensor) -> Tensor:
        """(layers, ...) -> (N, ...): each layer's value at each of its weights."""
        return per_layer[self.index]

    def norm(self, flat: Tensor) -> Tensor:
        """Euclidean norm of each layer, (layers,)."""
        return torch.stack(torch._foreach_norm(self.split(flat)))

    def rms(self, flat: Tensor) -> Tensor:
        """Root mean square of each layer, (layers,); of a (m, N) tensor, over all its m rows."""
        parts = self.split(flat)
        return torch.stack(torch._foreach_div(torch._foreach_norm(parts), [part.numel() ** 0.5 for part in parts]))

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of two (N,) vectors, layer by layer, (layers,)."""
        parts = zip(self.split(a), self.split(b), strict=True)
        return torch.stack([torch.dot(x, y) for x, y in parts])


def unit(scale: Tensor) -> Tensor:
    """``scale`` with zeros replaced by one: a layer without signal is divided by nothing."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))
