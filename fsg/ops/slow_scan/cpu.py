"""The slow-net's block on the CPU, one short sequence per weight: numba kernels over vectors of weights.

With scalar tokens and only the last output asked for, the recurrence unrolls into a sum without a state:

    y_d = sum_j v_jd R_jd + D_d u_d        R_jd = sum_s E_jds B_js C_s        E_jds = exp(A_ds T_jd)
    v = dt u                               T_jd = sum_{t > j} dt_td           C, u: at the last token

so a token costs one exponential and one multiply-add per state forward, and one exponential and five backward. E is 1 at
the last token, A exp(A_log) and the taps times in_proj are prepared once a call by plain autograd (packing.py).

Parallel plan: a lane is a weight, a block is one vector of weights, a chunk is up to 1/64 of the blocks; threads take whole
chunks. Gradients of the parameters are summed lane by lane within a chunk, then over lanes, then over chunks in order, so
the result is the same for any number of threads. Nothing but the tokens is kept between forward and backward.
Twin: reference.py. Derivation: README.md. Proof: tests/ops/test_slow_scan_cpu.py.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def,call-arg"

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsg.ops.slow_scan.lanes import (
    BITS,
    LOWEST,
    exp2_of_product,
    load,
    outlined,
    scalar,
    sigmoid,
    softplus,
    spread,
    store,
)
from fsg.ops.slow_scan.packing import LN2, Sizes, pack, sizes_of
from fsg.ops.slow_scan.reference import MambaWeights

MOST_CHUNKS = 64
BLOCKS_PER_CHUNK = 16  # at least: below this, handing out a chunk costs more than computing it


def _limits(packed: Tensor, sizes: Sizes) -> Tensor:
    """(D S,): the largest step at which a state's decay is still a normal number."""
    first = sizes.taps + sizes.rows + 3
    rates = packed.detach().view(sizes.channels, -1)[:, first : first + sizes.states]
    return (LOWEST[torch.finfo(packed.dtype).bits] / rates).flatten()


# One block of weights -------------------------------------------------------------------------------------------------
# Letters as above, t and j tokens; p points at channel d in the packed parameters, ``o`` are offsets in it.
# Scratch arrays are indexed in vectors: u[d * L + t], rows[t * R + r] with r = 0 the step, 1..S B, S+1..2S C.


@njit(nogil=True)
def _read(tokens, block, blocks, length, taps, window):
    """The block's tokens behind K - 1 zeros."""
    zero = spread(window, 0.0)
    for t in range(taps - 1):
        store(window, t, zero)
    for t in range(length):
        store(window, taps - 1 + t, load(tokens, t * blocks + block))


@njit(nogil=True)
def _convolve(packed, sizes, window, u, slope):
    """u = SiLU(b + taps * tokens) and its derivative."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for d in range(channels):
        p = d * stride
        for t in range(length):
            a = scalar(packed, p + taps)
            for k in range(taps):
                a = a + scalar(packed, p + k) * load(window, t + k)
            s = sigmoid(a)
            value = a * s
            store(u, d * length + t, value)
            store(slope, d * length + t, s + value * (1.0 - s))


@njit(nogil=True)
def project(packed, sizes, first_c, u, rows):
    """rows = x_proj u: the step and B of every token, C from ``first_c`` on. Four rows at a time share each load of u."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    for t in range(length):
        needed = count if t >= first_c else 1 + states
        r = 0
        while r + 4 <= needed:
            p = taps + 1 + r
            a = spread(u, 0.0)
            b = a
            c = a
            e = a
            for d in range(channels):
                value = load(u, d * length + t)
                a = a + scalar(packed, p) * value
                b = b + scalar(packed, p + 1) * value
                c = c + scalar(packed, p + 2) * value
                e = e + scalar(packed, p + 3) * value
                p += stride
            store(rows, t * count + r, a)
            store(rows, t * count + r + 1, b)
            store(rows, t * count + r + 2, c)
            store(rows, t * count + r + 3, e)
            r += 4
        while r < needed:
            p = taps + 1 + r
            a = spread(u, 0.0)
            for d in range(channels):
                a = a + scalar(packed, p) * load(u, d * length + t)
                p += stride
            store(rows, t * count + r, a)
            r += 1


@njit(nogil=True)
def _couple(sizes, rows, bc):
    """bc[j * S + s] = B_js C_s; returns their sum over s at the last token, where E is 1."""
    length, _taps, _channels, states = sizes
    count = 1 + 2 * states
    last = (length - 1) * count
    total = spread(rows, 0.0)
    for j in range(length):
        for s in range(states):
            product = load(rows, j * count + 1 + s) * load(rows, last + 1 + states + s)
            store(bc, j * states + s, product)
            if j == length - 1:
                total = total + product
    return total


@njit(nogil=True)
def _forward_block(packed, limits, sizes, block, blocks, tokens, out, window, u, slope, rows, bc, steps):
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    _read(tokens, block, blocks, length, taps, window)
    _convolve(packed, sizes, window, u, slope)
    project(packed, sizes, length - 1, u, rows)
    newest = _couple(sizes, rows, bc)
    result = spread(out, 0.0)
    for d in range(channels):
        p = d * stride + taps + 1 + count
        last_u = load(u, d * length + length - 1)
        for t in range(length):
            dt, _ = softplus(scalar(packed, p) * load(rows, t * count) + scalar(packed, p + 1))
            store(steps, t, dt)
        ahead = load(steps, length - 1)  # T_j: the steps of all later tokens
        y = last_u * (ahead * newest + scalar(packed, p + 2 + states))
        for back in range(length - 1):
            j = length - 2 - back
            total = spread(u, 0.0)
            for s in range(states):
                a = scalar(packed, p + 2 + s)
                decay = exp2_of_product(a, ahead, scalar(limits, d * states + s))
                total = total + decay * load(bc, j * states + s)
            dt = load(steps, j)
            y = y + dt * load(u, d * length + j) * total
            ahead = ahead + dt
        z = scalar(packed, p + 3 + states) * load(window, taps - 2 + length)
        result = result + scalar(packed, p + 4 + states) * y * z * sigmoid(z)
    store(out, block, result)


@njit(nogil=True)
def add(sums, index, value):
    """sums[index] += value, a vector."""
    store(sums, index, load(sums, index) + value)


@njit(nogil=True)
def _backward_block(
    packed,
    limits,
    sizes,
    block,
    blocks,
    tokens,
    upstream,
    wanted,
    window,
    u,
    slope,
    rows,
    bc,
    g_bc,
    g_rows,
    g_u,
    g_window,
    steps,
    sums,
):
    """Adds the block's share of the packed parameters' gradient to ``sums``, and of the tokens' to ``g_window``."""
    outlined()
    length, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    last = length - 1
    zero = spread(u, 0.0)
    _read(tokens, block, blocks, length, taps, window)
    _convolve(packed, sizes, window, u, slope)
    project(packed, sizes, length - 1, u, rows)
    newest = _couple(sizes, rows, bc)
    for i in range(length * states):
        store(g_bc, i, zero)
    for i in range(length * count):
        store(g_rows, i, zero)
    for i in range(taps - 1 + length):
        store(g_window, i, zero)
    g_out = load(upstream, block)
    now = load(window, taps - 2 + length)
    g_newest = zero  # of B_s C_s at the last token, the same for every s

    for d in range(channels):
        p = d * stride + taps + 1 + count
        z = scalar(packed, p + 3 + states) * now
        gate = sigmoid(z)
        g_gated = scalar(packed, p + 4 + states) * g_out
        g_y = g_gated * z * gate

        for t in range(length):
            dt, rising = softplus(scalar(packed, p) * load(rows, t * count) + scalar(packed, p + 1))
            store(steps, 4 * t, dt)
            store(steps, 4 * t + 1, rising)
        ahead = load(steps, 4 * last)  # T_j: the steps of all later tokens
        last_u = load(u, d * length + last)
        g_newest = g_newest + g_y * ahead * last_u
        y = ahead * last_u * newest + scalar(packed, p + 2 + states) * last_u
        store(g_u, d * length + last, g_y * (ahead * newest + scalar(packed, p + 2 + states)))
        store(steps, 4 * last + 2, g_y * last_u * newest)
        add(sums, p + 2 + states, g_y * last_u)
        for back in range(last):
            j = last - 1 - back
            dt = load(steps, 4 * j)
            u_j = load(u, d * length + j)
            g_r = g_y * dt * u_j
            g_rate = g_r * LN2
            g_rt = g_rate * ahead
            r = zero
            rate = zero
            for s in range(states):
                a = scalar(packed, p + 2 + s)
                e = exp2_of_product(a, ahead, scalar(limits, d * states + s))
                part = e * load(bc, j * states + s)
                r = r + part
                rate = rate + a * part
                store(g_bc, j * states + s, load(g_bc, j * states + s) + g_r * e)
                store(sums, p + 2 + s, load(sums, p + 2 + s) + g_rt * part)
            y = y + dt * u_j * r
            store(g_u, d * length + j, g_y * dt * r)
            store(steps, 4 * j + 2, g_y * u_j * r)
            store(steps, 4 * j + 3, g_rate * rate)  # of T_j, thus of every later dt
            ahead = ahead + dt

        g_ahead = zero
        g_weight = zero
        g_bias = zero
        for t in range(length):
            g_p = (load(steps, 4 * t + 2) + g_ahead) * load(steps, 4 * t + 1)
            g_weight = g_weight + g_p * load(rows, t * count)
            g_bias = g_bias + g_p
            add(g_rows, t * count, g_p * scalar(packed, p))
            if t < last:
                g_ahead = g_ahead + load(steps, 4 * t + 3)
        add(sums, p, g_weight)
        add(sums, p + 1, g_bias)

        g_z = g_gated * y * (gate + z * gate * (1.0 - gate))
        add(sums, p + 3 + states, g_z * now)
        add(sums, p + 4 + states, g_out * y * z * gate)
        add(g_window, taps - 2 + length, g_z * scalar(packed, p + 3 + states))

    for s in range(states):
        c = load(rows, last * count + 1 + states + s)
        g_c = zero
        for j in range(length):
            g = g_newest if j == last else load(g_bc, j * states + s)
            store(g_rows, j * count + 1 + s, g * c)
            g_c = g_c + g * load(rows, j * count + 1 + s)
        store(g_rows, last * count + 1 + states + s, g_c)

    for d in range(channels):
        p = d * stride
        q = p + taps + 1
        for r in range(count):
            total = load(sums, q + r)
            for t in range(last if r > states else 0, length):
                total = total + load(g_rows, t * count + r) * load(u, d * length + t)
            store(sums, q + r, total)
        g_bias = zero
        for t in range(length):
            g = load(g_u, d * length + t)
            for r in range(count if t == last else 1 + states):
                g = g + scalar(packed, q + r) * load(g_rows, t * count + r)
            g = g * load(slope, d * length + t)
            store(g_u, d * length + t, g)
            g_bias = g_bias + g
        add(sums, p + taps, g_bias)
        for k in range(taps):
            total = load(sums, p + k)
            for t in range(length):
                total = total + load(g_u, d * length + t) * load(window, t + k)
            store(sums, p + k, total)
        if wanted:
            for t in range(length):
                g = load(g_u, d * length + t)
                for k in range(taps):
                    add(g_window, t + k, g * scalar(packed, p + k))


# A chunk of blocks ----------------------------------------------------------------------------------------------------
@njit(nogil=True)
def cut(scratch, lanes, start, vectors):
    """The next ``vectors`` vectors of the scratch memory, and where they end."""
    return scratch[start * lanes : (start + vectors) * lanes], start + vectors


@njit(nogil=True, cache=True)
def _forward_chunk(packed, limits, sizes, first, end, blocks, tokens, out, scratch):
    length, taps, channels, states = sizes
    lanes = out.size // blocks
    window, at = cut(scratch, lanes, 0, taps - 1 + length)
    u, at = cut(scratch, lanes, at, channels * length)
    slope, at = cut(scratch, lanes, at, channels * length)
    rows, at = cut(scratch, lanes, at, length * (1 + 2 * states))
    bc, at = cut(scratch, lanes, at, length * states)
    steps, at = cut(scratch, lanes, at, length)
    for block in range(first, end):
        _forward_block(packed, limits, sizes, block, blocks, tokens, out, window, u, slope, rows, bc, steps)


@njit(nogil=True, cache=True)
def _backward_chunk(packed, limits, sizes, first, end, blocks, tokens, upstream, g_packed, g_tokens, scratch):
    length, taps, channels, states = sizes
    lanes = upstream.size // blocks
    wanted = g_tokens.size > 0
    window, at = cut(scratch, lanes, 0, taps - 1 + length)
    u, at = cut(scratch, lanes, at, channels * length)
    slope, at = cut(scratch, lanes, at, channels * length)
    rows, at = cut(scratch, lanes, at, length * (1 + 2 * states))
    bc, at = cut(scratch, lanes, at, length * states)
    g_bc, at = cut(scratch, lanes, at, length * states)
    g_rows, at = cut(scratch, lanes, at, length * (1 + 2 * states))
    g_u, at = cut(scratch, lanes, at, channels * length)
    g_window, at = cut(scratch, lanes, at, taps - 1 + length)
    steps, at = cut(scratch, lanes, at, 4 * length)
    sums, at = cut(scratch, lanes, at, g_packed.size)
    sums[:] = 0.0
    for block in range(first, end):
        _backward_block(
            packed, limits, sizes, block, blocks, tokens, upstream, wanted,
            window, u, slope, rows, bc, g_bc, g_rows, g_u, g_window, steps, sums,
        )  # fmt: skip
        if wanted:
            for t in range(length):
                store(g_tokens, t * blocks + block, load(g_window, taps - 1 + t))
    for i in range(g_packed.size):
        total = sums[i * lanes]
        for lane in range(1, lanes):
            total += sums[i * lanes + lane]
        g_packed[i] = total


def _scratch(sizes: Sizes, lanes: int, backward: bool, like: Tensor) -> np.ndarray:
    """Uninitialised memory for one thread."""
    window, channel = sizes.taps - 1 + sizes.length, sizes.channels * sizes.length
    vectors = window + 2 * channel + sizes.length * (sizes.rows + sizes.states + 1)
    if backward:
        vectors += window + channel + sizes.length * (sizes.rows + sizes.states + 4) + sizes.parameters
    return like.new_empty(vectors * lanes).numpy()


# Threads --------------------------------------------------------------------------------------------------------------
_pools: dict[tuple[int, int], ThreadPoolExecutor] = {}
_pools_lock = threading.Lock()


def _pool(workers: int) -> ThreadPoolExecutor:
    """Threads kept between calls; a forked process has none of its parent's, so it makes its own."""
    with _pools_lock:
        key = (os.getpid(), workers)
        if key not in _pools:
            _pools[key] = ThreadPoolExecutor(workers, thread_name_prefix="slow_scan")
        return _pools[key]


def share(chunks: int, work: Callable[[Iterator[int]], None]) -> None:
    """Run ``work`` on as many threads as torch uses; each takes the next chunk from the iterator it is given."""
    threads = min(torch.get_num_threads(), chunks)
    queue = iter(range(chunks))  # next() on it is one step under the interpreter lock

    def flushed() -> None:
        # What a state forgets shrinks below the normal numbers, where arithmetic takes a hundred times as long.
        before = float(torch.tensor(1e-310, dtype=torch.float64) * 1.0) == 0.0
        torch.set_flush_denormal(True)
        try:
            work(queue)
        finally:
            torch.set_flush_denormal(before)

    others = [_pool(threads - 1).submit(flushed) for _ in range(threads - 1)]
    flushed()
    for other in others:
        other.result()


# One call -------------------------------------------------------------------------------------------------------------
class _Plan(NamedTuple):
    lanes: int
    blocks: int
    chunks: int

    def bounds(self, chunk: int) -> tuple[int, int]:
        """Blocks of a chunk."""
        return chunk * self.blocks // self.chunks, (chunk + 1) * self.blocks // self.chunks


def _plan(batch: int, dtype: torch.dtype) -> _Plan:
    lanes = BITS // torch.finfo(dtype).bits
    blocks = -(-batch // lanes)
    return _Plan(lanes, blocks, max(1, min(MOST_CHUNKS, blocks // BLOCKS_PER_CHUNK)))


class _LastOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens_BL: Tensor, packed: Tensor, sizes: Sizes) -> Tensor:
        batch, length = tokens_BL.shape
        plan = _plan(batch, tokens_BL.dtype)
        tokens = tokens_BL.new_empty(length, plan.blocks * plan.lanes)
        tokens[:, :batch] = tokens_BL.T
        tokens[:, batch:] = 0
        out = tokens.new_empty(plan.blocks * plan.lanes)
        ctx.save_for_backward(tokens, packed)
        ctx.sizes, ctx.plan, ctx.batch = sizes, plan, batch
        arrays: Any = packed.detach().numpy(), _limits(packed, sizes).numpy(), tuple(sizes)
        rest = plan.blocks, tokens.view(-1).numpy(), out.numpy()

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, plan.lanes, False, tokens)
            for chunk in queue:
                _forward_chunk(*arrays, *plan.bounds(chunk), *rest, scratch)

        share(plan.chunks, work)
        return out[:batch]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        tokens, packed = ctx.saved_tensors
        sizes, plan, batch = ctx.sizes, ctx.plan, ctx.batch
        upstream = tokens.new_zeros(plan.blocks * plan.lanes)
        upstream[:batch] = grad
        partial = tokens.new_empty(plan.chunks, sizes.parameters)
        g_tokens = torch.empty_like(tokens) if ctx.needs_input_grad[0] else tokens.new_empty(0)
        arrays: Any = packed.detach().numpy(), _limits(packed, sizes).numpy(), tuple(sizes)
        rest = plan.blocks, tokens.view(-1).numpy(), upstream.numpy()
        results, g_flat = partial.numpy(), g_tokens.view(-1).numpy()

        def work(queue: Iterator[int]) -> None:
            scratch = _scratch(sizes, plan.lanes, True, tokens)
            for chunk in queue:
                _backward_chunk(*arrays, *plan.bounds(chunk), *rest, results[chunk], g_flat, scratch)

        share(plan.chunks, work)
        return (
            g_tokens[:, :batch].T if ctx.needs_input_grad[0] else None,
            partial.sum(0) if ctx.needs_input_grad[1] else None,
            None,
        )


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int) -> Tensor:
    """(B, L) scalar tokens -> (B, outputs). float32 or float64, on the CPU."""
    sizes = sizes_of(weights, tokens_BL.shape[1])
    if outputs == 1:
        return _LastOutput.apply(tokens_BL, pack(weights), sizes)[:, None]
    from fsg.ops.slow_scan import cpu_flat  # which builds on this module

    batch = len(tokens_BL)
    flat = cpu_flat.slow_scan_flat(tokens_BL.reshape(-1), [sizes.length] * batch, [outputs] * batch, weights)
    return flat.view(batch, outputs)
