"""Linear decay refined by the gradient norms of an earlier run of the same training.

    eta_t  ~  w_t (w_{t+1} + ... + w_T) / (w_1 + ... + w_T),    w_t = 1 / G_t^2 (l2 norms, SGD) or 1 / G_t (l1 norms, Adam)

G_t the norms smoothed by a median, eta scaled to a largest of 1. Equal norms give 1 - t / T. Defazio, Cutkosky, Mehta and
Mishchenko, "Optimal Linear Decay Learning Rate Schedules and Further Refinements" (arXiv:2310.07831); weights, filter and padding
as in the authors' ``adaptive_scheduling``. There t is a step, here an epoch: a rate is constant within one, so the last epoch,
whose factor would be 0, has that of the steps in its middle. A run of another length is read at the same share of training.
Proof: ``tests/train/test_refined.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from fsg.errors import ConfigError

STEPS = 20  # points of each epoch at which the sums are taken, so that an epoch's factor is a mean over it


def refined(config: Any, done: int, epochs: int) -> float:
    """The factor of the epoch after ``done`` of ``epochs``. ConfigError for a section without norms."""
    if not config.norms:
        raise ConfigError(
            f"schedule refined from {getattr(config, 'from')} has no norms yet: they are read when a study begins. Run it by "
            "fsg ablate or fsg sweep, or give schedule.norms, one number for each epoch."
        )
    return factors(config.norms, config.norm, config.smoothing, epochs)[done]


@cache
def factors(norms: Sequence[float], norm: str, smoothing: float, epochs: int) -> tuple[float, ...]:
    """One factor for each epoch, the largest 1."""
    points = epochs * STEPS
    places = (np.arange(points) + 0.5) / points * len(norms) - 0.5  # in epochs of the run that is read
    smooth = smoothed(np.interp(places, np.arange(len(norms)), np.array(norms, dtype=float)), smoothing)
    raw = rates(smooth, norm).reshape(epochs, STEPS).mean(1)
    return tuple((raw / raw.max()).tolist())


def rates(norms: np.ndarray, norm: str) -> np.ndarray:
    """eta_t of each norm G_t, (T,), not scaled."""
    weights = norms ** (-2.0 if norm == "l2" else -1.0)
    after = np.append(np.cumsum(weights[::-1])[::-1][1:], 0.0)
    found: np.ndarray = weights * after / weights.sum()
    return found


def smoothed(norms: np.ndarray, share: float) -> np.ndarray:
    """The median over ``share`` of the norms, (T,): before the first the first counts on, behind the last they come back."""
    width = 2 * (int(share * len(norms)) // 2) + 1
    behind = min(2 * width, len(norms) - 1)
    padded = np.pad(norms, (0, behind), mode="reflect")
    from scipy.ndimage import median_filter  # which checking a study does not need

    found: np.ndarray = median_filter(padded, size=width, mode="nearest")[: len(norms)]
    return found
