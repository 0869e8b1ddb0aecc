"""The slow-net's block on a GPU over few, long sequences (layout ``flattened``): a fixed number of Triton launches for all.

Parallel plan: every sequence is cut into chunks of BLOCK tokens, a program takes a chunk and walks the channels; a tile is the
chunk's tokens x states (S2, a power of two). Across chunks go states alone, as any chunk's end is a decay of its start and
a part of its own:

    forward    steps of all tokens > first chunk the outputs can see > each chunk's own part > states at the starts > outputs
    backward   each chunk's own part of the state's gradient > gradients at the ends > everything else, computed again

Exact prefix cut, as in cpu_flat.py, to a chunk: chunks in front of which every channel has min_s |A_ds| sum dt > 20 (40 in
float64) to go until the first output are left out. The first chunk is found on the device: nobody waits for a number.
Kept for the backward pass: a step per token, and the states at the chunks' starts, tokens x D x S / BLOCK numbers.
The result is the same in every run (see triton.py). Twin: reference.py. Proof: tests/ops/test_slow_scan_triton_flat.py.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsg.ops.slow_scan.packing import LN2, Sizes, pack, sizes_of
from fsg.ops.slow_scan.reference import MambaWeights
from fsg.ops.slow_scan.triton import _add, _sigmoid, _softplus

BLOCK = 64  # tokens of a chunk
PROGRAMS = 2048  # of the backward kernel, each with parameter sums of its own
FORGOTTEN = {32: 20.0, 64: 40.0}  # -log of what is left of a token that is cut off
_LN2 = tl.constexpr(LN2)
_FIELDS = tl.constexpr(6)


@triton.jit
def _chunk(chunks, c):
    """First token of the chunk; first and last + 1 of its sequence; its first answering token; that one's place; its number."""
    row = chunks + c * _FIELDS
    return tl.load(row), tl.load(row + 1), tl.load(row + 2), tl.load(row + 3), tl.load(row + 4), tl.load(row + 5)


@triton.jit
def _input(packed, tokens, p, at, begin, end, taps: tl.constexpr):
    """(BLOCK,): u of one channel and its derivative; zero behind the last token."""
    a = tl.load(packed + p + taps) + tl.zeros((at.shape[0],), packed.dtype.element_ty)
    for k in tl.static_range(taps):
        source = at - (taps - 1) + k
        a += tl.load(packed + p + k) * tl.load(tokens + source, mask=(source >= begin) & (at < end), other=0.0)
    s = _sigmoid(a)
    return tl.where(at < end, a * s, 0.0), tl.where(at < end, s * (1 + a * (1 - s)), 0.0)


@triton.jit
def _projections(
    packed, tokens, at, begin, end, state, channels, states, stride, taps: tl.constexpr, S2: tl.constexpr
):  # fmt: skip
    """B and C of every token, (BLOCK, S2)."""
    b = tl.zeros((at.shape[0], S2), packed.dtype.element_ty)
    c = tl.zeros((at.shape[0], S2), packed.dtype.element_ty)
    for d in range(channels):
        q = d * stride + taps + 2
        u, _slope = _input(packed, tokens, d * stride, at, begin, end, taps)
        b += u[:, None] * tl.load(packed + q + state, mask=state < states, other=0.0)[None, :]
        c += u[:, None] * tl.load(packed + q + states + state, mask=state < states, other=0.0)[None, :]
    return b, c


@triton.jit
def _dt(packed, p, step, at, end):
    """dt and its derivative; zero behind the last token, where nothing is forgotten and nothing added."""
    dt, rising = _softplus(tl.load(packed + p) * step + tl.load(packed + p + 1))
    return tl.where(at < end, dt, 0.0), tl.where(at < end, rising, 0.0)


@triton.jit
def _after(decay, drive, next_decay, next_drive):
    """h -> next(this(h))."""
    return decay * next_decay, next_decay * drive + next_drive


@triton.jit
def _kept(passing, kept, added, next_passing, next_kept, next_added):
    """As ``_after``, but what is left of the states before is kept apart from what the last token added."""
    return passing * next_passing, next_passing * (kept + added) + next_kept, next_added


@triton.jit
def _before(decay, own, passing, earlier_decay, earlier_own, earlier_passing):
    """A stretch gives its first state the gradient own + passing g, g what arrives behind it; ``decay`` leads to that state."""
    through = earlier_passing * decay
    return earlier_decay, earlier_own + through * own, through * passing


# Forward --------------------------------------------------------------------------------------------------------------
@triton.jit
def _steps(
    packed, tokens, chunks, steps, passed, channels, states, taps: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """The scalar that every token's dt is made of; each channel's sum of dt over the chunk's tokens before the first answer."""
    stride = taps + 3 * states + 7
    chunk = tl.program_id(0)
    start, begin, end, answers, _place, _number = _chunk(chunks, chunk)
    at = start + tl.arange(0, BLOCK)
    step = tl.zeros((BLOCK,), packed.dtype.element_ty)
    for d in range(channels):
        u, _slope = _input(packed, tokens, d * stride, at, begin, end, taps)
        step += tl.load(packed + d * stride + taps + 1) * u
    tl.store(steps + at, step, mask=at < end)
    for d in range(channels):
        dt, _rising = _dt(packed, d * stride + taps + 2 + 2 * states, step, at, end)
        tl.store(passed + chunk * channels + d, tl.sum(tl.where(at < answers, dt, 0.0)))


@triton.jit
def _start(passed, slowest, sequences, first, forgotten, channels, D2: tl.constexpr):
    """The first chunk that a sequence's answers can see."""
    number = tl.program_id(0)
    earliest = tl.load(sequences + 2 * number)
    chunk = tl.load(sequences + 2 * number + 1)
    channel = tl.arange(0, D2)
    rate = tl.load(slowest + channel, mask=channel < channels, other=1.0)
    # A channel that only fills the vector has forgotten everything.
    gone = tl.where(channel < channels, 0.0, 2 * forgotten).to(slowest.dtype.element_ty)
    least = tl.min(gone * rate)
    while (chunk > earliest) & (least <= forgotten):
        chunk -= 1
        gone += tl.load(passed + chunk * channels + channel, mask=channel < channels, other=0.0)
        least = tl.min(gone * rate)
    tl.store(first + number, chunk)


@triton.jit
def _own_states(
    packed, tokens, chunks, steps, first, local, totals, channels, states,
    taps: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What a chunk adds to the state at its end, and each channel's sum of dt."""
    stride = taps + 3 * states + 7
    chunk = tl.program_id(0)
    start, begin, end, _answers_from, _place, number = _chunk(chunks, chunk)
    if chunk >= tl.load(first + number):
        state = tl.arange(0, S2)
        at = start + tl.arange(0, BLOCK)
        step = tl.load(steps + at, mask=at < end, other=0.0)
        b, _c = _projections(packed, tokens, at, begin, end, state, channels, states, stride, taps, S2)
        for d in range(channels):
            p = d * stride + taps + 2 + 2 * states
            u, _slope = _input(packed, tokens, d * stride, at, begin, end, taps)
            dt, _rising = _dt(packed, p, step, at, end)
            ahead = tl.cumsum(dt, 0, reverse=True) - dt
            a = tl.load(packed + p + 2 + state, mask=state < states, other=0.0)
            h = tl.sum(tl.exp2(a[None, :] * ahead[:, None]) * (dt * u)[:, None] * b, 0)
            tl.store(local + (chunk * channels + d) * states + state, h, mask=state < states)
            tl.store(totals + chunk * channels + d, tl.sum(dt))


@triton.jit
def _carry(
    packed, sequences, first, local, totals, channels, states,
    taps: tl.constexpr, S2: tl.constexpr, backward: tl.constexpr,
):  # fmt: skip
    """Puts in the place of each chunk's own part the sum that arrives: the state at its start, or the gradient at its end."""
    number, d = tl.program_id(0), tl.program_id(1)
    p = d * (taps + 3 * states + 7) + taps + 4 + 2 * states
    state = tl.arange(0, S2)
    a = tl.load(packed + p + state, mask=state < states, other=0.0)
    h = tl.zeros((S2,), packed.dtype.element_ty)
    earliest, behind = tl.load(first + number), tl.load(sequences + 2 * number + 1)
    for i in range(earliest, behind):
        chunk = i if not backward else earliest + behind - 1 - i
        place = local + (chunk * channels + d) * states + state
        own = tl.load(place, mask=state < states, other=0.0)
        tl.store(place, h, mask=state < states)
        h = tl.exp2(a * tl.load(totals + chunk * channels + d)) * h + own


@triton.jit
def _answers(
    packed, tokens, chunks, steps, starts, out, channels, states,
    taps: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    stride = taps + 3 * states + 7
    chunk = tl.program_id(0)
    start, begin, end, answers, place, _number = _chunk(chunks, chunk)
    if start + BLOCK > answers:
        dtype = packed.dtype.element_ty
        state = tl.arange(0, S2)
        time = tl.arange(0, BLOCK)
        at = start + time
        step = tl.load(steps + at, mask=at < end, other=0.0)
        now = tl.load(tokens + at, mask=at < end, other=0.0)
        b, c = _projections(packed, tokens, at, begin, end, state, channels, states, stride, taps, S2)
        result = tl.zeros((BLOCK,), dtype)
        for d in range(channels):
            p = d * stride + taps + 2 + 2 * states
            u, _slope = _input(packed, tokens, d * stride, at, begin, end, taps)
            dt, _rising = _dt(packed, p, step, at, end)
            a = tl.load(packed + p + 2 + state, mask=state < states, other=0.0)
            h = tl.load(starts + (chunk * channels + d) * states + state, mask=state < states, other=0.0)
            decay = tl.exp2(a[None, :] * dt[:, None])
            passing, own = tl.associative_scan((decay, (dt * u)[:, None] * b), 0, _after)
            y = tl.sum(c * (own + passing * h[None, :]), 1) + tl.load(packed + p + 2 + states) * u
            z = tl.load(packed + p + 3 + states) * now
            result += tl.load(packed + p + 4 + states) * y * z * _sigmoid(z)
        tl.store(out + place + at - answers, result, mask=(at >= answers) & (at < end))


# Backward -------------------------------------------------------------------------------------------------------------
@triton.jit
def _upstream(packed, p, states, now, g_out):
    """z, sigmoid(z), and the gradient of y."""
    z = tl.load(packed + p + 3 + states) * now
    s = _sigmoid(z)
    return z, s, tl.load(packed + p + 4 + states) * g_out * z * s


@triton.jit
def _own_gradients(
    packed, tokens, upstream, chunks, steps, first, local, channels, states,
    taps: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """What a chunk's answers give the state at its start."""
    stride = taps + 3 * states + 7
    chunk = tl.program_id(0)
    start, begin, end, answers, place, number = _chunk(chunks, chunk)
    if chunk >= tl.load(first + number):
        state = tl.arange(0, S2)
        at = start + tl.arange(0, BLOCK)
        step = tl.load(steps + at, mask=at < end, other=0.0)
        now = tl.load(tokens + at, mask=at < end, other=0.0)
        g_out = tl.load(upstream + place + at - answers, mask=(at >= answers) & (at < end), other=0.0)
        _b, c = _projections(packed, tokens, at, begin, end, state, channels, states, stride, taps, S2)
        for d in range(channels):
            p = d * stride + taps + 2 + 2 * states
            dt, _rising = _dt(packed, p, step, at, end)
            _z, _s, g_y = _upstream(packed, p, states, now, g_out)
            a = tl.load(packed + p + 2 + state, mask=state < states, other=0.0)
            g = tl.sum(tl.exp2(a[None, :] * tl.cumsum(dt, 0)[:, None]) * c * g_y[:, None], 0)
            tl.store(local + (chunk * channels + d) * states + state, g, mask=state < states)


@triton.jit
def _backward(
    packed, tokens, upstream, chunks, steps, first, starts, ends, g_packed, shares, waiting,
    count, length, channels, states,
    taps: tl.constexpr, wanted: tl.constexpr, S2: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    dtype = packed.dtype.element_ty
    stride = taps + 3 * states + 7
    state, time = tl.arange(0, S2), tl.arange(0, BLOCK)
    real = state < states
    sums = g_packed + tl.program_id(0).to(tl.int64) * channels * stride
    own = waiting + tl.program_id(0).to(tl.int64) * channels * BLOCK
    for chunk in range(tl.program_id(0), count, tl.num_programs(0)):
        start, begin, end, answers, place, number = _chunk(chunks, chunk)
        if chunk >= tl.load(first + number):
            at = start + time
            step = tl.load(steps + at, mask=at < end, other=0.0)
            now = tl.load(tokens + at, mask=at < end, other=0.0)
            g_out = tl.load(upstream + place + at - answers, mask=(at >= answers) & (at < end), other=0.0)
            b, c = _projections(packed, tokens, at, begin, end, state, channels, states, stride, taps, S2)
            g_b = tl.zeros((BLOCK, S2), dtype)
            g_c = tl.zeros((BLOCK, S2), dtype)
            zero = tl.zeros((BLOCK, S2), dtype)
            g_step = tl.zeros((BLOCK,), dtype)
            g_now = tl.zeros((BLOCK,), dtype)
            for d in range(channels):
                p = d * stride + taps + 2 + 2 * states
                u, _slope = _input(packed, tokens, d * stride, at, begin, end, taps)
                dt, rising = _dt(packed, p, step, at, end)
                a = tl.load(packed + p + 2 + state, mask=real, other=0.0)
                edge = (chunk * channels + d) * states + state
                h = tl.load(starts + edge, mask=real, other=0.0)
                arriving = tl.load(ends + edge, mask=real, other=0.0)
                decay = tl.exp2(a[None, :] * dt[:, None])
                added = (dt * u)[:, None] * b
                passing, own_kept, _added = tl.associative_scan((decay, zero, added), 0, _kept)
                kept = own_kept + passing * h[None, :]
                trail = kept + added
                skip, gating = tl.load(packed + p + 2 + states), tl.load(packed + p + 3 + states)
                leaving = tl.load(packed + p + 4 + states)
                z, s, g_y = _upstream(packed, p, states, now, g_out)
                y = tl.sum(c * trail, 1) + skip * u
                _decay, g_own, reaching = tl.associative_scan(
                    (decay, c * g_y[:, None], zero + 1), 0, _before, reverse=True
                )
                g_h = g_own + reaching * arriving[None, :]
                g_b += g_h * (dt * u)[:, None]
                g_c += g_y[:, None] * trail
                g_v = tl.sum(g_h * b, 1)
                g_decay = g_h * kept  # times the decay
                g_dt = tl.sum(a[None, :] * g_decay, 1) * _LN2 + g_v * u
                at_a = sums + p + 2 + state
                g_a = tl.sum(g_decay * dt[:, None], 0) * _LN2
                tl.store(at_a, tl.load(at_a, mask=real, other=0.0) + g_a, mask=real)
                g_p = g_dt * rising
                _add(sums + p, tl.sum(g_p * step))
                _add(sums + p + 1, tl.sum(g_p))
                g_step += g_p * tl.load(packed + p)
                g_z = leaving * g_out * y * s * (1 + z * (1 - s))
                _add(sums + p + 2 + states, tl.sum(g_y * u))
                _add(sums + p + 3 + states, tl.sum(g_z * now))
                _add(sums + p + 4 + states, tl.sum(g_out * y * z * s))
                g_now += g_z * gating
                tl.store(own + d * BLOCK + time, g_v * dt + g_y * skip)
            tl.debug_barrier()  # what other threads of the program stored is read from here on
            if wanted:
                tl.store(shares + (taps - 1) * length + at, g_now, mask=at < end)
                tl.debug_barrier()
            for d in range(channels):
                p = d * stride
                q = p + taps + 1
                u, slope = _input(packed, tokens, p, at, begin, end, taps)
                row_b = tl.load(packed + q + 1 + state, mask=real, other=0.0)
                row_c = tl.load(packed + q + 1 + states + state, mask=real, other=0.0)
                g_u = tl.load(own + d * BLOCK + time) + tl.load(packed + q) * g_step
                g_u += tl.sum(row_b[None, :] * g_b + row_c[None, :] * g_c, 1)
                _add(sums + q, tl.sum(g_step * u))
                at_b, at_c = sums + q + 1 + state, sums + q + 1 + states + state
                tl.store(at_b, tl.load(at_b, mask=real, other=0.0) + tl.sum(g_b * u[:, None], 0), mask=real)
                tl.store(at_c, tl.load(at_c, mask=real, other=0.0) + tl.sum(g_c * u[:, None], 0), mask=real)
                g_x = g_u * slope
                _add(sums + p + taps, tl.sum(g_x))
                for k in tl.static_range(taps):
                    source = at - (taps - 1) + k
                    inside = (source >= begin) & (at < end)
                    _add(sums + p + k, tl.sum(g_x * tl.load(tokens + source, mask=inside, other=0.0)))
                    if wanted:
                        to = shares + k * length + at
                        g = g_x * tl.load(packed + p + k)
                        tl.store(to, tl.load(to, mask=inside, other=0.0) + g, mask=inside)
            tl.debug_barrier()  # the next chunk writes where this one has read


# All sequences --------------------------------------------------------------------------------------------------------
class _Plan(NamedTuple):
    """On the device: (chunks, 6) as ``_chunk`` reads it; (sequences, 2), each one's first chunk and last + 1."""

    chunks: Tensor
    sequences: Tensor


@functools.lru_cache(maxsize=16)
def _plan(lengths: tuple[int, ...], outputs: tuple[int, ...], device: torch.device) -> _Plan:
    """Made once for a network: later calls send nothing to the device."""
    chunks: list[list[int]] = []
    sequences = []
    ends, places = itertools.accumulate(lengths), [0, *itertools.accumulate(outputs)]
    for number, (end, length, wanted, place) in enumerate(zip(ends, lengths, outputs, places, strict=False)):
        begin = end - length
        starts = range(begin, end, BLOCK)
        sequences.append([len(chunks), len(chunks) + len(starts)])
        chunks += [[start, begin, end, end - wanted, place, number] for start in starts]
    return _Plan(*(torch.tensor(table, dtype=torch.int64).to(device) for table in (chunks, sequences)))


class _Flat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, packed: Tensor, sizes: Sizes, plan: _Plan, outputs: int) -> Tensor:
        tokens, packed = tokens.contiguous(), packed.contiguous()
        (chunks, sequences), count = plan, len(plan.chunks)
        channels, states, taps = sizes.channels, sizes.states, sizes.taps
        steps, out = torch.empty_like(tokens), tokens.new_empty(outputs)
        totals, starts = tokens.new_empty(2, count, channels), tokens.new_empty(count, channels, states)
        first = torch.empty_like(sequences[:, 0])
        block, tile = {"taps": taps, "BLOCK": BLOCK}, {"taps": taps, "S2": triton.next_power_of_2(states)}
        _steps[(count,)](packed, tokens, chunks, steps, totals[0], channels, states, **block)
        rates = packed.view(channels, -1)[:, taps + sizes.rows + 3 :][:, :states]
        forgotten = FORGOTTEN[torch.finfo(tokens.dtype).bits]
        slowest = (rates.amax(1) * -LN2).contiguous()
        width = triton.next_power_of_2(channels)
        _start[(len(sequences),)](totals[0], slowest, sequences, first, forgotten, channels, D2=width)
        _own_states[(count,)](
            packed, tokens, chunks, steps, first, starts, totals[1], channels, states, **block, S2=tile["S2"]
        )
        _carry[(len(sequences), channels)](
            packed, sequences, first, starts, totals[1], channels, states, **tile, backward=False
        )
        _answers[(count,)](packed, tokens, chunks, steps, starts, out, channels, states, **block, S2=tile["S2"])
        ctx.save_for_backward(tokens, packed, steps, first, starts, totals[1])
        ctx.sizes, ctx.plan = sizes, plan
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, packed, steps, first, starts, totals = ctx.saved_tensors
        sizes, (chunks, sequences), upstream = ctx.sizes, ctx.plan, grad.contiguous()
        channels, states, count = sizes.channels, sizes.states, len(chunks)
        tile: dict[str, Any] = {"taps": sizes.taps, "S2": triton.next_power_of_2(states)}
        ends = torch.empty_like(starts)
        _own_gradients[(count,)](
            packed, tokens, upstream, chunks, steps, first, ends, channels, states, **tile, BLOCK=BLOCK
        )
        _carry[(len(sequences), channels)](
            packed, sequences, first, ends, totals, channels, states, **tile, backward=True
        )
        programs = min(PROGRAMS, count)
        sums = tokens.new_zeros(programs, sizes.parameters)
        waiting = tokens.new_empty(programs, channels, BLOCK)
        wanted = ctx.needs_input_grad[0]
        shares = tokens.new_zeros(sizes.taps if wanted else 0, len(tokens))
        _backward[(programs,)](
            packed, tokens, upstream, chunks, steps, first, starts, ends, sums, shares, waiting,
            count, len(tokens), channels, states, wanted=wanted, **tile, BLOCK=BLOCK,
        )  # fmt: skip
        return (
            _shifted(shares) if wanted else None,
            sums.sum(0) if ctx.needs_input_grad[1] else None,
            None,
            None,
            None,
        )


def _shifted(shares: Tensor) -> Tensor:
    """(K, tokens) gradients, by tap, of what each token read, added up at the tokens that were read."""
    taps, length = shares.shape
    total = shares[-1].clone()
    for back in range(1, min(taps, length)):
        total[: length - back] += shares[taps - 1 - back, back:]
    return total


def slow_scan_flat(tokens: Tensor, lengths: Sequence[int], outputs: Sequence[int], weights: MambaWeights) -> Tensor:
    """Sequences end to end, (sum of lengths,) -> their last outputs end to end, (sum of outputs,). float32 or float64."""
    plan = _plan(tuple(lengths), tuple(outputs), tokens.device)
    return _Flat.apply(tokens, pack(weights), sizes_of(weights, BLOCK), plan, sum(outputs))
