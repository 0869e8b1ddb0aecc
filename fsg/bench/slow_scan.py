"""The slow-net's block, forward and backward: each backend against the reference, and against what this machine can do.

The floor of the CPU is counted: the exponentials, logarithms, divisions and multiply-adds of the unrolled form (README.md of
ops/slow_scan), each at the best rate that small kernels reach here while the scan is measured, one after the other.
The reference works in chunks, of the size that is fastest here on a part of the weights; it is measured on that part in
every round, and on all weights in fewer.
"""

from __future__ import annotations

import contextlib
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from fsg.bench.measure import Measurement, interleaved, processor, ratio, spread
from fsg.cores import usable_cores
from fsg.hypernetworks.slow_net import Mamba
from fsg.ops.slow_scan import MambaWeights, slow_scan, slow_scan_flat
from fsg.ops.slow_scan.operations import operations
from fsg.ops.slow_scan.reference import slow_scan as chunked
from fsg.record.ledger_header import installed_versions

WHAT = "slow_scan"
WEIGHTS = {"ResNet-20": 270_896, "ResNet-56": 857_264, "ResNet-110": 1_728_176}
RESNET20 = [432, *[2304] * 6, 512, 4608, *[9216] * 5, 2048, 18432, *[36864] * 5, 640]  # weights of each layer
TOKENS = 6  # L 5 and one layer embedding
FASTER, FLOOR, MEMORY, LINEAR = 25.0, 2.5, 300.0, 1.5  # targets: x, x, MB, x
CHUNKS = [2**k for k in (16, 17, 18, 19, 20, 22, 24)]  # of the reference, the last its default; the fastest is taken
WHOLE_ROUNDS = 2  # of the reference on all weights: 15 s each at the paper's size


class Size(NamedTuple):
    """Channels, states and taps; on how many weights the reference runs."""

    name: str
    d_inner: int
    d_state: int
    d_conv: int
    part: int


SIZES = [Size("8 x 4, 4 taps", 8, 4, 4, 65536), Size("100 x 16, 8 taps", 100, 16, 8, 8192)]


def run(rounds: int = 5) -> Iterator[Measurement]:
    """All comparisons on the CPU with every core that may be used; GPU rows where there is a GPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores())
    try:
        for size in SIZES:
            yield from _against_both(size, rounds)
        yield from _flattened(rounds)
        yield from _growth(rounds)
    finally:
        torch.set_num_threads(before)
    if torch.cuda.is_available():
        from fsg.bench.gpu import slow_scan_rows

        yield from slow_scan_rows(rounds)


def block(size: Size, device: str = "cpu") -> MambaWeights:
    """A block as it is initialised, with an output that is not zero."""
    torch.manual_seed(0)
    return Mamba(1, size.d_inner, size.d_state, size.d_conv).to(device).weights()


def both_ways(tokens: Tensor, weights: MambaWeights, scan: Callable[..., Tensor]) -> None:
    """Forward, then the gradients of every parameter and of the tokens."""
    output = scan(tokens, weights, 1)
    torch.autograd.grad(output.sum(), [*weights, tokens])


def _row(
    case: str, value: float, unit: str, target: str = "", holds: bool | None = None, iqr: float | None = None
) -> Measurement:
    versions = {**installed_versions(), "numba": version("numba")}
    return Measurement(WHAT, case, value, unit, target, holds, iqr, f"{processor()}, {_threads()}", versions)


def _threads() -> str:
    return f"{torch.get_num_threads()} threads"


# CPU ------------------------------------------------------------------------------------------------------------------
def _against_both(size: Size, rounds: int) -> list[Measurement]:
    weights, total = block(size), WEIGHTS["ResNet-20"]
    tokens = torch.randn(total, TOKENS, requires_grad=True)
    part = tokens.detach()[: size.part].clone().requires_grad_()
    cpu = partial(slow_scan, backend="cpu")
    peaks = Peaks()
    tries = {str(c): partial(both_ways, part, weights, partial(chunked, chunk=c)) for c in CHUNKS}
    per_chunk = {int(c): min(seconds) for c, seconds in interleaved(tries, 2).items()}
    chunk = min(per_chunk, key=lambda c: per_chunk[c])
    reference = partial(chunked, chunk=chunk)
    times = interleaved(
        {
            "reference": lambda: both_ways(part, weights, reference),
            "cpu, part": lambda: both_ways(part, weights, cpu),
            **peaks.subjects,
            "cpu": lambda: both_ways(tokens, weights, cpu),
        },
        rounds,
    )
    whole = interleaved(
        {"reference": lambda: both_ways(tokens, weights, reference), "cpu": lambda: both_ways(tokens, weights, cpu)},
        WHOLE_ROUNDS,
    )
    of_part, of_part_iqr = ratio(times["reference"], times["cpu, part"])
    faster, faster_iqr = ratio(whole["reference"], whole["cpu"])
    counts = operations(total * TOKENS, total * (TOKENS - 1), total, size.d_inner, size.d_state, size.d_conv)
    best = {k: min(times[k]) for k in peaks.subjects}  # a peak is the best that was seen
    floor = peaks.floor(counts, best)
    above, above_iqr = ratio(times["cpu"], [floor] * rounds)
    rates = {k: peaks.rate(k, t) / 1e9 for k, t in best.items()}
    case = f"ResNet-20, {size.name}"
    memory = peak_memory(size, total)
    slowest = per_chunk[CHUNKS[-1]] / per_chunk[chunk]
    return [
        *(_row(f"{case}: peak {k}", v, "G/s") for k, v in rates.items()),
        _row(f"{case}: floor", floor, "s"),
        _row(f"{case}: cpu", statistics.median(times["cpu"]), "s", iqr=spread(times["cpu"])),
        _row(f"{case}: cpu / floor", above, "x", f"<= {FLOOR:g} x", above <= FLOOR, above_iqr),
        _row(f"{case}: fastest chunk of the reference", math.log2(chunk), "log2"),
        _row(f"{case}: reference with its default chunk / the fastest", slowest, "x"),
        _row(f"{case}: reference", statistics.median(whole["reference"]), "s", iqr=spread(whole["reference"])),
        _row(f"{case}: reference / cpu", faster, "x", f">= {FASTER:g} x", faster >= FASTER, faster_iqr),
        _row(f"{size.part:,} weights, {size.name}: reference / cpu", of_part, "x", iqr=of_part_iqr),
        _row(f"{case}: memory beside the tokens", memory, "MB", f"<= {MEMORY:g} MB", memory <= MEMORY),
    ]


def _growth(rounds: int) -> list[Measurement]:
    """Time per token and memory of three networks."""
    cpu = partial(slow_scan, backend="cpu")
    inputs = {name: torch.randn(n, TOKENS, requires_grad=True) for name, n in WEIGHTS.items()}
    found = []
    for size in SIZES:
        weights = block(size)
        times = interleaved({name: partial(both_ways, x, weights, cpu) for name, x in inputs.items()}, rounds)
        per_token = {name: [t / inputs[name].numel() for t in ts] for name, ts in times.items()}
        for name, count in WEIGHTS.items():
            case = f"{name}, {size.name}"
            if name != "ResNet-20":
                value, iqr = ratio(per_token[name], per_token["ResNet-20"])
                holds = value <= LINEAR
                found.append(_row(f"{case}: time per token / ResNet-20's", value, "x", f"<= {LINEAR:g} x", holds, iqr))
            memory = peak_memory(size, count) / (count * TOKENS * 4 / 1e6)
            found.append(_row(f"{case}: memory / the tokens' own", memory, "x"))
    return found


def _flattened(rounds: int) -> list[Measurement]:
    """One sequence of 1 + 5 n tokens per layer; the reference on the smallest layer alone."""
    found = []
    for size in SIZES:
        weights = block(size)
        lengths = [1 + 5 * n for n in RESNET20]
        tokens = torch.randn(sum(lengths), requires_grad=True)
        small = torch.randn(1, lengths[0], requires_grad=True)

        def scan(x: Tensor, outputs: list[int], backend: str, w: MambaWeights = weights) -> None:
            flat = slow_scan_flat(x.flatten(), [1 + 5 * n for n in outputs], outputs, w, backend)
            torch.autograd.grad(flat.sum(), [*w, x])

        times = interleaved(
            {
                "reference": partial(scan, small, RESNET20[:1], "reference"),
                "cpu, one": partial(scan, small, RESNET20[:1], "cpu"),
                "cpu": partial(scan, tokens, RESNET20, "cpu"),
                "uncut": _uncut(partial(scan, tokens, RESNET20, "cpu")),
            },
            rounds,
        )
        faster, iqr = ratio(times["reference"], times["cpu, one"])
        found.append(_row(f"flattened, 432 weights, {size.name}: reference / cpu", faster, "x", iqr=iqr))
        seconds = times["cpu"]
        cut, iqr = ratio(times["uncut"], seconds)
        found.append(_row(f"flattened, ResNet-20, {size.name}: without / with the prefix cut", cut, "x", iqr=iqr))
        found.append(
            _row(f"flattened, ResNet-20, {size.name}: cpu", statistics.median(seconds), "s", iqr=spread(seconds))
        )
    return found


def _uncut(work: Callable[[], object]) -> Callable[[], None]:
    """``work`` with every token visited."""
    from fsg.ops.slow_scan.cpu_flat import FORGOTTEN

    def whole() -> None:
        before = dict(FORGOTTEN)
        FORGOTTEN.update(dict.fromkeys(FORGOTTEN, math.inf))
        try:
            work()
        finally:
            FORGOTTEN.update(before)

    return whole


class Peaks:
    """Rates this machine reaches with nothing in the way: each kernel on all threads at once."""

    LOOPS = 3_000_000

    def __init__(self) -> None:
        import numpy as np
        from numba import njit

        from fsg.ops.slow_scan.lanes import BITS, exp2_of_product, load, reciprocal, scalar, store
        from fsg.ops.slow_scan.threads import share

        @njit(nogil=True)
        def multiply_add(x, n):  # type: ignore[no-untyped-def]
            a, b, c, d, e = load(x, 0), load(x, 1), load(x, 2), load(x, 3), load(x, 4)
            f, g, h, i, j = load(x, 5), load(x, 6), load(x, 7), load(x, 8), load(x, 9)
            factor, term = scalar(x, 0), scalar(x, 1)
            for _ in range(n):
                a, b, c, d, e = (
                    a * factor + term,
                    b * factor + term,
                    c * factor + term,
                    d * factor + term,
                    e * factor + term,
                )
                f, g, h, i, j = (
                    f * factor + term,
                    g * factor + term,
                    h * factor + term,
                    i * factor + term,
                    j * factor + term,
                )
            store(x, 0, a + b + c + d + e + f + g + h + i + j)

        @njit(nogil=True)
        def exponential(x, n):  # type: ignore[no-untyped-def]
            a, b, c, d, e = load(x, 0), load(x, 1), load(x, 2), load(x, 3), load(x, 4)
            for i in range(n):
                at = load(x, i & 7)
                limit = scalar(x, 0)
                a = a + exp2_of_product(scalar(x, 1), at, limit)
                b = b + exp2_of_product(scalar(x, 2), at, limit)
                c = c + exp2_of_product(scalar(x, 3), at, limit)
                d = d + exp2_of_product(scalar(x, 4), at, limit)
                e = e + exp2_of_product(scalar(x, 5), at, limit)
            store(x, 9, a + b + c + d + e)

        @njit(nogil=True)
        def divide(x, n):  # type: ignore[no-untyped-def]
            a, b, c, d, e = load(x, 0), load(x, 1), load(x, 2), load(x, 3), load(x, 4)
            for i in range(n):
                at = load(x, i & 7)
                a = a + reciprocal(at * scalar(x, 1))
                b = b + reciprocal(at * scalar(x, 2))
                c = c + reciprocal(at * scalar(x, 3))
                d = d + reciprocal(at * scalar(x, 4))
                e = e + reciprocal(at * scalar(x, 5))
            store(x, 9, a + b + c + d + e)

        self.lanes = BITS // 32
        self.per_loop = {"multiply-add": 10, "exp": 5, "divide": 5}
        kernels = {"multiply-add": multiply_add, "exp": exponential, "divide": divide}
        for kernel in kernels.values():
            kernel(np.full(10 * self.lanes, 0.5, np.float32), 1)

        def on_all_threads(kernel: Callable[[np.ndarray, int], None]) -> None:
            def work(queue: Iterator[int]) -> None:
                for _ in queue:
                    kernel(np.full(10 * self.lanes, 0.5, np.float32), self.LOOPS)

            share(torch.get_num_threads(), work)

        self.subjects = {name: partial(on_all_threads, kernel) for name, kernel in kernels.items()}

    def rate(self, name: str, seconds: float) -> float:
        """Numbers per second, all threads together."""
        return self.LOOPS * self.per_loop[name] * self.lanes * torch.get_num_threads() / seconds

    def floor(self, counts: dict[str, float], seconds: dict[str, float]) -> float:
        """Seconds that the counted operations take at the rates these times of the kernels mean."""
        return sum(count / self.rate(name, seconds[name]) for name, count in counts.items())


def peak_memory(size: Size, weights: int) -> float:
    """MB that forward and backward of the CPU twin take at their peak, beside tokens and parameters; in a fresh process."""
    call = f"from fsg.bench import slow_scan as b; print(b.peak_here(b.Size(*{tuple(size)!r}), {weights}))"
    done = subprocess.run([sys.executable, "-c", call], capture_output=True, text=True, check=True)
    return float(done.stdout)


def peak_here(size: Size, weights: int) -> float:
    """``peak_memory`` of this process."""
    net, cpu = block(size), partial(slow_scan, backend="cpu")
    both_ways(torch.randn(8, TOKENS, requires_grad=True), net, cpu)
    tokens = torch.randn(weights, TOKENS, requires_grad=True)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the peak starts here
    before = _status("VmRSS")
    both_ways(tokens, net, cpu)
    return (_status("VmHWM") - before) / 1e3


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(key + ":"))
