"""One measured number, and how two things are timed against each other."""

from __future__ import annotations

import datetime
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fsg.cores import usable_cores
from fsg.record.ledger_header import installed_versions


@dataclass(frozen=True)
class Measurement:
    """``value`` in ``unit``, its ``target`` and whether it holds (None: no target); ``spread`` is the interquartile range."""

    what: str
    case: str
    value: float
    unit: str
    target: str = ""
    holds: bool | None = None
    spread: float | None = None
    device: str = field(default_factory=lambda: processor())
    versions: dict[str, str] = field(default_factory=installed_versions)
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"))

    def as_json(self) -> dict[str, Any]:
        """Plain data, one object a line."""
        return asdict(self)


def at_most(what: str, case: str, value: float, unit: str, limit: float, spread: float | None = None) -> Measurement:
    """A measurement that should not exceed ``limit``."""
    return Measurement(what, case, value, unit, f"<= {limit:g} {unit}", value <= limit, spread)


def interleaved(
    subjects: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each subject in each round; every round runs all of them once, so that a busy machine hits them alike.

    ``clock``: ``time.process_time`` for what computes in one thread, as other work on the machine then counts for nothing.
    """
    for subject in subjects.values():
        subject()  # warm-up: compilation, allocation
    times: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            start = clock()
            subject()
            times[name].append(clock() - start)
    return times


def ratio(numerator: list[float], denominator: list[float]) -> tuple[float, float]:
    """Median and interquartile range of the ratios, round by round."""
    ratios = sorted(a / b for a, b in zip(numerator, denominator, strict=True))
    return statistics.median(ratios), spread(ratios)


def spread(values: list[float]) -> float:
    """Interquartile range."""
    if len(values) < 2:
        return 0.0
    low, _, high = statistics.quantiles(values, n=4)
    return high - low


def processor() -> str:
    """The processor's model, and how many of its cores may be used."""
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123  (not a file of ours)
            model = next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    return f"{model}, {usable_cores()} cores"
