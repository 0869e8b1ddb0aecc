"""The slow-net's block on a GPU, one short sequence per weight: two fused Triton kernels.

Parallel plan: a program takes BLOCK weights at a time, one per lane, and walks the channels; all tokens (padded to T2, a power
of two) and states (S2) of a channel are one tile, so nothing but tokens, outputs and parameter sums crosses the memory:

    y_d = sum_j v_jd sum_s E_jds B_js C_s + D_d u_d,     E_jds = exp(A_ds sum_{t > j} dt_td)         (see cpu.py)

The backward kernel recomputes all of it. A fixed number of programs stride over the weights, each adding to its own row of
parameter gradients; the rows are summed in order, so the result is the same in every run. ``u``'s gradient waits between
two walks over the channels in memory of the program's own.
Long sequences with several outputs (layout ``flattened``) are triton_flat.py's. Twin: reference.py.
Proof: tests/ops/test_slow_scan_triton.py, in Triton's interpreter where there is no GPU.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsg.ops.slow_scan import reference
from fsg.ops.slow_scan.packing import LN2, Sizes, pack, sizes_of
from fsg.ops.slow_scan.reference import MambaWeights

BLOCK = 32  # weights of a program: one warp, or the T2 x S2 tile of the reference's size would not fit its registers
PROGRAMS = 2048  # some 16 for each multiprocessor of a large GPU
_LN2 = tl.constexpr(LN2)


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp(-x))


@triton.jit
def _softplus(p):
    """log(1 + e^p) to the last digit of small results, and its derivative; p itself above 20, as torch's."""
    e = tl.exp(-tl.abs(p))
    one = 1 + e
    tail = tl.where(one == 1, e, tl.log(one) * (e / tl.where(one == 1, 1, one - 1)))
    value = tl.where(p > 20, p, tl.maximum(p, 0) + tail)
    return value, tl.where(p > 20, 1, tl.where(p > 0, 1, e) / one)


@triton.jit
def _input(packed, tokens, p, weight, batch, time, length, taps: tl.constexpr):
    """(T2, BLOCK): u of one channel and its derivative; zero behind the last token."""
    live = (time < length)[:, None] & (weight < batch)[None, :]
    a = tl.load(packed + p + taps) + tl.zeros((time.shape[0], weight.shape[0]), packed.dtype.element_ty)
    for k in tl.static_range(taps):
        at = time - (taps - 1) + k
        inside = live & (at >= 0)[:, None]
        x = tl.load(tokens + at[:, None] * batch + weight[None, :], mask=inside, other=0.0)
        a += tl.load(packed + p + k) * x
    s = _sigmoid(a)
    u = tl.where(live, a * s, 0.0)
    return u, tl.where(live, s * (1 + a * (1 - s)), 0.0)


@triton.jit
def _projections(
    packed, tokens, weight, batch, time, state, length, channels, states, stride,
    taps: tl.constexpr, T2: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Step (T2, BLOCK), B (T2, S2, BLOCK), C of the last token (S2, BLOCK)."""
    dtype = packed.dtype.element_ty
    step = tl.zeros((T2, BLOCK), dtype)
    b = tl.zeros((T2, S2, BLOCK), dtype)
    c = tl.zeros((S2, BLOCK), dtype)
    for d in range(channels):
        p = d * stride
        q = p + taps + 1
        u, _ = _input(packed, tokens, p, weight, batch, time, length, taps)
        last = tl.sum(tl.where((time == length - 1)[:, None], u, 0.0), 0)
        step += tl.load(packed + q) * u
        row_b = tl.load(packed + q + 1 + state, mask=state < states, other=0.0)
        row_c = tl.load(packed + q + 1 + states + state, mask=state < states, other=0.0)
        b += row_b[None, :, None] * u[:, None, :]
        c += row_c[:, None] * last[None, :]
    return step, b, c


@triton.jit
def _steps(packed, p, step, time, length):
    """dt, its derivative, and T_j = the steps of all later tokens."""
    dt, rising = _softplus(tl.load(packed + p) * step + tl.load(packed + p + 1))
    dt = tl.where((time < length)[:, None], dt, 0.0)
    return dt, rising, tl.cumsum(dt, 0, reverse=True) - dt


@triton.jit
def _forward(
    packed, tokens, out, batch, length, channels, states,
    taps: tl.constexpr, T2: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    stride = taps + 3 * states + 7
    time, state = tl.arange(0, T2), tl.arange(0, S2)
    newest = (time == length - 1)[:, None]
    weight = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    now = tl.load(tokens + (length - 1) * batch + weight, mask=weight < batch, other=0.0)
    step, b, c = _projections(
        packed, tokens, weight, batch, time, state, length, channels, states, stride, taps, T2, S2, BLOCK
    )
    bc = b * c[None, :, :]
    result = tl.zeros((BLOCK,), packed.dtype.element_ty)
    for d in range(channels):
        p = d * stride + taps + 2 + 2 * states
        u, _ = _input(packed, tokens, d * stride, weight, batch, time, length, taps)
        dt, _, ahead = _steps(packed, p, step, time, length)
        a = tl.load(packed + p + 2 + state, mask=state < states, other=0.0)
        r = tl.sum(tl.exp2(a[None, :, None] * ahead[:, None, :]) * bc, 1)
        y = tl.sum(dt * u * r, 0) + tl.load(packed + p + 2 + states) * tl.sum(tl.where(newest, u, 0.0), 0)
        z = tl.load(packed + p + 3 + states) * now
        result += tl.load(packed + p + 4 + states) * y * z * _sigmoid(z)
    tl.store(out + weight, result, mask=weight < batch)


@triton.jit
def _add(pointer, value):
    tl.store(pointer, tl.load(pointer) + value)


@triton.jit
def _backward(
    packed, tokens, upstream, g_packed, g_tokens, waiting, batch, length, channels, states, blocks,
    taps: tl.constexpr, wanted: tl.constexpr, T2: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    dtype = packed.dtype.element_ty
    stride = taps + 3 * states + 7
    time, state = tl.arange(0, T2), tl.arange(0, S2)
    real = state < states
    newest = (time == length - 1)[:, None]
    sums = g_packed + tl.program_id(0).to(tl.int64) * channels * stride
    own = waiting + tl.program_id(0).to(tl.int64) * channels * T2 * BLOCK
    tile = time[:, None] * BLOCK + tl.arange(0, BLOCK)[None, :]
    for block in range(tl.program_id(0), blocks, tl.num_programs(0)):
        weight = block * BLOCK + tl.arange(0, BLOCK)
        now = tl.load(tokens + (length - 1) * batch + weight, mask=weight < batch, other=0.0)
        g_out = tl.load(upstream + weight, mask=weight < batch, other=0.0)
        step, b, c = _projections(
            packed, tokens, weight, batch, time, state, length, channels, states, stride, taps, T2, S2, BLOCK
        )
        bc = b * c[None, :, :]
        g_bc = tl.zeros((T2, S2, BLOCK), dtype)
        g_step = tl.zeros((T2, BLOCK), dtype)
        g_now = tl.zeros((BLOCK,), dtype)
        for d in range(channels):
            p = d * stride + taps + 2 + 2 * states
            u, _ = _input(packed, tokens, d * stride, weight, batch, time, length, taps)
            last = tl.sum(tl.where(newest, u, 0.0), 0)
            dt, rising, ahead = _steps(packed, p, step, time, length)
            a = tl.load(packed + p + 2 + state, mask=real, other=0.0)
            skip, gating = tl.load(packed + p + 2 + states), tl.load(packed + p + 3 + states)
            leaving = tl.load(packed + p + 4 + states)
            z = gating * now
            s = _sigmoid(z)
            g_y = leaving * g_out * z * s
            v = dt * u
            decay = tl.exp2(a[None, :, None] * ahead[:, None, :])
            part = decay * bc
            r = tl.sum(part, 1)
            y = tl.sum(v * r, 0) + skip * last
            g_r = g_y[None, :] * v
            g_bc += decay * g_r[:, None, :]
            g_ahead = g_r * tl.sum(a[None, :, None] * part, 1) * _LN2
            g_a = tl.sum(tl.sum(part * (g_r * ahead)[:, None, :], 2), 0) * _LN2
            tl.store(sums + p + 2 + state, tl.load(sums + p + 2 + state, mask=real, other=0.0) + g_a, mask=real)
            before = tl.cumsum(g_ahead, 0) - g_ahead  # of T_j for all earlier j, each of which holds dt_t
            g_p = (g_y[None, :] * u * r + before) * rising
            g_p = tl.where((time < length)[:, None], g_p, 0.0)
            _add(sums + p, tl.sum(g_p * step))
            _add(sums + p + 1, tl.sum(g_p))
            g_step += g_p * tl.load(packed + p)
            g_z = leaving * g_out * y * s * (1 + z * (1 - s))
            _add(sums + p + 2 + states, tl.sum(g_y * last))
            _add(sums + p + 3 + states, tl.sum(g_z * now))
            _add(sums + p + 4 + states, tl.sum(g_out * y * z * s))
            g_now += g_z * gating
            g_u = g_y[None, :] * dt * r + tl.where(newest, (g_y * skip)[None, :], 0.0)
            tl.store(own + d * T2 * BLOCK + tile, g_u)
        g_b = g_bc * c[None, :, :]
        g_c = tl.sum(g_bc * b, 0)
        tl.debug_barrier()  # what other threads of the program stored is read from here on
        if wanted:
            tl.store(g_tokens + (length - 1) * batch + weight, g_now, mask=weight < batch)
        for d in range(channels):
            p = d * stride
            q = p + taps + 1
            u, slope = _input(packed, tokens, p, weight, batch, time, length, taps)
            last = tl.sum(tl.where(newest, u, 0.0), 0)
            row_b = tl.load(packed + q + 1 + state, mask=real, other=0.0)
            row_c = tl.load(packed + q + 1 + states + state, mask=real, other=0.0)
            g_u = tl.load(own + d * T2 * BLOCK + tile)
            g_u += tl.load(packed + q) * g_step + tl.sum(row_b[None, :, None] * g_b, 1)
            g_u += tl.where(newest, tl.sum(row_c[:, None] * g_c, 0)[None, :], 0.0)
            _add(sums + q, tl.sum(g_step * u))
            at_b, at_c = sums + q + 1 + state, sums + q + 1 + states + state
            sum_b = tl.sum(tl.sum(g_b * u[:, None, :], 2), 0)
            tl.store(at_b, tl.load(at_b, mask=real, other=0.0) + sum_b, mask=real)
            tl.store(at_c, tl.load(at_c, mask=real, other=0.0) + tl.sum(g_c * last[None, :], 1), mask=real)
            g_a = g_u * slope
            _add(sums + p + taps, tl.sum(g_a))
            for k in tl.static_range(taps):
                at = time - (taps - 1) + k
                inside = (at >= 0)[:, None] & (time < length)[:, None] & (weight < batch)[None, :]
                place = at[:, None] * batch + weight[None, :]
                x = tl.load(tokens + place, mask=inside, other=0.0)
                _add(sums + p + k, tl.sum(g_a * x))
                if wanted:
                    share = g_a * tl.load(packed + p + k)
                    tl.store(g_tokens + place, tl.load(g_tokens + place, mask=inside, other=0.0) + share, mask=inside)
                    tl.debug_barrier()


def _tiles(sizes: Sizes) -> dict[str, Any]:
    return {
        "taps": sizes.taps,
        "T2": triton.next_power_of_2(sizes.length),
        "S2": triton.next_power_of_2(sizes.states),
        "BLOCK": BLOCK,
        "num_warps": 1,
    }


class _LastOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens_BL: Tensor, packed: Tensor, sizes: Sizes) -> Tensor:
        tokens = tokens_BL.T.contiguous()
        packed = packed.contiguous()
        length, batch = tokens.shape
        out = tokens.new_empty(batch)
        grid = (triton.cdiv(batch, BLOCK),)
        _forward[grid](packed, tokens, out, batch, length, sizes.channels, sizes.states, **_tiles(sizes))
        ctx.save_for_backward(tokens, packed)
        ctx.sizes = sizes
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tokens, packed = ctx.saved_tensors
        sizes, (length, batch) = ctx.sizes, tokens.shape
        blocks = triton.cdiv(batch, BLOCK)
        programs = min(PROGRAMS, blocks)
        tiles = _tiles(sizes)
        sums = tokens.new_zeros(programs, sizes.parameters)
        waiting = tokens.new_empty(programs, sizes.channels, tiles["T2"], BLOCK)
        wanted = ctx.needs_input_grad[0]
        g_tokens = torch.zeros_like(tokens) if wanted else tokens
        _backward[(programs,)](
            packed, tokens, grad.contiguous(), sums, g_tokens, waiting, batch, length, sizes.channels, sizes.states,
            blocks, wanted=wanted, **tiles,
        )  # fmt: skip
        return g_tokens.T if wanted else None, sums.sum(0) if ctx.needs_input_grad[1] else None, None


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int) -> Tensor:
    """(B, L) scalar tokens on a GPU -> (B, outputs). float32 or float64."""
    if outputs > 1:
        return reference.slow_scan(tokens_BL, weights, outputs)
    return _LastOutput.apply(tokens_BL, pack(weights), sizes_of(weights, tokens_BL.shape[1]))[:, None]
