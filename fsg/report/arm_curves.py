"""The learning curve of each arm over its finished seeds: its mean with a band, or its paired difference to another arm's.

Proof: ``tests/report/test_charts.py``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fsg.record.ledger import finite
from fsg.stats.curves import Band, band

if TYPE_CHECKING:
    from fsg.record.ledger import StudyState

Curve = list[float]


def seed_curves(state: StudyState, arm: str, metric: str) -> dict[int, Curve]:
    """By seed, ``metric`` at each recorded epoch of the arm's finished trials; NaN where it is no finite number."""
    return {
        record.seed: [finite(value) for value in record.curve(metric)]
        for record in state.trials.values()
        if record.arm == arm and record.status == "finished" and record.epochs
    }


def arm_band(curves: dict[int, Curve], confidence: float) -> Band | None:
    """Mean over seeds with its pointwise t interval; None where no seed has a value."""
    longest = max(map(len, curves.values()), default=0)
    if not longest or all(math.isnan(value) for curve in curves.values() for value in curve):
        return None
    return band([curve + [math.nan] * (longest - len(curve)) for curve in curves.values()], confidence)


def paired(curves: dict[int, Curve], others: dict[int, Curve]) -> dict[int, Curve]:
    """The difference at each epoch that both have, of each seed that both finished."""
    return {
        seed: [a - b for a, b in zip(curves[seed], others[seed], strict=False)]
        for seed in curves.keys() & others.keys()
    }
