"""The slow-net's block on the CPU, one short sequence per weight: numba kernels over vectors of weights.

With scalar tokens and only the last output asked for, the recurrence unrolls into a sum without a state:

    y_d = sum_j v_jd R_jd + D_d u_d        R_jd = sum_s E_jds B_js C_s        E_jds = exp(A_ds T_jd)
    v = dt u                               T_jd = sum_{t > j} dt_td           C, u: at the last token

so a token costs one exponential and one multiply-add per state forward, and one exponential and five backward. E is 1 at
the last token, A exp(A_log) and the taps times in_proj are prepared once a call by plain autograd (packing.py).

Parallel plan: a lane is a weight, a block is one vector of weights, a chunk is up to 1/64 of the blocks; threads take whole
chunks. Gradients of the parameters are summed lane by lane within a chunk, then over lanes, then over chunks in order, so
the result is the same for any number of threads. Nothing but the tokens is kept between forward and backward, and they are
read where they lie, weight by weight or token by token.
Twin: reference.py. Derivation: README.md. Proof: tests/ops/test_slow_scan_cpu.py.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def,call-arg"

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsg.ops.slow_scan.lanes import (
    BITS,
    LOWEST,
    add,
    exp2_of_product,
    outlined,
    scalar,
    sigmoid,
    softplus,
    softplus_slope,
    store,
    vectors_of,
)
from fsg.ops.slow_scan.packing import LN2, Sizes, pack, sizes_of
from fsg.ops.slow_scan.projection import projection
from fsg.ops.slow_scan.reference import MambaWeights
from fsg.ops.slow_scan.threads import share

REGISTERS = 2  # of a vector: one leaves the processor waiting, four do not stay in its first-level cache
load, _, zero = vectors_of(REGISTERS)
MOST_CHUNKS = 64
BLOCKS_PER_CHUNK = 16  # at least: below this, handing out a chunk costs more than computing it


def _limits(packed: Tensor, sizes: Sizes) -> Tensor:
    """(D S,): the largest step at which a state's decay is still a normal number."""
    first = sizes.taps + sizes.rows + 3
    rates = packed.detach().view(sizes.channels, -1)[:, first : first + sizes.states]
    return (LOWEST[torch.finfo(packed.dtype).bits] / rates).flatten()


# One block of weights -------------------------------------------------------------------------------------------------
# Letters as above, t and j tokens; p points at channel d in the packed parameters. Scratch arrays are indexed in vectors:
# u[d * L + t], rows[t * R + r] with r = 0 the step, 1..S B, S+1..2S C. Loops over rows and taps go in fours: what they
# share is loaded once.


@njit(nogil=True)
def _read(tokens, step, first, live, length, taps, window):
    """The block's tokens behind K - 1 zeros; zeros in the lanes beyond ``live``."""
    window[:] = 0.0
    lanes = window.size // (taps - 1 + length)
    for t in range(length):
        for i in range(live):
            window[(taps - 1 + t) * lanes + i] = tokens[(first + i) * step[0] + t * step[1]]


@njit(nogil=True)
def _convolve(packed, sizes, window, u, slope):
    """u = SiLU(b + taps * tokens), and its derivative where ``slope`` is not empty."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for d in range(channels):
        p = d * stride
        for t in range(length):
            a = zero(u) + scalar(packed, p + taps)
            for k in range(taps):
                a = a + scalar(packed, p + k) * load(window, t + k)
            s = sigmoid(a)
            value = a * s
            store(u, d * length + t, value)
            if slope.size:
                store(slope, d * length + t, s + value * (1.0 - s))


project = projection(load, zero)


@njit(nogil=True)
def _couple(sizes, rows, bc):
    """bc[j * S + s] = B_js C_s; returns their sum over s at the last token, where E is 1."""
    length, _taps, _channels, states = sizes
    count = 1 + 2 * states
    last = (length - 1) * count
    total = zero(rows)
    for j in range(length):
        for s in range(states):
            product = load(rows, j * count + 1 + s) * load(rows, last + 1 + states + s)
            store(bc, j * states + s, product)
            if j == length - 1:
                total = total + product
    return total


@njit(nogil=True)
def _steps(packed, p, count, length, rows, dt, after, rising):
    """One channel's dt; after[j] = T_j, the steps of all later tokens; dt's derivative where ``rising`` is not empty."""
    total = zero(dt)
    for back in range(length):
        t = length - 1 - back
        before = scalar(packed, p) * load(rows, t * count) + scalar(packed, p + 1)
        step, e = softplus(before)
        store(dt, t, step)
        store(after, t, total)
        total = total + step
        if rising.size:
            store(rising, t, softplus_slope(before, e))


@njit(nogil=True)
def _forward_block(packed, limits, sizes, window, u, rows, bc, dt, after):
    """The output of each lane's weight."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    last = length - 1
    _convolve(packed, sizes, window, u, u[:0])
    project(packed, sizes, last, u, rows)
    newest = _couple(sizes, rows, bc)
    now = load(window, taps - 2 + length)
    result = zero(u)
    for d in range(channels):
        p = d * stride + taps + 1 + count
        _steps(packed, p, count, length, rows, dt, after, dt[:0])
        y = load(u, d * length + last) * (load(dt, last) * newest + scalar(packed, p + 2 + states))
        for j in range(last):
            ahead = load(after, j)
            total = zero(u)
            for s in range(states):
                decay = exp2_of_product(scalar(packed, p + 2 + s), ahead, scalar(limits, d * states + s))
                total = total + decay * load(bc, j * states + s)
            y = y + load(dt, j) * load(u, d * length + j) * total
        z = scalar(packed, p + 3 + states) * now
        result = result + scalar(packed, p + 4 + states) * y * z * sigmoid(z)
    return result


@njit(nogil=True)
def _scan_backward(packed, limits, sizes, now, g_out, u, rows, bc, dt, after, rising, g_bc, g_step, g_u, sums):
    """From the output back to u, B C, dt' and the parameters between; returns what comes to the newest token by the gate."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    last = length - 1
    newest = _couple(sizes, rows, bc)
    g_newest = zero(u)  # of B_s C_s at the last token, the same for every s
    g_now = zero(u)
    for d in range(channels):
        p = d * stride + taps + 1 + count
        _steps(packed, p, count, length, rows, dt, after, rising)
        z = scalar(packed, p + 3 + states) * now
        gate = sigmoid(z)
        g_gated = scalar(packed, p + 4 + states) * g_out
        g_y = g_gated * z * gate
        y = zero(u)
        g_later = zero(u)  # of all earlier T_j, each of which holds this token's step
        g_weight = zero(u)
        g_bias = zero(u)
        for j in range(length):
            i = d * length + j
            step, u_j, ahead = load(dt, j), load(u, i), load(after, j)
            g_r = g_y * step * u_j
            g_rate = g_r * LN2
            g_rt = g_rate * ahead
            r, rate = newest, zero(u)
            if j < last:
                r = zero(u)
                for s in range(states):
                    a = scalar(packed, p + 2 + s)
                    e = exp2_of_product(a, ahead, scalar(limits, d * states + s))
                    part = e * load(bc, j * states + s)
                    r = r + part
                    rate = rate + a * part
                    add(g_bc, j * states + s, g_r * e)
                    add(sums, p + 2 + s, g_rt * part)
            else:
                g_newest = g_newest + g_r
            y = y + step * u_j * r
            store(g_u, i, g_y * step * r)
            g_p = (g_y * u_j * r + g_later) * load(rising, j)
            g_later = g_later + g_rate * rate
            g_weight = g_weight + g_p * load(rows, j * count)
            g_bias = g_bias + g_p
            add(g_step, j, g_p * scalar(packed, p))
        last_u, skip = load(u, d * length + last), scalar(packed, p + 2 + states)
        y = y + skip * last_u
        add(g_u, d * length + last, g_y * skip)
        add(sums, p, g_weight)
        add(sums, p + 1, g_bias)
        g_z = g_gated * y * (gate + z * gate * (1.0 - gate))
        add(sums, p + 2 + states, g_y * last_u)
        add(sums, p + 3 + states, g_z * now)
        add(sums, p + 4 + states, g_out * y * z * gate)
        g_now = g_now + g_z * scalar(packed, p + 3 + states)
    for s in range(states):
        store(g_bc, last * states + s, g_newest)
    return g_now


@njit(nogil=True)
def _couple_backward(sizes, rows, g_bc, g_c):
    """g_bc becomes B's gradient, and C's is summed over the tokens."""
    length, _taps, _channels, states = sizes
    count = 1 + 2 * states
    for s in range(states):
        c = load(rows, (length - 1) * count + 1 + states + s)
        total = zero(rows)
        for j in range(length):
            g = load(g_bc, j * states + s)
            total = total + g * load(rows, j * count + 1 + s)
            store(g_bc, j * states + s, g * c)
        store(g_c, s, total)


@njit(nogil=True)
def _project_backward(packed, sizes, u, g_step, g_b, g_c, g_u, sums):
    """Adds to u's gradient and to the sums of x_proj's."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    last = length - 1
    for d in range(channels):
        p = d * stride + taps + 1
        weight, total = scalar(packed, p), load(sums, p)
        for t in range(length):
            g = load(g_step, t)
            total = total + g * load(u, d * length + t)
            add(g_u, d * length + t, g * weight)
        store(sums, p, total)
        s = 0
        while s + 4 <= states:
            q = p + 1 + s
            a, b, c, e = load(sums, q), load(sums, q + 1), load(sums, q + 2), load(sums, q + 3)
            wa, wb, wc, we = scalar(packed, q), scalar(packed, q + 1), scalar(packed, q + 2), scalar(packed, q + 3)
            for t in range(length):
                i = t * states + s
                ga, gb, gc, ge = load(g_b, i), load(g_b, i + 1), load(g_b, i + 2), load(g_b, i + 3)
                u_t = load(u, d * length + t)
                a, b, c, e = a + ga * u_t, b + gb * u_t, c + gc * u_t, e + ge * u_t
                add(g_u, d * length + t, wa * ga + wb * gb + (wc * gc + we * ge))
            store(sums, q, a)
            store(sums, q + 1, b)
            store(sums, q + 2, c)
            store(sums, q + 3, e)
            s += 4
        while s < states:
            weight, total = scalar(packed, p + 1 + s), load(sums, p + 1 + s)
            for t in range(length):
                g = load(g_b, t * states + s)
                total = total + g * load(u, d * length + t)
                add(g_u, d * length + t, weight * g)
            store(sums, p + 1 + s, total)
            s += 1
        last_u, g_last = load(u, d * length + last), zero(u)
        for s in range(states):
            g = load(g_c, s)
            add(sums, p + 1 + states + s, g * last_u)
            g_last = g_last + scalar(packed, p + 1 + states + s) * g
        add(g_u, d * length + last, g_last)


@njit(nogil=True)
def _convolve_backward(packed, sizes, window, slope, g_u, sums):
    """From u back to the taps; g_u becomes the gradient before the SiLU."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for d in range(channels):
        p = d * stride
        bias = load(sums, p + taps)
        for t in range(length):
            g = load(g_u, d * length + t) * load(slope, d * length + t)
            store(g_u, d * length + t, g)
            bias = bias + g
        store(sums, p + taps, bias)
        k = 0
        while k + 4 <= taps:
            a, b, c, e = load(sums, p + k), load(sums, p + k + 1), load(sums, p + k + 2), load(sums, p + k + 3)
            for t in range(length):
                g = load(g_u, d * length + t)
                a, b = a + g * load(window, t + k), b + g * load(window, t + k + 1)
                c, e = c + g * load(window, t + k + 2), e + g * load(window, t + k + 3)
            store(sums, p + k, a)
            store(sums, p + k + 1, b)
            store(sums, p + k + 2, c)
            store(sums, p + k + 3, e)
            k += 4
        while k < taps:
            total = load(sums, p + k)
            for t in range(length):
                total = total + load(g_u, d * length + t) * load(window, t + k)
            store(sums, p + k, total)
            k += 1


@njit(nogil=True)
def _write_tokens(packed, sizes, g_u, g_now, step, first, live, g_window, g_tokens):
    """The block's share of the tokens' gradient: every output of the taps that read a token, and the gate."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    lanes = g_window.size // length
    for t in range(length):
        total = zero(g_u)
        for later in range(min(taps, length - t)):
            for d in range(channels):
                weight = scalar(packed, d * stride + taps - 1 - later)
                total = total + weight * load(g_u, d * length + t + later)
        store(g_window, t, total + g_now if t == length - 1 else total)
        for i in range(live):
            g_tokens[(first + i) * step[0] + t * step[1]] = g_window[t * lanes + i]


# A chunk of blocks ----------------------------------------------------------------------------------------------------
@njit(nogil=True)
def cut(scratch, lanes, start, vectors):
    """The next ``vectors`` vectors of the scratch memory, and where they end."""
    return scratch[start * lanes : (start + vectors) * lanes], start + vectors


@njit(nogil=True, cache=True)
def _forward_chunk(packed, limits, sizes, lanes, first, end, tokens, step, out, scratch):
    """Blocks ``first`` to ``end``; tokens lie ``step`` numbers apart, from weight to weight and from token to token."""
    length, taps, channels, states = sizes
    window, at = cut(scratch, lanes, 0, taps - 1 + length)
    u, at = cut(scratch, lanes, at, channels * length)
    dt, at = cut(scratch, lanes, at, length)
    after, at = cut(scratch, lanes, at, length)
    rows, at = cut(scratch, lanes, at, length * (1 + 2 * states))
    bc, at = cut(scratch, lanes, at, length * states)
    answer, at = cut(scratch, lanes, at, 1)
    for block in range(first, end):
        start = block * lanes
        live = min(lanes, out.size - start)
        _read(tokens, step, start, live, length, taps, window)
        store(answer, 0, _forward_block(packed, limits, sizes, window, u, rows, bc, dt, after))
        for i in range(live):
            out[start + i] = answer[i]


@njit(nogil=True, cache=True)
def _backward_chunk(packed, limits, sizes, lanes, first, end, tokens, step, upstream, g_packed, g_tokens, scratch):
    length, taps, channels, states = sizes
    window, at = cut(scratch, lanes, 0, taps - 1 + length)
    u, at = cut(scratch, lanes, at, channels * length)
    slope, at = cut(scratch, lanes, at, channels * length)
    dt, at = cut(scratch, lanes, at, length)
    after, at = cut(scratch, lanes, at, length)
    rising, at = cut(scratch, lanes, at, length)
    rows, at = cut(scratch, lanes, at, length * (1 + 2 * states))
    bc, at = cut(scratch, lanes, at, length * states)
    g_bc, at = cut(scratch, lanes, at, length * states)
    g_c, at = cut(scratch, lanes, at, states)
    g_step, at = cut(scratch, lanes, at, length)
    g_u, at = cut(scratch, lanes, at, channels * length)
    g_window, at = cut(scratch, lanes, at, length)
    g_out, at = cut(scratch, lanes, at, 1)
    sums, at = cut(scratch, lanes, at, g_packed.size)
    sums[:] = 0.0
    for block in range(first, end):
        start = block * lanes
        live = min(lanes, upstream.size - start)
        _read(tokens, step, start, live, length, taps, window)
        g_out[:] = 0.0
        for i in range(live):
            g_out[i] = upstream[start + i]
        g_bc[:] = 0.0
        g_step[:] = 0.0
        _convolve(packed, sizes, window, u, slope)
        project(packed, sizes, length - 1, u, rows)
        now = load(window, taps - 2 + length)
        g_now = _scan_backward(
            packed, limits, sizes, now, load(g_out, 0), u, rows, bc, dt, after, rising, g_bc, g_step, g_u, sums
        )  # fmt: skip
        _couple_backward(sizes, rows, g_bc, g_c)
        _project_backward(packed, sizes, u, g_step, g_bc, g_c, g_u, sums)
        _convolve_backward(packed, sizes, window, slope, g_u, sums)
        if g_tokens.size:
            _write_tokens(packed, sizes, g_u, g_now, step, start, live, g_window, g_tokens)
    half = lanes // 2
    while half:  # pairs of lanes, so that a sum waits for five additions and not for thirty
        for i in range(g_packed.size):
            for k in range(i * lanes, i * lanes + half):
                sums[k] += sums[k + half]
        half //= 2
    for i in range(g_packed.size):
        g_packed[i] = sums[i * lanes]


def _scratch(sizes: Sizes, backward: bool, like: Tensor) -> np.ndarray:
    """Uninitialised memory for one thread."""
    window, channel = sizes.taps - 1 + sizes.length, sizes.channels * sizes.length
    vectors = window + channel + sizes.length * (sizes.rows + sizes.states + 2) + 1
    if backward:
        vectors += 2 * channel + sizes.length * (sizes.states + 3) + sizes.states + sizes.parameters
    return like.new_empty(vectors * _lanes(like.dtype)).numpy()


# One call -------------------------------------------------------------------------------------------------------------
class _Plan(NamedTuple):
    lanes: int
    blocks: int
    chunks: int

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Blocks of a chunk."""
        return chunk * self.blocks // self.chunks, (chunk + 1) * self.blocks // self.chunks


def _lanes(dtype: torch.dtype) -> int:
    return REGISTERS * BITS // torch.finfo(dtype).bits


def _plan(batch: int, dtype: torch.dtype) -> _Plan:
    lanes = _lanes(dtype)
    blocks = -(-batch // lanes)
    return _Plan(lanes, blocks, max(1, min(MOST_CHUNKS, blocks // BLOCKS_PER_CHUNK)))


def _dense(tokens_BL: Tensor) -> Tensor:
    """The tokens in one piece, weight by weight or token by token as they came."""
    return tokens_BL.T.contiguous().T if tokens_BL.stride(0) == 1 else tokens_BL.contiguous()


def _flat(dense: Tensor) -> np.ndarray:
    """The memory of a tensor that ``_dense`` gave."""
    return dense.detach().as_strided((dense.numel(),), (1,)).numpy()


class _LastOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens_BL: Tensor, packed: Tensor, sizes: Sizes) -> Tensor:
        plan = _plan(len(tokens_BL), tokens_BL.dtype)
        tokens = _dense(tokens_BL)
        out = tokens.new_empty(len(tokens))
        ctx.save_for_backward(tokens, packed)
        ctx.sizes, ctx.plan = sizes, plan
        arrays: Any = packed.detach().numpy(), _limits(packed, sizes).numpy(), tuple(sizes), plan.lanes
        rest = _flat(tokens), tokens.stride(), out.numpy()

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, False, tokens)
            for chunk in queue:
                _forward_chunk(*arrays, *plan.bounds(chunk), *rest, scratch)

        share(plan.chunks, work)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tokens, packed = ctx.saved_tensors
        sizes, plan = ctx.sizes, ctx.plan
        partial = tokens.new_empty(plan.chunks, sizes.parameters)
        g_tokens = torch.empty_like(tokens) if ctx.needs_input_grad[0] else tokens.new_empty(0)
        arrays: Any = packed.detach().numpy(), _limits(packed, sizes).numpy(), tuple(sizes), plan.lanes
        rest = _flat(tokens), tokens.stride(), grad.contiguous().numpy()
        results, g_flat = partial.numpy(), _flat(g_tokens)

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, True, tokens)
            for chunk in queue:
                _backward_chunk(*arrays, *plan.bounds(chunk), *rest, results[chunk], g_flat, scratch)

        share(plan.chunks, work)
        return (
            g_tokens if ctx.needs_input_grad[0] else None,
            partial.sum(0) if ctx.needs_input_grad[1] else None,
            None,
        )


class _LastOutputs(torch.autograd.Function):
    """As ``_LastOutput`` for several blocks, each over sequences of its own: their chunks are shared out together."""

    @staticmethod
    def forward(ctx: Any, tokens_KLB: Tensor, packed: Tensor, sizes: Sizes) -> Tensor:
        members, _, batch = tokens_KLB.shape
        plan = _plan(batch, tokens_KLB.dtype)
        tokens = tokens_KLB.contiguous()
        out = tokens.new_empty(members, batch)
        ctx.save_for_backward(tokens, packed)
        ctx.sizes, ctx.plan = sizes, plan
        flat, parameters, limits, results = _rows(tokens), _rows(packed), _rows(_each_limits(packed, sizes)), _rows(out)

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, False, tokens)
            for number in queue:
                k, chunk = divmod(number, plan.chunks)
                bounds = plan.bounds(chunk)
                _forward_chunk(
                    parameters[k],
                    limits[k],
                    tuple(sizes),
                    plan.lanes,
                    *bounds,
                    flat[k],
                    (1, batch),
                    results[k],
                    scratch,
                )

        share(members * plan.chunks, work)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tokens, packed = ctx.saved_tensors
        sizes, plan = ctx.sizes, ctx.plan
        members, _, batch = tokens.shape
        partial = tokens.new_empty(members, plan.chunks, sizes.parameters)
        wanted = ctx.needs_input_grad[0]
        g_tokens = torch.empty_like(tokens) if wanted else tokens.new_empty(members, 0)
        flat, parameters, limits = _rows(tokens), _rows(packed), _rows(_each_limits(packed, sizes))
        upstream, g_flat, results = _rows(grad.contiguous()), _rows(g_tokens), partial.numpy()

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, True, tokens)
            for number in queue:
                k, chunk = divmod(number, plan.chunks)
                bounds = plan.bounds(chunk)
                _backward_chunk(
                    parameters[k], limits[k], tuple(sizes), plan.lanes, *bounds, flat[k], (1, batch), upstream[k],
                    results[k, chunk], g_flat[k], scratch,
                )  # fmt: skip

        share(members * plan.chunks, work)
        return g_tokens if wanted else None, partial.sum(1) if ctx.needs_input_grad[1] else None, None


def _rows(tensor: Tensor) -> np.ndarray:
    """(K, ...) dense as K flat arrays that share its memory."""
    rows: np.ndarray = tensor.detach().flatten(1).numpy()
    return rows


def _each_limits(packed: Tensor, sizes: Sizes) -> Tensor:
    return torch.stack([_limits(row, sizes) for row in packed])


def slow_scans(tokens_KLB: Tensor, weights: MambaWeights) -> Tensor:
    """(K, L, B) tokens of K stacked blocks -> (K, B), each block's output at its newest tokens.

    Of one block the same bits, whatever the others are.
    """
    sizes = sizes_of(weights, tokens_KLB.shape[1])
    found: Tensor = _LastOutputs.apply(tokens_KLB, pack(weights), sizes)
    return found


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int) -> Tensor:
    """(B, L) scalar tokens -> (B, outputs). float32 or float64, on the CPU."""
    sizes = sizes_of(weights, tokens_BL.shape[1])
    if outputs == 1:
        return _LastOutput.apply(tokens_BL, pack(weights), sizes)[:, None]
    from fsg.ops.slow_scan import cpu_flat  # which builds on this module

    batch = len(tokens_BL)
    flat = cpu_flat.slow_scan_flat(tokens_BL.reshape(-1), [sizes.length] * batch, [outputs] * batch, weights)
    return flat.view(batch, outputs)
