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

    ``sizes``: weights of each layer, in order. Buffers, both int64: ``lengths`` (layers,) the same on the device, ``index``
    (N,) the layer of each weight.
    """

    lengths: Tensor
    index: Tensor

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = list(sizes)
        lengths = torch.tensor(self.sizes, dtype=torch.int64)
        self.register_buffer("lengths", lengths, persistent=False)
        self.register_buffer("index", torch.arange(len(lengths)).repeat_interleave(lengths), persistent=False)

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
        # A gather by ``index`` took 9 times as long on 270,896 weights, and its backward sorts.
        return torch.cat([v.expand(n, *v.shape) for v, n in zip(per_layer.unbind(), self.sizes, strict=True)])

    def norm(self, flat: Tensor) -> Tensor:
        """Euclidean norm of each layer, (layers,)."""
        return torch.stack(torch._foreach_norm(self.split(flat)))

    def rms(self, flat: Tensor) -> Tensor:
        """Root mean square of each layer, (layers,); of a (m, N) tensor, over all its m rows."""
        parts = self.split(flat)
        return torch.stack(torch._foreach_div(torch._foreach_norm(parts), [part.numel() ** 0.5 for part in parts]))

    def largest(self, flat: Tensor) -> Tensor:
        """Largest number of each layer, (layers,)."""
        return torch.stack(torch._foreach_max(self.split(flat)))

    def sum(self, flat: Tensor) -> Tensor:
        """Sum of each layer of a (N,) vector, (layers,); accumulates in its dtype."""
        return torch.segment_reduce(flat, "sum", lengths=self.lengths, unsafe=True)

    def mean(self, flat: Tensor) -> Tensor:
        """Mean of each layer of a (N,) vector, (layers,); accumulates in its dtype."""
        return means(flat, self.lengths)

    def dot(self, a: Tensor, b: Tensor) -> Tensor:
        """Inner product of two (N,) vectors, layer by layer, (layers,)."""
        return self.sum(a * b)


def means(flat: Tensor, lengths: Tensor) -> Tensor:
    """Means of the stretches of these ``lengths`` that a (N,) vector consists of."""
    return torch.segment_reduce(flat, "mean", lengths=lengths, unsafe=True)  # unsafe: nobody waits to check the lengths


def unit(scale: Tensor) -> Tensor:
    """``scale`` with zeros replaced by one: a layer without signal is divided by nothing."""
    return torch.where(scale > 0, scale, torch.ones_like(scale))


class RowSpans(Spans):
    """Where each layer lies in every row of a (K, N) tensor: row k holds all layers of member k.

    Answers have a row for each member, too: what is said of one hangs on its own row alone, to the bit (torch 2.15, CPU).
    ``index``, ``lengths``, ``sizes`` and ``total`` are those of one row.
    """

    def expand(self, per_layer: Tensor) -> Tensor:
        """(K, layers) -> (K, N)."""
        parts = zip(per_layer.unbind(1), self.sizes, strict=True)
        return torch.cat([value[:, None].expand(-1, n) for value, n in parts], dim=1)

    def norm(self, flat: Tensor) -> Tensor:
        """(K, layers); of a (K, m, N) tensor, over all m rows of a member."""
        parts = self.split(flat)
        return torch.stack([torch.linalg.vector_norm(part, dim=_all_but_first(part)) for part in parts], dim=1)

    def rms(self, flat: Tensor) -> Tensor:
        """(K, layers); of a (K, m, N) tensor, over all m rows of a member."""
        counts = [part[0].numel() ** 0.5 for part in self.split(flat)]
        return torch.stack([norm / n for norm, n in zip(self.norm(flat).unbind(1), counts, strict=True)], dim=1)

    def largest(self, flat: Tensor) -> Tensor:
        """(K, layers)."""
        return torch.stack([part.amax(1) for part in self.split(flat)], dim=1)

    def sum(self, flat: Tensor) -> Tensor:
        """(K, layers)."""
        return torch.stack([part.sum(1) for part in self.split(flat)], dim=1)

    def mean(self, flat: Tensor) -> Tensor:
        """(K, layers)."""
        return torch.stack([part.mean(1) for part in self.split(flat)], dim=1)


def _all_but_first(tensor: Tensor) -> tuple[int, ...]:
    return tuple(range(1, tensor.dim()))
