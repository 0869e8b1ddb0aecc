"""LRE, Layer Recognition Embedding: one learnt vector per layer, read by the slow-net before the layer's history.

The slow-net's tokens are scalars, so a vector of size E is E tokens.
"""

from __future__ import annotations

from torch import Tensor, nn


class LayerEmbedding(nn.Module):
    """``layers`` vectors of ``size`` numbers, drawn from N(0, 1): the unit of the normalised gradients they precede."""

    def __init__(self, layers: int, size: int = 1) -> None:
        super().__init__()
        self.table = nn.Embedding(layers, size)

    def forward(self) -> Tensor:
        """(layers, size)."""
        return self.table.weight
