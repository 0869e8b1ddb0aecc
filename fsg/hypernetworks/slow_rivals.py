"""Slow-nets that Mamba has to beat: an LSTM over the same tokens, and a filter of one tap per token and layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LstmSlowNet(nn.Module):
    """One LSTM layer of ``units``, read out linearly; starts at 0 like Mamba's slow-net."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(1, units, batch_first=True)
        self.out_proj = nn.Linear(units, 1, bias=False)
        nn.init.zeros_(self.out_proj.weight)

    def forward(self, tokens: Tensor, outputs: int = 1) -> Tensor:
        """(B, tokens) sequences -> (B, outputs), the answers at the newest tokens."""
        states, _ = self.lstm(tokens[:, :, None])
        return self.out_proj(states[:, -outputs:])[:, :, 0]


class FirSlowNet(nn.Module):
    """A finite impulse response: each layer's learnt taps over [layer embedding, oldest .. newest]; all 0 at the start."""

    def __init__(self, layers: int, taps: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.zeros(layers, taps))

    def forward(self, tokens: Tensor, layer: Tensor) -> Tensor:
        """(N, tokens) histories and (N,) layers -> (N, 1). A history that is still short meets the newest taps."""
        return (tokens * self.taps[:, -tokens.shape[1] :][layer]).sum(1, keepdim=True)
