"""One arm against another on the same seeds: the mean difference, its interval, and what a test can say about it.

Letters: d_i = treatment_i - control_i for seed i, n seeds, s the standard deviation of d (n - 1 in the denominator).
Proof: ``tests/stats/test_paired.py``; coverage by simulation: ``benchmarks/calibration.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval, in the values' unit. The ends are NaN where n is too small for one."""

    estimate: float
    low: float
    high: float
    n: int
    confidence: float
    kind: str = "t"

    @property
    def half_width(self) -> float:
        """Half of the interval's length; NaN where there is none."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval lies on one side of zero; False where there is none."""
        return self.low > 0 or self.high < 0


def vector(values: ArrayLike, what: str = "values", least: int = 1) -> Vector:
    """``values`` as finite float64 of shape (n,); ValueError for another shape, NaN, infinity, or n < ``least``."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"{what}: has shape {array.shape}, expected one axis of seeds.")
    if not np.isfinite(array).all():
        bad = np.flatnonzero(~np.isfinite(array)).tolist()
        raise ValueError(f"{what}: not finite at positions {bad}; leave missing seeds out before comparing.")
    if array.size < least:
        raise ValueError(f"{what}: has {array.size} seeds, needs at least {least}.")
    return array


def check_confidence(confidence: float) -> float:
    """``confidence`` itself; ValueError unless it lies strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}, expected a number between 0 and 1, such as 0.95.")
    return confidence


def differences(treatment: ArrayLike, control: ArrayLike) -> Vector:
    """treatment - control, seed by seed, shape (n,). ValueError where the two do not pair or are not finite."""
    a, b = vector(treatment, "treatment"), vector(control, "control")
    if a.shape != b.shape:
        raise ValueError(f"treatment has {a.size} seeds and control {b.size}; pairs need the same seeds in both.")
    return a - b


def matched(treatment: Mapping[int, float], control: Mapping[int, float]) -> tuple[tuple[int, ...], Vector, Vector]:
    """The seeds both have, ascending, and the two values of each: (seeds, treatment (n,), control (n,)). n may be 0."""
    seeds = tuple(sorted(treatment.keys() & control.keys()))
    return seeds, np.array([treatment[s] for s in seeds], float), np.array([control[s] for s in seeds], float)


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t interval of a mean.

    ``values``: shape (n,), finite, n >= 1. With n = 1 the ends are NaN: one value has no spread. Values that are all
    equal give an interval of width zero, which says that the sample has no spread, not that the truth is known.
    """
    array, confidence = vector(values), check_confidence(confidence)
    mean = float(array.mean())
    if array.size < 2:
        return Interval(mean, math.nan, math.nan, array.size, confidence)
    from scipy.special import stdtrit  # Student's t quantile; scipy.stats costs 0.5 s to import

    half = float(stdtrit(array.size - 1, (1 + confidence) / 2)) * float(array.std(ddof=1)) / math.sqrt(array.size)
    return Interval(mean, mean - half, mean + half, array.size, confidence)


def paired_interval(treatment: ArrayLike, control: ArrayLike, confidence: float = 0.95) -> Interval:
    """t interval of the mean of treatment - control over the same seeds, both of shape (n,)."""
    return mean_interval(differences(treatment, control), confidence)
