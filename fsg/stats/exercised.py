"""Whether a component acted in the trials that had it: by how much of the direction it changed, over seeds.

Values are relative changes, one a seed, each the mean over the looks of its training (``fsg/train/influence.py``). They are
compared on a log scale, on which their spread over seeds is even: not exercised where a one-sided t test puts their geometric
mean below LEAST, exercised where one puts it at LEAST or above, and open in between. So a component that changes the direction by
LEAST or more is called idle in at most one study in 20 at 0.95 (counted in ``tests/stats/test_exercised.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fsg.stats.paired import check_confidence, mean_interval, vector

LEAST = 0.01  # relative change of the direction below which nothing that follows can be put down to the component
SINGLE_SEED = 4.0  # the factor that stands for the spread which one seed does not show
_ROUNDING = 1e-9  # changes below it are float32's rounding, or none


@dataclass(frozen=True, slots=True)
class Exercise:
    """``change``: geometric mean over ``n`` seeds, between ``low`` and ``high``. ``acted``: None where they do not tell."""

    change: float
    low: float
    high: float
    n: int
    acted: bool | None


def exercise(changes: Sequence[float], least: float = LEAST, confidence: float = 0.95) -> Exercise:
    """Judge the relative changes of the direction of each seed, (n,), 0 or above; ValueError for others, and for none.

    ``low`` and ``high`` are the ends of two one-sided intervals at ``confidence``. With one seed both are SINGLE_SEED away.
    """
    array, confidence = vector(changes, "changes of the direction"), check_confidence(confidence)
    if (array < 0).any() or not array.size:
        raise ValueError(f"changes of the direction: {array.tolist()}, expected at least one, none below 0.")
    logs = np.log(array + _ROUNDING)
    interval = mean_interval(logs, 2 * confidence - 1)
    half = math.log(SINGLE_SEED) if array.size == 1 else interval.half_width
    low, middle, high = (max(0.0, math.exp(interval.estimate + h) - _ROUNDING) for h in (-half, 0.0, half))
    acted = True if low >= least else False if high < least else None
    return Exercise(middle, low, high, array.size, acted)
