"""Learning curves: their band over seeds, their area, and the epochs they need to reach a target.

Letters: n seeds, E epochs; a set of curves has shape (n, E), column e - 1 holding epoch e.
Proof: ``tests/stats/test_curves.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsg.stats.paired import Interval, Vector, check_confidence, paired_interval

Curves = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Band:
    """Mean and pointwise interval per epoch, each of shape (E,). NaN ends where an epoch has fewer than two seeds."""

    mean: Vector
    low: Vector
    high: Vector
    n: NDArray[np.int64]
    confidence: float


@dataclass(frozen=True, slots=True)
class Reached:
    """Epochs to a target over seeds. ``median`` is infinite where half of the seeds or more never get there."""

    median: float
    reached: int
    n: int


def band(curves: ArrayLike, confidence: float = 0.95) -> Band:
    """The mean curve with its t interval at each epoch alone: it covers an epoch, not the whole curve at once.

    ``curves``: (n, E); NaN is an epoch not recorded and is left out, ``n`` says how many seeds remain at each epoch.
    """
    from scipy.special import stdtrit

    y, confidence = _curves(curves, "curves"), check_confidence(confidence)
    there = np.isfinite(y)
    n = there.sum(axis=0)
    filled = np.where(there, y, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, filled.sum(axis=0) / n, np.nan)
        spread = np.sqrt((np.where(there, y - mean, 0.0) ** 2).sum(axis=0) / (n - 1))
        half = np.where(n > 1, stdtrit(np.maximum(n - 1, 1), (1 + confidence) / 2) * spread / np.sqrt(n), np.nan)
    return Band(mean, mean - half, mean + half, n, confidence)


def area(curves: ArrayLike) -> Vector:
    """Area under each curve by the trapezoid rule, over the E - 1 epochs it spans: (n,), in the curves' own unit.

    It is the mean height of the curve, so that 0.5 more area is 0.5 points better on average over training.
    """
    y = _curves(curves, "curves", finite=True)
    if y.shape[1] == 1:
        return y[:, 0]
    found: Vector = (y[:, 1:] + y[:, :-1]).sum(axis=1) / (2 * (y.shape[1] - 1))
    return found


def area_difference(treatment: ArrayLike, control: ArrayLike, confidence: float = 0.95) -> Interval:
    """t interval of the paired difference in area: treatment (n, E) less control (n, E), row by row the same seed."""
    a, b = _curves(treatment, "treatment", finite=True), _curves(control, "control", finite=True)
    if a.shape != b.shape:
        raise ValueError(
            f"treatment has shape {a.shape} and control {b.shape}; areas pair over the same seeds and epochs."
        )
    return paired_interval(area(a), area(b), confidence)


def epochs_to_target(curves: ArrayLike, target: ArrayLike, mode: Literal["max", "min"]) -> Vector:
    """The first epoch, from 1, at which each curve is at least (``max``) or at most (``min``) the target, or infinity.

    ``curves``: (n, E), NaN never reaches anything. ``target``: one number, or one per seed (n,).
    """
    y = _curves(curves, "curves")
    goal = np.broadcast_to(np.asarray(target, dtype=np.float64), y.shape[:1])
    if not np.isfinite(goal).all():
        raise ValueError("target: not finite, so it cannot be reached or missed.")
    if mode not in ("max", "min"):
        raise ValueError(f'mode is "{mode}", expected "max" or "min".')
    there = y >= goal[:, None] if mode == "max" else y <= goal[:, None]
    return np.where(there.any(axis=1), there.argmax(axis=1) + 1.0, math.inf)


def summarise_reached(epochs: ArrayLike) -> Reached:
    """Median over seeds, one that never gets there counting as later than any epoch: a mean does not exist then."""
    found = np.asarray(epochs, dtype=np.float64)
    if found.ndim != 1 or found.size == 0 or np.isnan(found).any():
        raise ValueError(f"epochs: has shape {found.shape}, expected (seeds,) without NaN; infinity says never.")
    ordered = np.sort(found)
    middle = (ordered[(found.size - 1) // 2] + ordered[found.size // 2]) / 2
    return Reached(float(middle), int(np.isfinite(found).sum()), found.size)


def _curves(curves: ArrayLike, what: str, finite: bool = False) -> Curves:
    y = np.asarray(curves, dtype=np.float64)
    if y.ndim != 2 or 0 in y.shape:
        raise ValueError(f"{what}: has shape {y.shape}, expected (seeds, epochs), neither of them 0.")
    if finite and not np.isfinite(y).all():
        bad = sorted({int(i) for i in np.argwhere(~np.isfinite(y))[:, 0]})
        raise ValueError(f"{what}: not finite for seeds at rows {bad}; an area needs every epoch.")
    return y
