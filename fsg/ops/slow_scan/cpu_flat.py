"""The slow-net's block on the CPU over few, long sequences: one per layer, of 1 + L n tokens, with n outputs at its end.

Parallel plan: a thread takes whole sequences, the longest first, and walks each in segments of eight vectors of tokens. What
is done token by token (taps, SiLU, projections, step size, gate) has a token in each lane, as cpu.py has a weight; the
recurrence has a channel in each lane, and transposes of small squares lead from one to the other and back.

Exact prefix cut: what a token left in the state shrinks by exp(A_ds dt) at every later token, so the tokens from which every
channel has min_s |A_ds| sum dt > 20 (40 in float64) to go until the first output change nothing beyond rounding: the walk
starts behind them, where it still looks up the taps' window. It costs one pass over the steps alone.

Backward: a first walk keeps the state at the start of each segment, a second goes back over the segments and computes the
states within once more. Memory grows with the tokens of one sequence / 128, not with all tokens' states.
Twin: reference.py. Proof: tests/ops/test_slow_scan_flat.py.
"""

# Kernels are compiled from untyped functions.
# mypy: disable-error-code="no-untyped-def,call-arg"

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numba import njit
from torch import Tensor
from torch.autograd.function import once_differentiable

from fsg.ops.slow_scan.cpu import cut
from fsg.ops.slow_scan.lanes import (
    BITS,
    LOWEST,
    add,
    exp2_of_product,
    load,
    load_from,
    outlined,
    scalar,
    sigmoid,
    softplus,
    softplus_slope,
    store,
    store_from,
    transpose,
    zero,
)
from fsg.ops.slow_scan.packing import LN2, Sizes, pack, sizes_of
from fsg.ops.slow_scan.projection import projection
from fsg.ops.slow_scan.reference import MambaWeights
from fsg.ops.slow_scan.threads import share

project = projection(load, zero)
SEGMENT = 8  # vectors of tokens: its states and decays at 100 x 16 fill half of a 2 MB second-level cache
FORGOTTEN = {32: 20.0, 64: 40.0}  # -log of what is left of a token that is cut off


# Token lanes: x[d * V + b] holds V vectors of tokens. Channel lanes: x[t * Q + q] holds Q vectors of channels. ------------
# ``sizes`` is (V, K, D, S) here: the vectors of a segment stand where cpu.py has a weight's tokens.


@njit(nogil=True)
def _window(tokens, begin, end, at, sizes, lanes, window):
    """The segment's tokens from ``at`` on behind the K - 1 before it; zeros outside of [begin, end)."""
    outlined()
    vectors, taps, _channels, _states = sizes
    for i in range(taps - 1 + vectors * lanes):
        t = at - (taps - 1) + i
        window[i] = tokens[t] if begin <= t < end else 0.0


@njit(nogil=True)
def _inputs(packed, sizes, first_c, lanes, window, u, slope, rows):
    """u, its derivative, and the projections, one token a lane."""
    outlined()
    vectors, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for d in range(channels):
        p = d * stride
        for b in range(vectors):
            a = zero(u) + scalar(packed, p + taps)
            for k in range(taps):
                a = a + scalar(packed, p + k) * load_from(window, b * lanes + k)
            s = sigmoid(a)
            value = a * s
            store(u, d * vectors + b, value)
            store(slope, d * vectors + b, s + value * (1.0 - s))
    project(packed, sizes, first_c, u, rows)


@njit(nogil=True)
def _steps(packed, sizes, u, rows, dt, rising, flow):
    """dt, its derivative, and dt u."""
    outlined()
    vectors, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    for d in range(channels):
        p = d * stride + taps + 1 + count
        for b in range(vectors):
            before = scalar(packed, p) * load(rows, b * count) + scalar(packed, p + 1)
            step, e = softplus(before)
            i = d * vectors + b
            store(dt, i, step)
            store(rising, i, softplus_slope(before, e))
            store(flow, i, step * load(u, i))


@njit(nogil=True)
def _to_channels(source, vectors, quads, lanes, target):
    outlined()
    for b in range(vectors):
        for q in range(quads):
            transpose(source, q * lanes * vectors + b, vectors, target, b * lanes * quads + q, quads)


@njit(nogil=True)
def _to_tokens(source, vectors, quads, lanes, target):
    outlined()
    for b in range(vectors):
        for q in range(quads):
            transpose(source, b * lanes * quads + q, quads, target, q * lanes * vectors + b, vectors)


@njit(nogil=True)
def _advance(rates, limits, states, quads, lanes, tokens, dt, flow, rows, h):
    """The recurrence over the segment's tokens, for the state alone."""
    outlined()
    count = 1 + 2 * states
    for t in range(tokens):
        row = (t // lanes * count + 1) * lanes + t % lanes
        for q in range(quads):
            step = load(dt, t * quads + q)
            drive = load(flow, t * quads + q)
            for s in range(states):
                i = s * quads + q
                decay = exp2_of_product(load(rates, i), step, load(limits, i))
                store(h, i, decay * load(h, i) + drive * scalar(rows, row + s * lanes))


@njit(nogil=True)
def _answer(rates, limits, states, quads, lanes, tokens, dt, flow, rows, h, y):
    """As ``_advance``, and y = C h."""
    outlined()
    count = 1 + 2 * states
    for t in range(tokens):
        row = (t // lanes * count + 1) * lanes + t % lanes
        for q in range(quads):
            step = load(dt, t * quads + q)
            drive = load(flow, t * quads + q)
            total = zero(h)
            for s in range(states):
                i = s * quads + q
                decay = exp2_of_product(load(rates, i), step, load(limits, i))
                state = decay * load(h, i) + drive * scalar(rows, row + s * lanes)
                total = total + scalar(rows, row + (states + s) * lanes) * state
                store(h, i, state)
            store(y, t * quads + q, total)


@njit(nogil=True)
def _remember(rates, limits, states, quads, lanes, tokens, dt, flow, rows, h, y, decays):
    """As ``_answer``, keeping every decay and state: h[(t + 1) * S * Q ..] after token t, h[0 ..] given."""
    outlined()
    count = 1 + 2 * states
    width = states * quads
    for t in range(tokens):
        row = (t // lanes * count + 1) * lanes + t % lanes
        for q in range(quads):
            step = load(dt, t * quads + q)
            drive = load(flow, t * quads + q)
            total = zero(h)
            for s in range(states):
                i = s * quads + q
                decay = exp2_of_product(load(rates, i), step, load(limits, i))
                state = decay * load(h, t * width + i) + drive * scalar(rows, row + s * lanes)
                total = total + scalar(rows, row + (states + s) * lanes) * state
                store(decays, t * width + i, decay)
                store(h, (t + 1) * width + i, state)
            store(y, t * quads + q, total)


@njit(nogil=True)
def _reverse(
    rates,
    states,
    quads,
    lanes,
    tokens,
    dt,
    flow,
    rows,
    h,
    decays,
    g_y,
    carry,
    g_dt,
    g_flow,
    g_rows,
    g_rates,
    b_terms,
    c_terms,
):
    """The recurrence backwards: gradients of dt, dt u, B and C, adding A's; ``carry`` is the state's."""
    outlined()
    count = 1 + 2 * states
    width = states * quads
    for back in range(tokens):
        t = tokens - 1 - back
        row = (t // lanes * count + 1) * lanes + t % lanes
        at = t % lanes * states
        for q in range(quads):
            step = load(dt, t * quads + q)
            drive = load(flow, t * quads + q)
            upstream = load(g_y, t * quads + q)
            of_step = zero(h)
            of_flow = of_step
            for s in range(states):
                i = s * quads + q
                g = load(carry, i) + upstream * scalar(rows, row + (states + s) * lanes)
                of_flow = of_flow + g * scalar(rows, row + s * lanes)
                b_part = g * drive
                c_part = upstream * load(h, (t + 1) * width + i)
                if q == 0:
                    store(b_terms, at + s, b_part)
                    store(c_terms, at + s, c_part)
                else:
                    add(b_terms, at + s, b_part)
                    add(c_terms, at + s, c_part)
                g = g * load(decays, t * width + i)
                store(carry, i, g)
                g = g * load(h, t * width + i)
                of_step = of_step + load(rates, i) * g
                add(g_rates, i, step * g)
            store(g_dt, t * quads + q, of_step * LN2)
            store(g_flow, t * quads + q, of_flow)
        if t % lanes == 0:  # a vector of tokens is complete: their sums over channels become token lanes
            for s in range(states):
                _sum_lanes(b_terms, s, states, lanes, g_rows, t // lanes * count + 1 + s)
                _sum_lanes(c_terms, s, states, lanes, g_rows, t // lanes * count + 1 + states + s)


@njit(nogil=True)
def _sum_lanes(terms, first, step, lanes, target, index):
    """target[index], lane i = the sum over all lanes of terms[first + i * step]."""
    outlined()
    transpose(terms, first, step, terms, first, step)
    total = load(terms, first)
    for i in range(1, lanes):
        total = total + load(terms, first + i * step)
    store(target, index, total)


@njit(nogil=True)
def _gate(packed, sizes, lanes, window, u, y, out):
    """out = W_out [(y + D u) SiLU(z)], one token a lane."""
    outlined()
    vectors, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for b in range(vectors):
        now = load_from(window, b * lanes + taps - 1)
        total = zero(u)
        for d in range(channels):
            p = d * stride + taps + 4 + 3 * states
            z = scalar(packed, p + 1) * now
            value = load(y, d * vectors + b) + scalar(packed, p) * load(u, d * vectors + b)
            total = total + scalar(packed, p + 2) * value * z * sigmoid(z)
        store(out, b, total)


@njit(nogil=True)
def _gate_backward(packed, sizes, lanes, window, u, y, upstream, g_y, g_u, g_window, sums):
    """The reverse of ``_gate``: writes y's gradient and the share of u's that goes by D, adds those of D, z and W_out."""
    outlined()
    vectors, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    for d in range(channels):
        p = d * stride + taps + 4 + 3 * states
        skip, gating, leaving = load(sums, p), load(sums, p + 1), load(sums, p + 2)
        for b in range(vectors):
            i = d * vectors + b
            now = load_from(window, b * lanes + taps - 1)
            g_out = load(upstream, b)
            z = scalar(packed, p + 1) * now
            s = sigmoid(z)
            value = load(y, i) + scalar(packed, p) * load(u, i)
            g_value = scalar(packed, p + 2) * g_out * z * s
            g_z = scalar(packed, p + 2) * g_out * value * (s + z * s * (1.0 - s))
            store(g_y, i, g_value)
            store(g_u, i, g_value * scalar(packed, p))
            skip = skip + g_value * load(u, i)
            gating = gating + g_z * now
            leaving = leaving + g_out * value * z * s
            at = b * lanes + taps - 1
            store_from(g_window, at, load_from(g_window, at) + g_z * scalar(packed, p + 1))
        store(sums, p, skip)
        store(sums, p + 1, gating)
        store(sums, p + 2, leaving)


@njit(nogil=True)
def _inputs_backward(
    packed, sizes, lanes, window, u, slope, rows, dt, rising, g_dt, g_flow, g_u, g_rows, g_window, sums
):
    """From the gradients of dt, dt u, u and the projections to those of the tokens and of all that made them."""
    outlined()
    vectors, taps, channels, states = sizes
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    for b in range(vectors):
        store(g_rows, b * count, zero(u))
    for d in range(channels):
        p = d * stride + taps + 1 + count
        weight, bias = load(sums, p), load(sums, p + 1)
        for b in range(vectors):
            i = d * vectors + b
            flow = load(g_flow, i)
            g = (load(g_dt, i) + flow * load(u, i)) * load(rising, i)
            weight = weight + g * load(rows, b * count)
            bias = bias + g
            add(g_rows, b * count, g * scalar(packed, p))
            add(g_u, i, flow * load(dt, i))
        store(sums, p, weight)
        store(sums, p + 1, bias)
    for d in range(channels):
        p = d * stride
        q = p + taps + 1
        for r in range(count):
            total = load(sums, q + r)
            for b in range(vectors):
                total = total + load(g_rows, b * count + r) * load(u, d * vectors + b)
            store(sums, q + r, total)
        bias = load(sums, p + taps)
        for b in range(vectors):
            g = load(g_u, d * vectors + b)
            for r in range(count):
                g = g + scalar(packed, q + r) * load(g_rows, b * count + r)
            g = g * load(slope, d * vectors + b)
            store(g_u, d * vectors + b, g)
            bias = bias + g
        store(sums, p + taps, bias)
        for k in range(taps):
            total = load(sums, p + k)
            for b in range(vectors):
                g = load(g_u, d * vectors + b)
                at = b * lanes + k
                total = total + g * load_from(window, at)
                store_from(g_window, at, load_from(g_window, at) + g * scalar(packed, p + k))
            store(sums, p + k, total)


# One sequence ---------------------------------------------------------------------------------------------------------
@njit(nogil=True, cache=True)
def _start(packed, rates, sizes, quads, tokens, begin, end, outputs, forgotten, scratch):
    """The first token that the outputs can still see."""
    _vectors, taps, channels, states = sizes
    lanes = rates.size // (quads * states)
    stride = taps + 3 * states + 7
    count = 1 + 2 * states
    one = (1, taps, channels, states)
    window, at = cut(scratch, lanes, 0, -(-(taps - 1) // lanes) + 1)
    u, at = cut(scratch, lanes, at, channels)
    slope, at = cut(scratch, lanes, at, channels)
    rows, at = cut(scratch, lanes, at, count)
    slowest, at = cut(scratch, lanes, at, quads)
    passed, at = cut(scratch, lanes, at, channels)
    for d in range(channels):
        slowest[d] = np.inf
        for s in range(states):
            slowest[d] = min(slowest[d], -rates[s * quads * lanes + d] * LN2)
        passed[d] = 0.0
    first = end - outputs
    while first > begin:
        first -= lanes
        _window(tokens, begin, end, first, one, lanes, window)
        _inputs(packed, one, 1, lanes, window, u, slope, rows)
        done = True
        for d in range(channels):
            p = d * stride + taps + 1 + count
            step, _ = softplus(scalar(packed, p) * load(rows, 0) + scalar(packed, p + 1))
            store(slope, d, step)
            for lane in range(lanes):
                passed[d] += slope[d * lanes + lane] if first + lane >= begin else 0.0
            done = done and slowest[d] * passed[d] > forgotten
        if done:
            return first
    return begin


@njit(nogil=True)
def _walk_scratch(scratch, sizes, quads, lanes):
    """window, u, slope, rows, dt, rising, flow | dt, flow, y in channel lanes | state; and where they end."""
    vectors, taps, channels, states = sizes
    padded = quads * lanes
    window, at = cut(scratch, lanes, 0, vectors - (-(taps - 1) // lanes))
    u, at = cut(scratch, lanes, at, padded * vectors)
    slope, at = cut(scratch, lanes, at, padded * vectors)
    rows, at = cut(scratch, lanes, at, vectors * (1 + 2 * states))
    dt, at = cut(scratch, lanes, at, padded * vectors)
    rising, at = cut(scratch, lanes, at, padded * vectors)
    flow, at = cut(scratch, lanes, at, padded * vectors)
    dt_c, at = cut(scratch, lanes, at, padded * vectors)
    flow_c, at = cut(scratch, lanes, at, padded * vectors)
    y_c, at = cut(scratch, lanes, at, padded * vectors)
    h, at = cut(scratch, lanes, at, states * quads)
    dt[channels * vectors * lanes :] = 0.0  # channels that only fill a vector: their state stays zero
    flow[channels * vectors * lanes :] = 0.0
    h[:] = 0.0
    return window, u, slope, rows, dt, rising, flow, dt_c, flow_c, y_c, h, at


@njit(nogil=True, cache=True)
def _forward_sequence(packed, rates, limits, sizes, quads, tokens, begin, start, end, outputs, out, scratch):
    vectors, _taps, channels, states = sizes
    lanes = rates.size // (quads * states)
    window, u, slope, rows, dt, rising, flow, dt_c, flow_c, y_c, h, at = _walk_scratch(scratch, sizes, quads, lanes)
    answers, at = cut(scratch, lanes, at, vectors)
    count = vectors * lanes
    for place in range(start, end, count):
        answered = place + count > end - outputs
        _window(tokens, begin, end, place, sizes, lanes, window)
        _inputs(packed, sizes, 0 if answered else vectors, lanes, window, u, slope, rows)
        _steps(packed, sizes, u, rows, dt, rising, flow)
        _to_channels(dt, vectors, quads, lanes, dt_c)
        _to_channels(flow, vectors, quads, lanes, flow_c)
        if not answered:
            _advance(rates, limits, states, quads, lanes, count, dt_c, flow_c, rows, h)
            continue
        _answer(rates, limits, states, quads, lanes, count, dt_c, flow_c, rows, h, y_c)
        _to_tokens(y_c, vectors, quads, lanes, flow)
        _gate(packed, sizes, lanes, window, u, flow, answers)
        flow[channels * vectors * lanes :] = 0.0
        for t in range(max(place, end - outputs), min(place + count, end)):
            out[t - (end - outputs)] = answers[t - place]


@njit(nogil=True, cache=True)
def _backward_sequence(
    packed,
    rates,
    limits,
    sizes,
    quads,
    tokens,
    begin,
    start,
    end,
    outputs,
    upstream,
    g_packed,
    g_tokens,
    scratch,
    states_kept,
):
    vectors, taps, channels, states = sizes
    lanes = rates.size // (quads * states)
    padded, count, width = quads * lanes, vectors * lanes, states * quads * lanes
    window, u, slope, rows, dt, rising, flow, dt_c, flow_c, y_c, h, at = _walk_scratch(scratch, sizes, quads, lanes)
    g_answers, at = cut(scratch, lanes, at, vectors)
    g_y_c, at = cut(scratch, lanes, at, padded * vectors)
    g_u, at = cut(scratch, lanes, at, padded * vectors)
    y, at = cut(scratch, lanes, at, padded * vectors)
    g_y, at = cut(scratch, lanes, at, padded * vectors)
    g_rows, at = cut(scratch, lanes, at, vectors * (1 + 2 * states))
    g_window, at = cut(scratch, lanes, at, vectors - (-(taps - 1) // lanes))
    carry, at = cut(scratch, lanes, at, states * quads)
    g_rates, at = cut(scratch, lanes, at, states * quads)
    b_terms, at = cut(scratch, lanes, at, states * lanes)
    c_terms, at = cut(scratch, lanes, at, states * lanes)
    sums, at = cut(scratch, lanes, at, g_packed.size)
    trail, at = cut(scratch, lanes, at, (count + 1) * states * quads)
    decays, at = cut(scratch, lanes, at, count * states * quads)
    carry[:] = 0.0
    g_rates[:] = 0.0
    sums[:] = 0.0

    segments = -(-(end - start) // count)
    for number in range(segments):
        states_kept[number * width : (number + 1) * width] = h
        if number < segments - 1:
            _window(tokens, begin, end, start + number * count, sizes, lanes, window)
            _inputs(packed, sizes, vectors, lanes, window, u, slope, rows)
            _steps(packed, sizes, u, rows, dt, rising, flow)
            _to_channels(dt, vectors, quads, lanes, dt_c)
            _to_channels(flow, vectors, quads, lanes, flow_c)
            _advance(rates, limits, states, quads, lanes, count, dt_c, flow_c, rows, h)

    for number in range(segments - 1, -1, -1):
        place = start + number * count
        trail[:width] = states_kept[number * width : (number + 1) * width]
        _window(tokens, begin, end, place, sizes, lanes, window)
        _inputs(packed, sizes, 0, lanes, window, u, slope, rows)
        _steps(packed, sizes, u, rows, dt, rising, flow)
        _to_channels(dt, vectors, quads, lanes, dt_c)
        _to_channels(flow, vectors, quads, lanes, flow_c)
        _remember(rates, limits, states, quads, lanes, count, dt_c, flow_c, rows, trail, y_c, decays)
        _to_tokens(y_c, vectors, quads, lanes, y)
        for i in range(count):
            inside = end - outputs <= place + i < end
            g_answers[i] = upstream[place + i - (end - outputs)] if inside else 0.0
        g_window[:] = 0.0
        g_y[channels * count :] = 0.0
        _gate_backward(packed, sizes, lanes, window, u, y, g_answers, g_y, g_u, g_window, sums)
        _to_channels(g_y, vectors, quads, lanes, g_y_c)
        _reverse(
            rates, states, quads, lanes, count, dt_c, flow_c, rows, trail, decays, g_y_c, carry, dt_c, flow_c,
            g_rows, g_rates, b_terms, c_terms,
        )  # fmt: skip
        _to_tokens(dt_c, vectors, quads, lanes, y)
        _to_tokens(flow_c, vectors, quads, lanes, g_y)
        _inputs_backward(
            packed, sizes, lanes, window, u, slope, rows, dt, rising, y, g_y, g_u, g_rows, g_window, sums
        )  # fmt: skip
        if g_tokens.size:
            for i in range(taps - 1 + count):
                t = place - (taps - 1) + i
                if begin <= t < end:
                    g_tokens[t] += g_window[i]

    for i in range(g_packed.size):
        total = sums[i * lanes]
        for lane in range(1, lanes):
            total += sums[i * lanes + lane]
        g_packed[i] = total
    stride = taps + 3 * states + 7
    for d in range(channels):
        for s in range(states):
            g_packed[d * stride + taps + 4 + 2 * states + s] = g_rates[s * padded + d] * LN2


# All sequences --------------------------------------------------------------------------------------------------------
class _Sequence(NamedTuple):
    begin: int  # first token, start <= ..
    start: int  # first token the outputs see
    end: int
    outputs: int
    place: int  # of its outputs among all


class _Frame(NamedTuple):
    """A call's sizes: of a segment, and of memory in vectors."""

    sizes: Sizes
    lanes: int

    @property
    def quads(self) -> int:
        return -(-self.sizes.channels // self.lanes)

    def vectors(self, backward: bool) -> int:
        segment, taps, channels, states = self.sizes
        wide, rows, window = self.quads * self.lanes * segment, segment * (1 + 2 * states), segment + taps
        total = window + 8 * wide + rows + states * self.quads + segment
        if backward:
            trail = (2 * segment * self.lanes + 3) * states * self.quads
            total += 4 * wide + rows + window + 2 * states * self.lanes + self.sizes.parameters + trail
        return total + 4 * channels + self.quads

    def scratch(self, like: Tensor, backward: bool) -> np.ndarray:
        """Uninitialised memory for one thread."""
        return like.new_empty(self.vectors(backward) * self.lanes).numpy()

    def rates(self, packed: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """A / ln 2 with a channel in each lane, (S, Q lanes), and the largest step at which the decay is a normal number."""
        first = self.sizes.taps + self.sizes.rows + 3
        rates = packed.new_zeros(self.sizes.states, self.quads * self.lanes)
        of_channels = packed.detach().view(self.sizes.channels, -1)[:, first : first + self.sizes.states]
        rates[:, : self.sizes.channels] = of_channels.T
        lowest = LOWEST[torch.finfo(packed.dtype).bits]
        limits = torch.where(rates < 0, lowest / rates, torch.full_like(rates, torch.inf))
        return rates.flatten().numpy(), limits.flatten().numpy()


class _Flat(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, tokens: Tensor, packed: Tensor, sizes: Sizes, lengths: Sequence[int], outputs: Sequence[int]
    ) -> Tensor:
        bits = torch.finfo(tokens.dtype).bits
        frame = _Frame(sizes._replace(length=SEGMENT), BITS // bits)
        rates, limits = frame.rates(packed)
        flat, parameters = tokens.detach().contiguous().numpy(), packed.detach().numpy()
        out = tokens.new_empty(sum(outputs))
        results = out.numpy()
        ends, places = list(itertools.accumulate(lengths)), [0, *itertools.accumulate(outputs)]
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        sequences: list[Any] = [None] * len(lengths)
        common = tuple(frame.sizes), frame.quads, flat

        def work(queue: Iterator[int]) -> None:
            scratch = frame.scratch(tokens, False)
            for i in (order[k] for k in queue):
                begin, end, place = ends[i] - lengths[i], ends[i], places[i]
                start = _start(parameters, rates, *common, begin, end, outputs[i], FORGOTTEN[bits], scratch)
                sequences[i] = _Sequence(begin, start, end, outputs[i], place)
                answers = results[place : place + outputs[i]]
                _forward_sequence(
                    parameters, rates, limits, *common, begin, start, end, outputs[i], answers, scratch
                )  # fmt: skip

        share(len(lengths), work)
        ctx.save_for_backward(tokens, packed)
        ctx.frame, ctx.sequences, ctx.order = frame, sequences, order
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        tokens, packed = ctx.saved_tensors
        frame, sequences, order = ctx.frame, ctx.sequences, ctx.order
        rates, limits = frame.rates(packed)
        flat, parameters = tokens.detach().contiguous().numpy(), packed.detach().numpy()
        upstream = grad.contiguous().numpy()
        partial = tokens.new_zeros(len(sequences), frame.sizes.parameters)
        results = partial.numpy()
        g_tokens = torch.zeros_like(tokens) if ctx.needs_input_grad[0] else tokens.new_empty(0)
        g_flat = g_tokens.numpy()

        def work(queue: Iterator[int]) -> None:
            scratch = frame.scratch(tokens, True)
            for i in (order[k] for k in queue):
                s = sequences[i]
                segments = -(-(s.end - s.start) // (SEGMENT * frame.lanes))
                kept = tokens.new_empty(segments * frame.sizes.states * frame.quads * frame.lanes).numpy()
                _backward_sequence(
                    parameters, rates, limits, tuple(frame.sizes), frame.quads, flat, s.begin, s.start, s.end, s.outputs,
                    upstream[s.place : s.place + s.outputs], results[i], g_flat, scratch, kept,
                )  # fmt: skip

        share(len(sequences), work)
        return (
            g_tokens if ctx.needs_input_grad[0] else None,
            partial.sum(0) if ctx.needs_input_grad[1] else None,
            None,
            None,
            None,
        )


def slow_scan_flat(tokens: Tensor, lengths: Sequence[int], outputs: Sequence[int], weights: MambaWeights) -> Tensor:
    """Sequences end to end, (sum of lengths,) -> their last outputs end to end, (sum of outputs,)."""
    return _Flat.apply(tokens, pack(weights), sizes_of(weights, SEGMENT), list(lengths), list(outputs))
