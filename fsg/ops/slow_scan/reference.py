"""The Mamba block, as a loop over time that can be held against the paper.

    [x, z] = W_in token          u_t = SiLU(b + sum_k w_k x_{t-K+1+k})       [dt', B_t, C_t] = W_x u_t
    dt_t = softplus(W_dt dt' + b_dt)                                          A = -exp(A_log)
    h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t                                  y_t = W_out [(C_t . h_t + D u_t) SiLU(z_t)]

Letters: B sequences, L tokens, M width of a token (d_model), D channels (d_inner), S states (d_state), K taps (d_conv),
R rank of the step size (dt_rank); ``u_BLD`` shows the layout. Accumulates in the dtype it is given.
Mamba, Algorithm 2 (arXiv:2312.00752). Twins: cpu.py, triton.py, mamba.py. Proof: tests/ops/test_slow_scan.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**24  # numbers in one chunk's states (B, L, D, S); plain autograd holds about six such arrays


class MambaWeights(NamedTuple):
    """The parameters of one block, under the names and shapes of ``mamba_ssm.Mamba``."""

    in_proj: Tensor  # (2D, M)
    conv_weight: Tensor  # (D, 1, K)
    conv_bias: Tensor  # (D,)
    x_proj: Tensor  # (R + 2S, D)
    dt_weight: Tensor  # (D, R)
    dt_bias: Tensor  # (D,)
    A_log: Tensor  # (D, S)
    D: Tensor  # (D,)
    out_proj: Tensor  # (M, D)


def mamba_block(x_BLM: Tensor, weights: MambaWeights, outputs: int | None = None) -> Tensor:
    """Run one Mamba block over B sequences of L tokens.

    Returns the block's output at the last ``outputs`` tokens (default: all L), shape (B, outputs, M).
    Raises ValueError for a token width or a number of outputs that does not fit.
    """
    w = weights
    length, keep = x_BLM.shape[1], x_BLM.shape[1] if outputs is None else outputs
    if x_BLM.shape[2] != w.in_proj.shape[1]:
        raise ValueError(
            f"slow_scan: tokens have width {x_BLM.shape[2]}, expected {w.in_proj.shape[1]} as in_proj has."
        )
    if not 1 <= keep <= length:
        raise ValueError(f"slow_scan: {keep} outputs asked of {length} tokens, expected 1 to {length}.")
    channels, states = w.A_log.shape
    taps, rank = w.conv_weight.shape[-1], w.dt_weight.shape[1]

    x_BLD, z_BLD = F.linear(x_BLM, w.in_proj).split(channels, dim=-1)
    padded = F.pad(x_BLD, (0, 0, taps - 1, 0))
    u_BLD = w.conv_bias + sum(w.conv_weight[:, 0, k] * padded[:, k : k + length] for k in range(taps))
    u_BLD = F.silu(u_BLD)
    low_BLR, b_BLS, c_BLS = F.linear(u_BLD, w.x_proj).split([rank, states, states], dim=-1)
    dt_BLD = F.softplus(F.linear(low_BLR, w.dt_weight, w.dt_bias))
    a_DS = -torch.exp(w.A_log)

    h_BDS = x_BLM.new_zeros(x_BLM.shape[0], channels, states)
    y = []
    for t in range(length):
        decay = torch.exp(dt_BLD[:, t, :, None] * a_DS)
        h_BDS = decay * h_BDS + (dt_BLD[:, t] * u_BLD[:, t])[..., None] * b_BLS[:, t, None, :]
        if t >= length - keep:
            y.append((h_BDS * c_BLS[:, t, None, :]).sum(-1))
    y_BLD = torch.stack(y, dim=1) + w.D * u_BLD[:, length - keep :]
    return F.linear(y_BLD * F.silu(z_BLD[:, length - keep :]), w.out_proj)


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int, chunk: int = CHUNK) -> Tensor:
    """(B, L) scalar tokens -> (B, outputs), differentiated by autograd.

    Where the states of all tokens would be more than ``chunk`` numbers, the sequences are cut into parts that are
    computed again in the backward pass, so memory does not grow with B.
    """
    part = max(1, chunk // (tokens_BL.shape[1] * weights.A_log.numel()))
    if len(tokens_BL) <= part:
        return mamba_block(tokens_BL[:, :, None], weights, outputs)[:, :, 0]
    return _Chunked.apply(tokens_BL, outputs, part, *weights)


class _Chunked(torch.autograd.Function):
    """The block part by part, computed again in the backward pass.

    Nothing that outlives a part is allocated while it is computed: small survivors between the large blocks kept the C
    library's heap from shrinking, 4 GB at 32,000 sequences of the paper's size and growing with B.
    """

    @staticmethod
    def forward(ctx: Any, tokens_BL: Tensor, outputs: int, part: int, *weights: Tensor) -> Tensor:
        ctx.save_for_backward(tokens_BL, *weights)
        ctx.part = part
        y = tokens_BL.new_empty(len(tokens_BL), outputs)
        for tokens, answer in zip(tokens_BL.split(part), y.split(part), strict=True):
            answer.copy_(mamba_block(tokens[:, :, None], MambaWeights(*weights), outputs)[:, :, 0])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens_BL, *weights = ctx.saved_tensors
        leaves = [w.detach().requires_grad_() for w in weights]
        g_tokens = torch.empty_like(tokens_BL)
        sums = [torch.zeros_like(w) for w in weights]
        for tokens, g_part, g in zip(*(x.split(ctx.part) for x in (tokens_BL, g_tokens, grad)), strict=True):
            with torch.enable_grad():
                own = tokens.detach().requires_grad_()
                y = mamba_block(own[:, :, None], MambaWeights(*leaves), grad.shape[1])[:, :, 0]
            found = torch.autograd.grad(y, [own, *leaves], g)
            g_part.copy_(found[0])
            for total, share in zip(sums, found[1:], strict=True):
                total += share
        return g_tokens, None, None, *sums
