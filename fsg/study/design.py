"""From a specification to its trials: which arms, and one trial for each arm and seed.

A design says which overrides of the base make an arm; explicit arms and baselines stand beside it. An arm must be a
valid trial, and no two arms the same one. Proof: ``tests/study/test_design.py``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field

from fsg.config import Fsg, Section, TrialConfig, digest, merge, parse_trial
from fsg.yaml_source import Location, did_you_mean

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

FULL = "full"
SWEEP_ARM = "sweep"
ESTIMATORS: tuple[str, ...] = tuple(
    name
    for kind in get_args(TrialConfig.model_fields["gradient"].annotation)
    for name in get_args(kind.model_fields["name"].annotation)
)
_ARM_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def as_tuple(value: Any) -> Any:
    """A YAML list as the tuple that a frozen model holds."""
    return tuple(value) if isinstance(value, list) else value


class FullFactorial(Section):
    """Every combination of the gradient estimator's ``switches``: 2^n arms, from ``full`` to ``no_<all of them>``."""

    kind: Literal["full_factorial"]
    switches: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(as_tuple)]

    def overrides(self) -> dict[str, dict[str, Any]]:
        """Arm name -> what it changes in the base."""
        arms = {}
        for values in itertools.product((True, False), repeat=len(self.switches)):
            switches = dict(zip(self.switches, values, strict=True))
            off = [name for name, on in switches.items() if not on]
            arms["_".join(["no", *off]) if off else FULL] = {"gradient": switches}
        return arms


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """One trial to run. ``key`` is the same after a restart, on another machine and in MLflow."""

    key: str
    arm: str
    seed: int
    config: TrialConfig


@dataclass(frozen=True, slots=True)
class _Arm:
    """An arm before it is checked: its overrides, where they are written, and the estimator it is named by."""

    name: str
    overrides: Mapping[str, Any]
    place: Location
    estimator: str | None = None


def trial_key(study: str, arm: str, seed: int, config: TrialConfig) -> str:
    """12 hexadecimal digits that stand for this trial: of the study's name, arm, seed and configuration less device."""
    return digest({"study": study, "arm": arm, "seed": seed, "config": config.identity()})


def plan(spec: AblationSpec) -> list[PlannedTrial]:
    """The trials of an ablation, all arms of a seed before the next seed: what is interrupted still has whole pairs."""
    arms = arms_of(spec)
    return [planned(spec.name, arm, seed, config) for seed in spec.seeds for arm, config in arms.items()]


def planned(study: str, arm: str, seed: int, config: TrialConfig) -> PlannedTrial:
    """The trial of ``arm`` with ``seed``, whatever seed ``config`` names."""
    config = config.model_copy(update={"seed": seed})
    return PlannedTrial(trial_key(study, arm, seed, config), arm, seed, config)


def sweep_trial(spec: SweepSpec, values: Mapping[str, Any]) -> PlannedTrial:
    """The trial of a sweep at the point ``values`` (path -> value, for each of ``spec.space.paths``).

    The same point gives the same key. ConfigError for values that make no valid trial.
    """
    return planned(spec.name, SWEEP_ARM, spec.seed, spec.space.resolve(spec.base, values))


def arms_of(spec: AblationSpec) -> dict[str, TrialConfig]:
    """Every arm by name: the design's, the explicit ones, the baselines; with the base's seed.

    ConfigError, at the line of the arm, for one that is no valid trial, that is named or configured like another, that
    sets what every arm must share, or when there are fewer than two.
    """
    _check_switches(spec)
    resolved: dict[str, TrialConfig] = {}
    names: dict[str, str] = {}
    for arm in _unchecked(spec):
        config = _resolve(spec, arm)
        same = names.setdefault(digest(_effect(config), 64), arm.name)
        if arm.name in resolved:
            raise spec.refuse(arm.place, f'arm "{arm.name}" is given twice; every arm needs a name of its own.')
        if same != arm.name:
            raise spec.refuse(arm.place, f'arm "{arm.name}" is the same trial as arm "{same}"; change or remove one.')
        resolved[arm.name] = config
    if len(resolved) < 2:
        found = f'only "{next(iter(resolved))}"' if resolved else "none"
        raise spec.refuse((), f"an ablation compares at least 2 arms, found {found}; add a design, arms or baselines.")
    return resolved


def _unchecked(spec: AblationSpec) -> list[_Arm]:
    arms = []
    if spec.design:
        arms += [_Arm(name, over, ("design",)) for name, over in spec.design.overrides().items()]
    arms += [_Arm(name, over, ("arms", name)) for name, over in spec.arms.items()]
    listed = spec.source is not None and isinstance(spec.source.data.get("baselines"), list)
    for index, (name, over) in enumerate(spec.baselines.items()):
        place: Location = ("baselines", index if listed else name)
        if name not in ESTIMATORS:
            hint = did_you_mean(name, ESTIMATORS)
            message = f'baseline "{name}" is no gradient estimator.{hint} Allowed: {", ".join(ESTIMATORS)}.'
            raise spec.refuse(place, message)
        arms.append(_Arm(name, merge({"gradient": {"name": name}}, over), place, estimator=name))
    return arms


def _resolve(spec: AblationSpec, arm: _Arm) -> TrialConfig:
    if not _ARM_NAME.fullmatch(arm.name):
        message = f'"{arm.name}" cannot name an arm; use up to 64 letters, digits, "_", "-" and ".".'
        raise spec.refuse(arm.place, message)
    subject = f'arm "{arm.name}": '
    if "seed" in arm.overrides:
        message = f'{subject}it sets "seed", but every arm runs the seeds of "seeds"; remove it.'
        raise spec.refuse((*arm.place, "seed"), message)
    config = parse_trial(merge(spec.base.model_dump(), arm.overrides), spec.source, arm.place, subject)
    if arm.estimator and config.gradient.name != arm.estimator:
        message = f'{subject}it is named by its estimator, but sets gradient.name to "{config.gradient.name}".'
        raise spec.refuse((*arm.place, "gradient"), message)
    return config


def _check_switches(spec: AblationSpec) -> None:
    """The switches are true-or-false options of the base's gradient estimator, each named once."""
    if spec.design is None:
        return
    gradient = spec.base.gradient
    known = [name for name, field in type(gradient).model_fields.items() if field.annotation is bool]
    for index, name in enumerate(spec.design.switches):
        place = ("design", "switches", index)
        if name not in known:
            hint = did_you_mean(name, known)
            has = f"its switches are {', '.join(known)}" if known else "it has none"
            message = f'the base\'s gradient estimator "{gradient.name}" has no switch "{name}"; {has}.{hint}'
            raise spec.refuse(place, message)
        if name in spec.design.switches[:index]:
            raise spec.refuse(place, f'the switch "{name}" is given twice.')


def _effect(config: TrialConfig) -> dict[str, Any]:
    """What tells two arms apart. A history of length 1 and a history switched off are the same history."""
    identity = config.identity() | {"seed": 0}
    if isinstance(config.gradient, Fsg):
        identity["gradient"] |= {"hgs": None, "length": config.gradient.history_length}
    return identity
