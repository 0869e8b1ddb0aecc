"""The optimizers that a study names, and those of them by which nothing can train: found as its file is read, without torch.

A study that has begun is not asked: what it has is read whatever it is. Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.optimizer_names import unfit
from fsg.study.design import arms_of
from fsg.study.space import Space, trial_at
from fsg.yaml_source import Location

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

_NAMING = ("optimizer", "optimizer.name")  # the paths that decide which optimizer a trial has


def unfit_optimizers(spec: AblationSpec | SweepSpec) -> Iterator[tuple[Location, str]]:
    """(place, reason) of each optimizer that no trial can have, whatever else it has."""
    for config, space in searched(spec):
        for trial in [config] if space is None else with_each_optimizer(config, space):
            if problem := unfit(trial.optimizer.name):
                yield place_of(spec, trial.optimizer.name), problem


def searched(spec: AblationSpec | SweepSpec) -> Iterator[tuple[TrialConfig, Space | None]]:
    """Each trial that the study is made of, and the space that is searched around it; None where it runs as it is."""
    if spec.kind == "sweep":
        yield spec.base, spec.space
        return
    for arm, config in arms_of(spec).items():
        yield config, spec.retune.space_of(arm) if spec.retune is not None else None


def with_each_optimizer(base: TrialConfig, space: Space) -> Iterator[TrialConfig]:
    """``base`` with each optimizer that the space can give it, everything else of the space left out."""
    for settings in space.corners(_NAMING):
        with suppress(ConfigError):  # a combination that no point has: the space was checked
            yield trial_at(base, {path: value for path, value in settings.items() if path in _NAMING})


def place_of(spec: AblationSpec | SweepSpec, name: str) -> Location:
    """Where in its file a study names this optimizer first."""

    def places(value: object, place: Location) -> Iterator[Location]:
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from places(inner, (*place, key))
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                yield from places(inner, (*place, index))
        elif str(value) == name and any("optimizer" in str(part) for part in place):
            yield place

    return next(places(spec.source.data if spec.source else {}, ()), ("base", "optimizer"))
