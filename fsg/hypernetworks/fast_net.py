"""The fast-net F: a small MLP of one weight, the same for every weight of every layer. It learns the scale of a gradient.

    F(w) = softplus(a . tanh(V w + b) + a0) / ln 2

Positive, so it cannot turn a descent direction around (the reference's bias-free linear net is one scalar, negative at
half of all initialisations); exactly 1 at the start (a = a0 = 0), so the first steps are the straight-through estimator's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def positive(z: Tensor) -> Tensor:
    """softplus(z) / ln 2: positive, and exactly 1 at 0."""
    return F.softplus(z) / math.log(2)


class FastNet(nn.Module):
    """``hidden`` tanh units."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(1, hidden)
        self.outer = nn.Linear(hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, weight: Tensor) -> Tensor:
        """(N,) weights in units of their layer's scale -> (N,) positive factors."""
        return positive(self.outer(torch.tanh(self.inner(weight[:, None]))))[:, 0]
