"""The best configurations of a sweep: mean over seeds with its interval, every seed, and the Pareto front of its objectives.

A search sees means; the tables show all. Only finished trials are values: a stopped one's is of fewer epochs, so it is counted,
not ranked. Pure: a folded ledger in, frozen dataclasses out. Proof: ``tests/report/test_top.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fsg.config import canonical_json
from fsg.errors import StudyError
from fsg.record.versions import mixtures
from fsg.report.comparison import TEST_ACCURACY, Measure, MetricLike, Provenance, provenance
from fsg.report.notes import interruptions
from fsg.stats.leader import stands_out
from fsg.stats.paired import Interval, mean_interval
from fsg.stats.pareto import pareto_front

if TYPE_CHECKING:
    from fsg.record.ledger import StudyState, TrialRecord

STATUSES = ("finished", "pruned", "failed", "running", "paused", "planned")
Count = Callable[[Mapping[str, Any], str], float | None]  # (configuration, name) -> an objective that is no metric


@dataclass(frozen=True, slots=True)
class TopConfiguration:
    """One configuration: its place from 1, the key of its first seed's trial, and its final values by seed.

    ``objectives``: the mean of each further one; ``parameters``: those that differ between configurations, as they were in
    its last epochs; ``on_front``: nothing is as good in all objectives and better in one; ``best``: the first, where tests
    tell it as better than every other that ran as many seeds.
    """

    rank: int
    key: str
    values: Mapping[int, float]
    metric: Interval
    test_accuracy: float | None
    epochs: int
    objectives: Mapping[str, float]
    parameters: Mapping[str, Any]
    on_front: bool = False
    best: bool = False


@dataclass(frozen=True, slots=True)
class TopConfigurations:
    """``rows``: the best; ``front``: all of the Pareto front, none with one objective. ``varying``: paths that differ, and
    ``searched`` those of the space, none where it is not known.
    """

    measure: Measure
    objectives: tuple[Measure, ...]
    varying: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[TopConfiguration, ...]
    front: tuple[TopConfiguration, ...]
    ranked: tuple[TopConfiguration, ...]
    notes: tuple[str, ...]
    provenance: Provenance
    searched: tuple[str, ...] = ()


def top_configurations(
    state: StudyState,
    metric: MetricLike,
    k: int = 10,
    *,
    objectives: Sequence[MetricLike] = (),
    count: Count = lambda config, name: None,
    allowed: Callable[[Sequence[TrialRecord]], bool] = lambda finished: True,
    device: str = "device not recorded",
    searched: Sequence[str] = (),
) -> TopConfigurations:
    """The ``k`` best configurations by their mean over seeds; who has run fewer seeds than others comes after them.

    ``count`` gives an objective that follows from the configuration; what is not ``allowed``, by its finished trials, is
    counted and left out, for a constraint on a metric says that it is no answer. StudyError where the ledger holds no trial.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1.")
    measure, others = _measure(metric), tuple(map(_measure, objectives))
    records = list(state.trials.values())
    if not records:
        raise StudyError("This study's ledger holds no trial yet, so there is nothing to rank; run the study first.")
    flat = {record.key: flatten(record.last_config) for record in records}
    paths = sorted({path for config in flat.values() for path in config} - {"seed"})
    varying = tuple(path for path in paths if _differs([config.get(path) for config in flat.values()]))

    found, broken = [], 0
    for seeds in by_configuration(records):
        finished = {s: r for s, r in seeds.items() if not math.isnan(r.final_value(measure.name))}
        means = {o.name: _mean_objective(finished.values(), o.name, count) for o in others}
        if not finished or any(math.isnan(mean) for mean in means.values()):
            continue
        if not allowed(list(finished.values())):
            broken += 1
            continue
        first = finished[min(finished)]
        values = {seed: record.final_value(measure.name) for seed, record in sorted(finished.items())}
        tests = [record.final_value(TEST_ACCURACY) for record in finished.values()]
        test = None if any(map(math.isnan, tests)) else sum(tests) / len(tests)
        parameters = {path: flat[first.key].get(path) for path in varying}
        interval = mean_interval(list(values.values()))
        found.append(TopConfiguration(0, first.key, values, interval, test, len(first.epochs), means, parameters))

    most = max((len(row.values) for row in found), default=0)
    sign = 1 if measure.mode == "max" else -1
    found.sort(key=lambda row: (len(row.values) < most, -sign * row.metric.estimate))
    on_front = (
        pareto_front([_larger_is_better(row, measure, others) for row in found]) if others else [False] * len(found)
    )
    whole = {row.key: row.values for row in found if len(row.values) == most}
    best = bool(found) and stands_out(whole, found[0].key, measure.mode)
    rows = tuple(
        replace(row, rank=rank, on_front=on, best=best and rank == 1)
        for rank, (row, on) in enumerate(zip(found, on_front, strict=True), start=1)
    )
    all_seeds = tuple(sorted({seed for row in rows for seed in row.values}))
    front = tuple(row for row in rows if row.on_front)
    notes = tuple(_notes(records, rows, front, measure, others, most))
    notes += (f"{broken} finished configurations break a constraint and are left out.",) if broken else ()
    notes += interruptions(records) + mixtures(records)
    origin = provenance(state, (r for r in records if r.status == "finished"), device)
    return TopConfigurations(measure, others, varying, all_seeds, rows[:k], front, rows, notes, origin, tuple(searched))


def by_configuration(records: Iterable[TrialRecord]) -> list[dict[int, TrialRecord]]:
    """The trials of each configuration by seed, in the order they were planned."""
    found: dict[str, dict[int, TrialRecord]] = {}
    for record in records:
        found.setdefault(canonical_json(record.config | {"seed": 0}), {})[record.seed] = record
    return list(found.values())


def _differs(values: Sequence[Any]) -> bool:
    """Whether any reads differently from the first: 1 and 1.0 do."""
    first, said = values[0], repr(values[0])
    return any(value is not first and repr(value) != said for value in values)


def _mean_objective(records: Iterable[TrialRecord], name: str, count: Count) -> float:
    values = []
    for record in records:
        counted = count(record.last_config, name)
        values.append(record.final_value(name) if counted is None else counted)
    return sum(values) / len(values) if values else math.nan


def _larger_is_better(row: TopConfiguration, measure: Measure, others: Sequence[Measure]) -> list[float]:
    pairs = [(measure, row.metric.estimate), *((o, row.objectives[o.name]) for o in others)]
    return [value if m.mode == "max" else -value for m, value in pairs]


def _notes(
    records: Sequence[TrialRecord],
    rows: Sequence[TopConfiguration],
    front: Sequence[TopConfiguration],
    measure: Measure,
    others: Sequence[Measure],
    most: int,
) -> Iterable[str]:
    status = {s: sum(r.status == s for r in records) for s in STATUSES}
    said = ", ".join(f"{count} {s}" for s, count in status.items() if count)
    yield f"{len(records)} trials: {said}. Ranked by final {measure.label}, {measure.mode}, among the finished."
    if most > 1:
        fewer = sum(len(row.values) < most for row in rows)
        yield (
            f"Means over {most} seeds; ± is the half-width of the 95% t interval. The search saw the mean; every seed is "
            "in the next table."
        )
        yield (
            "Bold (★): better than every other of as many seeds at 0.05 after Holm's correction over them (paired t)"
            + ("." if any(row.best for row in rows) else "; here none is.")
        )
        if fewer:
            yield f"{fewer} configurations ran fewer seeds, because the rest could not save them, and stand last."
    if others:
        names = ", ".join(f"{m.name} ({m.mode})" for m in (measure, *others))
        yield f"▲ on the Pareto front of {names}: {len(front)} of {len(rows)} configurations."
    if rows:
        yield (
            "The best of many is flattered by chance: run the winner again on fresh seeds before believing its value."
        )


def _measure(metric: MetricLike) -> Measure:
    return Measure(metric.name, metric.mode, metric.unit)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as ``{"a.b": value}``."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, dict):
            flat.update(flatten(value, path + "."))
        else:
            flat[path] = value
    return flat
