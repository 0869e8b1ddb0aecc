"""Metrics that a study asks for and some of its trials cannot report: found before the first of them runs.

Proof: ``tests/study/test_reporting.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from fsg.config import TrialConfig
from fsg.metrics import epoch_metrics, unreported
from fsg.study.search import constraints_of, feasible
from fsg.study.space import Space
from fsg.yaml_source import Location

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec


def unreported_metrics(spec: AblationSpec | SweepSpec) -> Iterator[tuple[Location, str]]:
    """(place, reason) for each metric that is asked of a trial which cannot report it."""
    if spec.kind == "ablation":
        arms = spec.plan.arms
        yield from _missing(("metric", "name"), spec.metric.name, ((f'arm "{a}"', c) for a, c in arms.items()))
        if spec.retune is not None and spec.metric.name in epoch_metrics():
            for arm, config in arms.items():
                space = spec.retune.space_of(arm)
                points = ((f'{who} of arm "{arm}"', trial) for who, trial in _points(space, config)) if space else ()
                yield from _missing(("metric", "name"), spec.metric.name, points)
        return
    alone, measured = constraints_of(spec)
    trials = [(who, config) for who, config in _points(spec.space, spec.base) if feasible(alone, config)]
    yield from _missing(("metric", "name"), spec.metric.name, trials)
    for index, objective in enumerate(spec.objectives):
        yield from _missing(("objectives", index, "name"), objective.name, trials)
    for constraint in measured:
        for name in constraint.names:
            whys = [unreported(config).get(name) for _, config in trials]
            if trials and all(whys):  # where some trials report it, it says nothing of the others
                place = ("constraints", spec.constraints.index(constraint.text))
                yield place, f'"{constraint.text}" names {name}, which no trial can report: {whys[0]}.'


def _missing(place: Location, metric: str, trials: Iterable[tuple[str, TrialConfig]]) -> Iterator[tuple[Location, str]]:
    """The first of these trials that cannot report the metric."""
    for who, config in trials:
        if why := unreported(config).get(metric):
            section = ".".join(str(part) for part in place if isinstance(part, str))
            yield (
                place,
                f'"{section}" is {metric}, which {who} cannot report: {why}. Ask for another metric, or leave that out.',
            )
            return


def _points(space: Space, base: TrialConfig) -> Iterator[tuple[str, TrialConfig]]:
    """Trials with whatever value a path of the space can have."""
    for path, value, config in space.with_each(base):
        yield f"a trial with {path} = {value}", config
