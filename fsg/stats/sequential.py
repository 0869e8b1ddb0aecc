"""Adding paired seeds until an interval is narrow enough, with an error rate that accounts for every look.

Stopping at the first 95 % t interval that is narrow, with looks at 3 to 20 seeds, covers as little as 90 %; stopping at
the first that excludes zero is worse. Here the intervals of all looks cover *together* (repeated confidence intervals,
Jennison & Turnbull 1989), so one may stop for any reason: width, a clear result, or impatience.

Letters: looks at n = first .. last seeds, one by one; z_n = c (last / n)^(1/4) is the edge at n (Wang & Tsiatis 1987,
midway between O'Brien-Fleming and Pocock: early looks are strict, the last costs little), turned into the edge of t
with n - 1 degrees of freedom that has the same tail. c is a quantile over simulated null studies, so it holds for t:
spending alpha as if t were z lets 5.4 to 5.9 % through. Proof: ``tests/stats/test_sequential.py``,
``benchmarks/calibration.py``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fsg.stats.paired import Interval, Vector, check_confidence, vector

MOST_SEEDS = 200
_STUDIES = 100_000  # the standard error of a 5 % rate is then 0.07 %
_SHAPE = 0.25


@dataclass(frozen=True, slots=True)
class Looks:
    """The edges of t for looks at ``first``, ``first + 1``, ... ``last`` seeds. ``edges[i]`` belongs to first + i."""

    first: int
    last: int
    confidence: float
    edges: tuple[float, ...]

    def interval(self, values: ArrayLike) -> Interval:
        """The interval of the mean at this look. ``values``: (n,) finite paired differences, first <= n <= last."""
        d = vector(values, "paired differences")
        if not self.first <= d.size <= self.last:
            raise ValueError(
                f"paired differences: {d.size} seeds, but looks are planned at {self.first} to {self.last}."
            )
        half = self.edges[d.size - self.first] * float(d.std(ddof=1)) / math.sqrt(d.size)
        mean = float(d.mean())
        return Interval(mean, mean - half, mean + half, d.size, self.confidence, "sequential t")

    def enough(self, values: ArrayLike, half_width: float) -> bool:
        """Whether to stop adding seeds: the interval is narrow enough, or the last planned look is reached."""
        if not half_width > 0:
            raise ValueError(f"half_width is {half_width}, expected a positive number in the metric's unit.")
        found = self.interval(values)
        return found.n == self.last or found.half_width <= half_width


@functools.lru_cache(maxsize=32)
def plan_looks(first: int, last: int, confidence: float = 0.95) -> Looks:
    """The looks at ``first`` to ``last`` seeds whose intervals all cover at once with ``confidence``.

    The simulation behind them is seeded; it takes about a second for 20 seeds. Raises ValueError unless
    2 <= first <= last <= 200.
    """
    from scipy.special import ndtr, stdtrit

    check_confidence(confidence)
    if not 2 <= first <= last <= MOST_SEEDS:
        raise ValueError(f"looks from {first} to {last} seeds: expected 2 <= min <= max <= {MOST_SEEDS}.")
    n = np.arange(first, last + 1)
    reach = (last / n) ** _SHAPE
    c = float(np.quantile(_null_maxima(first, last), confidence))
    return Looks(first, last, confidence, tuple((-stdtrit(n - 1, ndtr(-c * reach))).tolist()))


@functools.lru_cache(maxsize=8)
def _null_maxima(first: int, last: int) -> Vector:
    """Of each simulated null study, the largest c that one of its looks would have passed."""
    from scipy.special import ndtri, stdtr

    rng, n = np.random.default_rng(0), np.arange(first, last + 1)
    maxima, done = np.empty(_STUDIES), 0
    while done < _STUDIES:
        x = rng.standard_normal((min(10_000, _STUDIES - done), last))
        total, squares = x.cumsum(axis=1)[:, first - 1 :], (x * x).cumsum(axis=1)[:, first - 1 :]
        t = total / n / np.sqrt((squares - total**2 / n) / (n - 1) / n)
        z = -ndtri(stdtr(n - 1, -np.abs(t)))
        maxima[done : done + len(x)] = (z * (n / last) ** _SHAPE).max(axis=1)
        done += len(x)
    return maxima
