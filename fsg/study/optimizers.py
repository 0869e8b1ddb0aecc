"""The optimizers that a study names, and those of them by which nothing can train: found as its file is read, without torch.

A study that has begun is not asked: what it has is read whatever it is. Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.optimizer_names import unfit
from fsg.parts import has_part
from fsg.study.search import constraints_of, drawn
from fsg.study.space import Space, trial_at
from fsg.yaml_source import Location, places

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

DRAWN = 64  # points of a space that are looked at
# The paths that decide which optimizers a trial has.
_NAMING = ("optimizer", "optimizer.name", "optimizer.float", "optimizer.float.name")


def unfit_optimizers(spec: AblationSpec | SweepSpec) -> Iterator[tuple[Location, str]]:
    """(place, reason) of each optimizer that no trial can have, whatever else it has."""
    for config, space in searched(spec):
        for trial in [config] if space is None else with_each_optimizer(config, space):
            for where, name in named_by(trial):
                if problem := unfit(name, where):
                    yield place_of(spec, name), problem


def named_by(trial: TrialConfig) -> list[tuple[str, str]]:
    """(section, name) of each optimizer that a trial names."""
    own, rest = trial.optimizer, trial.optimizer.float
    return [("optimizer", own.name), *([("optimizer.float", rest.name)] if rest is not None else [])]


def searched(spec: AblationSpec | SweepSpec) -> Iterator[tuple[TrialConfig, Space | None]]:
    """Each trial that the study is made of, and the space that is searched around it; None where it runs as it is."""
    if spec.kind == "sweep":
        yield spec.base, spec.space
        return
    for arm, config in spec.plan.arms.items():
        yield config, spec.retune.space_of(arm) if spec.retune is not None else None


def with_each_optimizer(base: TrialConfig, space: Space) -> Iterator[TrialConfig]:
    """``base`` with each optimizer that the space can give it, everything else of the space left out."""
    for settings in space.corners(_NAMING):
        with suppress(ConfigError):  # a combination that no point has: the space was checked
            yield trial_at(base, {path: value for path, value in settings.items() if path in _NAMING})


def place_of(spec: AblationSpec | SweepSpec, name: str) -> Location:
    """Where in its file a study names this optimizer first."""
    here = (
        place
        for place, value in places(spec.source.data if spec.source else {})
        if str(value) == name and any("optimizer" in str(part) for part in place)
    )
    return next(here, ("base", "optimizer"))


def check_optimizers(spec: AblationSpec | SweepSpec) -> None:
    """ConfigError, with file and line, for an optimizer that cannot train the study's trials; what is to be known of the others
    is said. Torch is loaded only for those that no part is registered for.
    """
    for base, space in searched(spec):
        if space is None:
            _check_optimizer(spec, base)
            continue
        each = list(with_each_optimizer(base, space))
        if all(has_part("optimizer", name) for config in each for _, name in named_by(config)):
            continue
        for config in each:
            _check_optimizer(spec, config, alone=True)
        constraints = constraints_of(spec)[0] if spec.kind == "sweep" else ()
        for config in itertools.islice(drawn(space, base, constraints), DRAWN):
            _check_optimizer(spec, config, space.paths)


def _check_optimizer(
    spec: AblationSpec | SweepSpec, config: TrialConfig, paths: Collection[str] = (), alone: bool = False
) -> None:
    """``alone``: whether it can train any trial, whatever else this one has. ``paths``: those that are searched."""
    strange = [name for _, name in named_by(config) if not has_part("optimizer", name)]
    if not strange:
        return
    from fsg.train.optimizers import check, facts_for

    try:
        facts_for(config) if alone else check(config, paths)
    except ConfigError as error:
        named = next((name for name in strange if f'"{name}"' in str(error)), strange[0])
        raise spec.refuse(place_of(spec, named), str(error)) from None
