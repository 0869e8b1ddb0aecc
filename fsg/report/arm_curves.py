"""The learning curve of each arm over its finished seeds: its mean with a band, or its paired difference to another arm's.

Proof: ``tests/report/test_charts.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from fsg.errors import StudyError
from fsg.nearest import did_you_mean
from fsg.record.ledger import finite
from fsg.stats.curves import Band, band

if TYPE_CHECKING:
    from fsg.record.ledger import StudyState, TrialRecord

Curve = list[float]


def metric_names(records: Iterable[TrialRecord]) -> list[str]:
    """The metrics that any of the trials reports, in the order in which they came."""
    reported = (report for record in records for report in (*record.epochs, record.final or {}))
    return [name for name in dict.fromkeys(name for report in reported for name in report) if name != "epoch"]


def require_metric(state: StudyState, metric: str) -> None:
    """StudyError, with those that there are, where no trial reports ``metric``."""
    names = metric_names(state.trials.values())
    if metric not in names:
        raise StudyError(f'no trial reports "{metric}".{did_you_mean(metric, names)} Metrics: {", ".join(names)}.')


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
