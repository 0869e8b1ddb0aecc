"""The slow-net S: a Mamba block that reads a weight's past, [layer embedding, g_oldest .. g_newest], and answers with one number.

Layout ``per_weight``: each weight is one short sequence, all weights of all layers one batch. The output projection
starts at zero, so S starts at 0 and the slow gradient g + S at g. Parameter names are those of ``mamba_ssm.Mamba``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fsg.ops.slow_scan import MambaWeights, mamba_block, slow_scan, slow_scan_flat


class Mamba(nn.Module):
    """The parameters of a Mamba block over tokens of width ``d_model``, initialised as mamba_ssm does.

    dt_rank = ceil(d_model / 16); the step size starts log-uniform in [0.001, 0.1]; A = -(1 .. d_state) in every channel.
    """

    def __init__(self, d_model: int, d_inner: int, d_state: int, d_conv: int) -> None:
        super().__init__()
        self.dt_rank = math.ceil(d_model / 16)
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=False)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1)
        self.x_proj = nn.Linear(d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, d_inner)
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)
        nn.init.uniform_(self.dt_proj.weight, -(self.dt_rank**-0.5), self.dt_rank**-0.5)
        dt = torch.exp(torch.empty(d_inner).uniform_(math.log(1e-3), math.log(1e-1))).clamp(min=1e-4)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # the inverse of softplus

    def weights(self) -> MambaWeights:
        """The parameters in the order that ``ops.slow_scan`` takes."""
        return MambaWeights(
            self.in_proj.weight,
            self.conv1d.weight,
            self.conv1d.bias,  # type: ignore[arg-type]
            self.x_proj.weight,
            self.dt_proj.weight,
            self.dt_proj.bias,
            self.A_log,
            self.D,
            self.out_proj.weight,
        )

    def forward(self, x: Tensor, outputs: int | None = None) -> Tensor:
        """(B, L, d_model) -> (B, outputs or L, d_model)."""
        return mamba_block(x, self.weights(), outputs)


class MambaSlowNet(nn.Module):
    """S over one scalar token per step, answering at the newest."""

    def __init__(self, d_inner: int, d_state: int, d_conv: int, backend: str = "auto") -> None:
        super().__init__()
        self.backend = backend
        self.mamba = Mamba(1, d_inner, d_state, d_conv)
        nn.init.zeros_(self.mamba.out_proj.weight)

    def forward(self, tokens: Tensor, outputs: int = 1) -> Tensor:
        """(B, tokens) sequences -> (B, outputs), the answers at the newest tokens."""
        return slow_scan(tokens, self.mamba.weights(), outputs, self.backend)

    def flat(self, tokens: Tensor, lengths: Sequence[int], outputs: Sequence[int]) -> Tensor:
        """Sequences of different lengths end to end, (sum of lengths,) -> (sum of outputs,): all layers in one call."""
        return slow_scan_flat(tokens, lengths, outputs, self.mamba.weights(), self.backend)
