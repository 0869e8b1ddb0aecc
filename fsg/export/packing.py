"""Weights of few values as bits: k planes of one bit a weight, eight to a byte, and a table of what each code stands for.

Letters: O output channels of n weights, k bits a weight, B = ceil(n / 8) bytes of a plane's channel, G tables. Weight i of
channel o has the code sum_j 2^j bit_j and the value ``values[o if G > 1 else 0, code]``; ``bit_j`` is bit i mod 8, from the least
significant, of ``bits[j, o, i // 8]``. The bits that fill a channel's last byte are 0. Nothing is rounded: what is unpacked is
equal to what was packed, whatever quantiser made it, and sign(0) was decided by that. Proof: ``tests/export/test_packing.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_BITS = 8


@dataclass(frozen=True)
class Packed:
    """``bits``: (k, O, B) uint8. ``values``: (G, 2^k) in the weight's dtype, ascending, G one or O. ``shape``: the weight's."""

    bits: Tensor
    values: Tensor
    shape: tuple[int, ...]

    @property
    def bits_per_weight(self) -> int:
        """k."""
        return len(self.bits)

    @property
    def size(self) -> int:
        """Bytes of bits and tables."""
        return self.bits.nbytes + self.values.nbytes


def pack(weight: Tensor) -> Packed | None:
    """A weight (O, ...) as bits, in the smaller way of one table for all channels and one for each.

    None where neither is smaller than the weight itself: more than 256 values, or few weights to a value.
    """
    rows = weight.detach().flatten(1)
    tables = [found for found in (_tables(rows.reshape(1, -1)), _tables(rows)) if found is not None]
    ways = [_packed(rows, table, tuple(weight.shape)) for table in tables]
    smallest = min(ways, key=lambda way: way.size, default=None)
    return smallest if smallest is not None and smallest.size < weight.nbytes else None


def unpack(packed: Packed) -> Tensor:
    """The weight."""
    planes, outputs, _ = packed.bits.shape
    size = torch.Size(packed.shape[1:]).numel()
    each = (packed.bits[..., None] >> torch.arange(8, dtype=torch.uint8)) & 1
    places = 2 ** torch.arange(planes).view(-1, 1, 1)
    codes = (each.flatten(2)[..., :size] * places).sum(0)
    return packed.values.expand(outputs, -1).gather(1, codes).view(packed.shape)


def _tables(rows: Tensor) -> Tensor | None:
    """(R, m) weights -> (R, 2^k): the values of each row in ascending order, the last one again where there are fewer."""
    ordered = rows.sort(dim=1).values
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    most = int(new.sum(1).max())
    if most > 2**MOST_BITS:
        return None
    length = 2 ** max(1, (most - 1).bit_length())
    found = ordered[:, -1:].repeat(1, length)
    row, place = new.nonzero(as_tuple=True)
    found[row, (new.cumsum(1) - 1)[row, place]] = ordered[row, place]
    if length == 2:  # a row of one value is -|v|, |v|, so that its bit is a sign as in the other rows
        alone = found[:, :1] == found[:, 1:]
        found = torch.where(alone, found.abs() * found.new_tensor([-1.0, 1.0]), found)
    return found


def _packed(rows: Tensor, values: Tensor, shape: tuple[int, ...]) -> Packed:
    outputs, size = rows.shape
    codes = torch.searchsorted(values.expand(outputs, -1).contiguous(), rows.contiguous())
    planes = (values.shape[1] - 1).bit_length()
    each = (codes >> torch.arange(planes).view(-1, 1, 1)) & 1
    filled = torch.nn.functional.pad(each, (0, -size % 8)).view(planes, outputs, -1, 8)
    return Packed((filled << torch.arange(8)).sum(-1).to(torch.uint8), values, shape)
