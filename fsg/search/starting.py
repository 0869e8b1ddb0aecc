"""The points a sweep tries first: named ones, and the best of earlier studies, looked up when the sweep begins."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from fsg.config import TrialConfig, canonical_json
from fsg.errors import ConfigError, StudyError
from fsg.files import write_atomically
from fsg.record.folder import StudyFolder, find_study
from fsg.study.search import StartError, StartPoint, constraints_of, feasible, start_point
from fsg.study.spec import SweepSpec

DEFAULT_BEST = 1


def start_points(spec: SweepSpec, folder: StudyFolder) -> list[tuple[str, dict[str, Any]]]:
    """(label, point) of all that ``start_from`` names, in order. Resolved once: a restart reads what was found then.

    StudyError for a study that is not there, or of which no trial lies in this space.
    """
    memory = folder.search / "start_points.json"
    if memory.exists():
        return [(label, point) for label, point in json.loads(memory.read_bytes())]
    found: list[tuple[str, dict[str, Any]]] = []
    for index, start in enumerate(spec.start_from):
        if start.study is None:
            found.append((start.label, start_point(spec, start)))
            continue
        try:
            found += earlier_best(spec, start, folder.path.parent)
        except StudyError as error:
            raise StudyError(str(spec.refuse(("start_from", index), str(error)))) from None
    if spec.start_from:
        write_atomically(memory, json.dumps(found).encode())
    return found


def earlier_best(spec: SweepSpec, start: StartPoint, storage: Path) -> list[tuple[str, dict[str, Any]]]:
    """The best configurations of an earlier study that are points of this space, by this sweep's metric over their seeds.

    What such a trial has and this space does not search is left behind; what it lacks is the base's.
    """
    assert start.study is not None
    wanted = start.best or DEFAULT_BEST
    state = find_study(start.study, storage).state()
    values: dict[str, list[float]] = defaultdict(list)
    configs: dict[str, dict[str, Any]] = {}
    for record in state.trials.values():
        if not math.isnan(value := record.final_value(spec.metric.name)):
            name = canonical_json(record.config | {"seed": 0})
            values[name].append(value)
            configs[name] = record.last_config
    ranked = sorted(values, key=lambda name: mean(values[name]), reverse=spec.metric.mode == "max")
    points = list(dict.fromkeys(_usable(spec, [configs[name] for name in ranked])))[:wanted]
    if not points:
        had = f"none of its {len(ranked)} finished configurations lies in this space" if ranked else "no trial finished"
        raise StudyError(f'start_from: study "{start.study}" gives no start point: {had}.')
    return [(f"{start.study}, best {n}", json.loads(point)) for n, point in enumerate(points, start=1)]


def _usable(spec: SweepSpec, configs: list[dict[str, Any]]) -> Iterator[str]:
    """The feasible points of this space among them, as JSON."""
    alone, _ = constraints_of(spec)
    for config in configs:
        try:
            point = start_point(spec, StartPoint(name="earlier", point=_inside(spec, config)))
            trial: TrialConfig = spec.space.resolve(spec.base, point)
        except (StartError, ConfigError):
            continue
        if feasible(alone, trial):
            yield json.dumps(point)


def _inside(spec: SweepSpec, config: dict[str, Any]) -> dict[str, Any]:
    """The values of the searched paths; StartError where one that the trial has is outside its domain."""
    for path, value in spec.space.outside(config).items():
        raise StartError(path, f'"{path}" is {value!r}, outside its domain.')
    return spec.space.point_of(config)
