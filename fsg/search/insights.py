"""What a sweep has taught, from its ledger: which parameters matter, and from which configurations that is told.

Importance by PED-ANOVA (``search/importance.py``): how far the best configurations' values of a parameter lie from those of
all. Of a configuration it needs to know only whether it is among the best, so those that the scheduler stopped count too: as
none of them. One function gives the numbers, and table and picture both show them. They describe the trials that were run, in
the order of a search that leant towards good ones: a hint, no test. Proof: ``tests/search/test_insights.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fsg.search.importance import Cells, ped_anova
from fsg.search.outcomes import Outcome, Point
from fsg.study.spec import SweepSpec

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

    from fsg.study.search import Objective
    from fsg.study.spec import SearchMetricSpec

METHOD = "PED-ANOVA"
# Finished configurations that importances and contours need. In 200 random searches of three parameters, one of which rules, it
# was named first in 98 % with 16 of them, in 88 % with 12, in 82 % with 8, in 60 % with 4.
FEWEST = 16
_FEWEST_BEST = 8  # PED-ANOVA's "best": a tenth, Optuna's choice, are 2 of 20, which named it in 66 %; 8 in 98 %
_CELLS = 50  # of a range, as Optuna has it


@dataclass(frozen=True)
class Ended:
    """The configurations of a sweep that came to an end and did not fail, in the order of the search, by one measure.

    ``values``: the mean over seeds of each that finished, None of one that was stopped; ``numbers``: its place among all that
    ended, from 0.
    """

    measure: SearchMetricSpec | Objective
    points: tuple[Point, ...]
    values: tuple[float | None, ...]
    numbers: tuple[int, ...]

    @property
    def finished(self) -> list[tuple[Point, float]]:
        """Those that finished, each with its value."""
        return [(point, value) for point, value in zip(self.points, self.values, strict=True) if value is not None]

    @property
    def stopped(self) -> int:
        """How many were stopped."""
        return self.values.count(None)


def measures(spec: SweepSpec) -> tuple[SearchMetricSpec | Objective, ...]:
    """What a sweep searches for, each to be looked at by itself."""
    return (spec.metric, *spec.objectives)


def ended(outcomes: Mapping[str, Outcome], measure: SearchMetricSpec | Objective) -> Ended:
    """What ``outcomes`` say by one measure."""
    found, number = [], -1
    for outcome in outcomes.values():
        value = (outcome.metrics or {}).get(measure.name)
        if outcome.status == "open" or (outcome.status == "finished" and value is None):
            continue
        number += 1
        if outcome.status != "failed":
            found.append(
                (outcome.point, float(value) if outcome.status == "finished" and value is not None else None, number)
            )
    points, values, numbers = zip(*found, strict=True) if found else ((), (), ())
    return Ended(measure, points, values, numbers)


def importance(study: Ended, spec: SweepSpec) -> dict[str, dict[str, float]]:
    """By METHOD, the share of each path that every configuration has, the largest first; none where ``untold`` says why.

    The best are a quarter of all, at least 8, and all that are as good as the last of them.
    """
    if untold(study):
        return {}
    sign = -1.0 if study.measure.mode == "max" else 1.0
    losses = np.array([math.inf if value is None else sign * value for value in study.values])
    finished = len(losses) - study.stopped
    count = min(max(_FEWEST_BEST, len(losses) // 4), len(losses) // 2, finished)
    best = losses <= np.partition(losses, count - 1)[count - 1]
    paths = {path: domain for path, domain in spec.space.domains.items() if not domain.when}
    of = {path: cells(d.to_optuna(), [point[path] for point in study.points]) for path, d in paths.items()}
    shares = ped_anova(of, best)
    return {METHOD: shares} if shares and all(map(math.isfinite, shares.values())) else {}


def cells(distribution: BaseDistribution, values: Sequence[Any]) -> Cells:
    """Where values lie in the grid of their distribution: a cell for each category, for each of few steps, or 50 for a range."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(distribution, CategoricalDistribution):
        places = [int(distribution.to_internal_repr(value)) for value in values]
        return Cells(np.array(places, dtype=np.intp), len(distribution.choices), ordered=False)
    assert isinstance(distribution, FloatDistribution | IntDistribution)
    low, high, size = float(distribution.low), float(distribution.high), _CELLS
    if isinstance(distribution, IntDistribution) and distribution.log:
        size = min(int(np.ceil(np.log(high - low + 1) / np.log(2))) + 1, size)
    elif distribution.step is not None:
        size = min(round((high - low) / distribution.step) + 1, size)
    numbers = np.asarray(values, dtype=np.float64)
    if distribution.log:
        low, high, numbers = math.log(low), math.log(high), np.log(numbers)
    step = (high - low) / (size - 1)
    found = np.clip(np.ceil((numbers - low) / step - 0.5).astype(np.intp), 0, size - 1)
    return Cells(found, size, ordered=True)


def untold(study: Ended) -> str | None:
    """Why there are no importances and contours, as a sentence; None where there are."""
    values = [value for _, value in study.finished]
    if len(values) < FEWEST:
        return too_few(len(values))
    if len(set(values)) < 2:
        return "What mattered cannot be told: all configurations came to the same value."
    return None


def too_few(finished: int) -> str:
    """That so many finished configurations tell nothing of what mattered."""
    count = f"{finished} configuration{'s' * (finished != 1)} finished"
    return (
        f"What mattered, and contours, are told from {FEWEST} finished configurations on, for fewer mislead; {count}."
    )


def counted(study: Ended) -> str:
    """What the importances were told from."""
    of_stopped = f" and {study.stopped} that were stopped, as none of the best" if study.stopped else ""
    return f"{len(study.finished)} configurations that ran to their end{of_stopped}"
