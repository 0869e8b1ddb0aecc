"""Adding paired seeds with an error rate that accounts for every look: as many looks as were planned, or any number.

Stopping at the first 95 % t interval that is narrow, with looks at 3 to 20 seeds, covers as little as 90 %; stopping at
the first that excludes zero is worse. Here the intervals of all looks cover *together* (repeated confidence intervals,
Jennison & Turnbull 1989), so one may stop for any reason: width, a clear result, or impatience.

Letters: looks at n = first .. last seeds, one by one; z_n = c (last / n)^(1/4) is the edge at n (Wang & Tsiatis 1987,
midway between O'Brien-Fleming and Pocock: early looks are strict, the last costs little), turned into the edge of t
with n - 1 degrees of freedom that has the same tail. c is a quantile over simulated null studies, so it holds for t:
spending alpha as if t were z lets 5.4 to 5.9 % through.

Where nobody said how far seeds would go, ``AnyLook`` covers at every n at once (Wang & Ramdas 2023, arXiv:2310.03722): wider at
the looks of a plan, but it needs none. Proof: ``tests/stats/test_sequential.py``, ``benchmarks/calibration.py``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike

from fsg.stats.paired import Interval, Vector, check_confidence, vector

MOST_SEEDS = 200
EFFECT_VARIANCE = 9.0  # of ``AnyLook``: effects of a few standard deviations are the ones that a few seeds can show
_STUDIES = 100_000  # the standard error of a 5 % rate is then 0.07 %
_SHAPE = 0.25


class LookRule(Protocol):
    """Intervals and p values of paired differences that hold at every look together. ``last``: no seed beyond it counts."""

    @property
    def first(self) -> int: ...  # noqa: D102
    @property
    def last(self) -> int | None: ...  # noqa: D102

    def interval(self, values: ArrayLike) -> Interval:
        """The interval of the mean at this look, for values of shape (n,)."""
        ...

    def p(self, values: ArrayLike) -> float:
        """The two-sided p of a mean of zero at this look: that any look has one of at most alpha, has a chance of alpha."""
        ...

    def edge(self, n: ArrayLike, alpha: float) -> Vector:
        """The |t| that a look at each of ``n`` seeds, shape (k,), must pass for its p to be at most ``alpha``."""
        ...


@dataclass(frozen=True, slots=True)
class Looks:
    """The edges of t for looks at ``first``, ``first + 1``, ... ``last`` seeds. ``edges[i]`` belongs to first + i."""

    first: int
    last: int
    confidence: float
    edges: tuple[float, ...]

    def p(self, values: ArrayLike) -> float:
        """The two-sided p of a mean of zero: the share of null studies that go as far at one of their looks.

        ``values``: as ``interval`` has them, not all equal. It is a multiple of 1 / 100,001.
        """
        from scipy.special import ndtri, stdtr

        found = self.interval(values)
        t = abs(_t(np.asarray(values, dtype=np.float64)))
        reached = -ndtri(stdtr(found.n - 1, -t)) * (found.n / self.last) ** _SHAPE
        maxima = _null_maxima(self.first, self.last)
        return float((1 + np.count_nonzero(maxima >= reached)) / (1 + maxima.size))

    def edge(self, n: ArrayLike, alpha: float) -> Vector:
        """The edges of another error rate, shape (k,), for looks at ``n`` seeds, first <= n <= last."""
        edges = np.array(plan_looks(self.first, self.last, 1 - alpha).edges)
        found: Vector = edges[np.asarray(n) - self.first]
        return found

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


@dataclass(frozen=True, slots=True)
class AnyLook:
    """Looks at any number of paired differences from 2 on, without a plan and without an end.

    Letters: t = sqrt(n) mean / s with m = n - 1 degrees of freedom, g = EFFECT_VARIANCE. Against a mean of zero stands the
    effect N(0, g) in standard deviations, and with every scale alike the likelihoods' ratio is

        e_n = (1 + n g)^(-1/2) ((1 + t^2 / m) / (1 + t^2 / (m (1 + n g))))^(n / 2),

    under a true null a martingale that starts at 1: it reaches 1 / alpha with a chance of at most alpha, ever (Ville 1939;
    Lai 1976; Wang & Ramdas 2023). So p = 1 / e_n, and the interval holds the means that are not refused. With too few seeds
    for the confidence there is none: its ends are NaN (2 seeds at 0.95).
    """

    confidence: float = 0.95
    first: int = 2
    last: None = None

    def interval(self, values: ArrayLike) -> Interval:
        """The interval of the mean at this look. ``values``: (n,) finite paired differences, n >= 2."""
        d = vector(values, "paired differences", least=2)
        edge, mean = float(self.edge(d.size, 1 - self.confidence)), float(d.mean())
        half = edge * float(d.std(ddof=1)) / math.sqrt(d.size) if math.isfinite(edge) else math.nan
        return Interval(mean, mean - half, mean + half, d.size, self.confidence, "t at any look")

    def p(self, values: ArrayLike) -> float:
        """The two-sided p of a mean of zero, at most 1. ``values``: (n,) finite, n >= 2, not all equal."""
        d = vector(values, "paired differences", least=2)
        n, squared, widened = d.size, _t(d) ** 2, 1 + d.size * EFFECT_VARIANCE
        log_e = (
            n / 2 * (math.log1p(squared / (n - 1)) - math.log1p(squared / (n - 1) / widened)) - math.log(widened) / 2
        )
        return math.exp(-max(0.0, log_e))

    def edge(self, n: ArrayLike, alpha: float) -> Vector:
        """The |t| at which e_n is 1 / ``alpha``, shape (k,), for ``n`` seeds, n >= 2; infinite where no t is enough."""
        n = np.asarray(n, dtype=np.float64)
        widened = 1 + n * EFFECT_VARIANCE
        ratio = np.exp(2 / n * (np.log(widened) / 2 - math.log(check_confidence(alpha))))
        with np.errstate(divide="ignore"):
            squared = (ratio - 1) * (n - 1) / np.maximum(0.0, 1 - ratio / widened)
        found: Vector = np.sqrt(squared)
        return found


def _t(d: Vector) -> float:
    return float(d.mean() / d.std(ddof=1)) * math.sqrt(d.size)


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
