"""How a sweep searches, as its file says: sampler, scheduler, objectives, start points, budget; and what cannot be.

Proof: ``tests/study/test_search.py``.
"""

from __future__ import annotations

import functools
import importlib.util
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from fsg.catalogue.samplers import AutoSampler, SamplerConfig
from fsg.config import ByPath, TrialConfig, read_at
from fsg.database import sqlalchemy_address, with_environment
from fsg.errors import BackendUnavailable, ConfigError, FsgError
from fsg.formats import FIRST
from fsg.metrics import looked_at
from fsg.nearest import did_you_mean, did_you_mean_path
from fsg.parts import find_part, held_by, names, part_of
from fsg.redaction import has_password
from fsg.scalars import Plain, holds, types_at
from fsg.section import ByName, Section, WrittenAs
from fsg.study.constraints import Constraint, equated, parse_constraint, values_of
from fsg.study.domains import Scalar
from fsg.study.population import is_population, population_problems
from fsg.study.space import Space, value_at
from fsg.yaml_source import Location, field_names

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

BITS = "bits"  # an objective that is no metric: bits per quantised weight
CURVES_MOST_PATHS, CURVES_MOST_TRIALS = 16, 300
_FEASIBLE_DRAWS = 2_000
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}

Problem = tuple[Location, str]


def _without_password(address: str) -> str:
    """A study's file is copied into its folder and shown to others: no password stands in it."""
    if has_password(address):
        raise ValueError("holds a password in clear; write ${NAME} in its place and set that variable.")
    return address


def _as_written(sampler: Section) -> Any:
    """A sampler with its defaults is its name, also once it has more options."""
    name = sampler.model_dump()["name"]
    return name if sampler == type(sampler).model_validate({"name": name}) else sampler.model_dump(mode="json")


class SearchSpec(Section):
    """Who proposes the points.

    Args:
        sampler: The sampler.
        trials: Configurations that are tried.
        seed: Of the proposals.
        storage: Where they are remembered: a database's URL, for Optuna's own dashboard, ``${NAME}`` in it read from the
            environment. Left out, a journal in the study's folder.
    """

    sampler: Annotated[SamplerConfig, ByName, PlainSerializer(_as_written)] = AutoSampler()
    trials: Annotated[int, Field(ge=1, le=100_000)]
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    storage: Annotated[str, Field(pattern=r"^[a-z0-9_+]+://"), AfterValidator(_without_password)] | None = None


held_by("sampler", SearchSpec, "sampler")


class Objective(Section):
    """A further objective: a metric of the epochs, or ``bits``.

    Args:
        name: A metric of every epoch, or ``bits`` per quantised weight.
        mode: Which way is better.
        unit: As tables show it, such as ``"%"``.
    """

    name: str
    mode: Literal["min", "max"]
    unit: str = ""


class StartPoint(Section):
    """What is tried first: a named ``point`` (paths it leaves out are the base's), or the ``best`` of another study.

    Args:
        name: What the point is called.
        point: Path -> value; paths that it leaves out are the base's.
        study: Another study, whose best are tried.
        best: How many of them.
    """

    name: str | None = None
    point: ByPath | None = None
    study: str | None = None
    best: Annotated[int, Field(ge=1, le=1000)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> StartPoint:
        if (self.point is None) == (self.study is None) or (self.best is not None and self.study is None):
            raise ValueError("expected {name: ..., point: {path: value}}, or {study: NAME, best: K}.")
        return self

    @property
    def label(self) -> str:
        """What the trial is called in the searcher's memory."""
        return self.name or (f"best of {self.study}" if self.study else "start point")


def seconds(value: Any) -> Any:
    """Seconds from a number of them, or from text such as ``90m``, ``8h`` or ``1.5d``."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip())
    if not match:
        raise ValueError(f'is "{value}", expected a duration such as 45s, 90m, 8h or 2d.')
    return float(match[1]) * _UNITS[match[2]]


class BudgetSpec(Section):
    """Hard caps on a whole sweep, restarts included; no trial is begun once one is reached.

    Args:
        trials: Runs, every seed of a configuration.
        wall_time: Seconds, or text such as ``90m``, ``8h`` or ``2d``.
        gpu_hours: GPU-hours.
        cost: In the currency of ``prices``.
        prices: Part of a device's name -> the price of one GPU-hour, or of one core-hour where no GPU is used, as in ``{H100:
            2.5, default: 0.05}``.
    """

    trials: Annotated[int, Field(ge=1)] | None = None
    wall_time: Annotated[float, Field(gt=0), BeforeValidator(seconds), WrittenAs(lambda: float | str)] | None = None
    gpu_hours: Annotated[float, Field(gt=0)] | None = None
    cost: Annotated[float, Field(gt=0)] | None = None
    prices: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _caps_something(self) -> BudgetSpec:
        if all(cap is None for cap in (self.trials, self.wall_time, self.gpu_hours, self.cost)):
            raise ValueError("it caps nothing; give trials, wall_time, gpu_hours or cost.")
        if self.cost is not None and not self.prices:
            raise ValueError(
                "cost needs prices: what an hour costs by device, as in prices: {H100: 2.5, default: 0.05}."
            )
        return self


def describe_budget(budget: BudgetSpec) -> str:
    """The caps in one line, for a dry run."""
    caps = {
        "trials": budget.trials and f"{budget.trials} trials",
        "wall_time": budget.wall_time and f"{budget.wall_time / 3600:.3g} h of wall time",
        "gpu_hours": budget.gpu_hours and f"{budget.gpu_hours:g} GPU-hours",
        "cost": budget.cost and f"a cost of {budget.cost:g}",
    }
    return "No trial is begun beyond " + ", ".join(text for text in caps.values() if text) + "."


# What cannot be -------------------------------------------------------------------------------------------------------
def problems(spec: SweepSpec, metrics: tuple[str, ...]) -> Iterator[Problem]:
    """(place, reason) of all that makes this sweep impossible, its space being sound. ``metrics``: those of an epoch."""
    yield from _root_problems(spec)
    yield from _scheduler_problems(spec)
    yield from population_problems(spec)
    yield from _sampler_problems(spec)
    yield from _objective_problems(spec, metrics)
    found = list(_constraint_problems(spec, metrics))
    yield from found
    if not found:
        yield from _start_problems(spec)


def _root_problems(spec: SweepSpec) -> Iterator[Problem]:
    """Folders of images are told apart by their names, so that a study can be moved (``TrialConfig.identity``)."""
    roots = spec.space.root.get("data.root")
    named = [Path(root).name for root in (roots.choices if roots else ()) if isinstance(root, str)]
    if spec.format > FIRST and (twice := next((name for name in named if named.count(name) > 1), None)):
        yield (
            ("space", "data.root"),
            f'"data.root" has two folders named "{twice}"; rename one: trials know a folder by its name.',
        )


def require(search: SearchSpec) -> None:
    """BackendUnavailable or ConfigError where the sampler's package or the database's driver is missing on this machine."""
    package = part_of("sampler", search.sampler).fact("package")
    if package is not None and importlib.util.find_spec(package) is None:
        raise BackendUnavailable(
            f"search.sampler: {search.sampler.name} needs the package {package}, which is not installed: pip install {package}."
        )
    database_of(search)


def database_of(search: SearchSpec) -> str | None:
    """The database that remembers the points, as SQLAlchemy opens it; None for the journal in the study's folder."""
    if search.storage is None:
        return None
    try:
        return sqlalchemy_address(with_environment(search.storage))
    except FsgError as error:
        raise type(error)(f"search.storage: {error}") from None


def longest(spec: SweepSpec) -> int:
    """Epochs of the longest trial."""
    epochs = spec.space.root.get("epochs")
    if epochs is None:
        return spec.base.epochs
    found = [int(e) for e in epochs.extremes if isinstance(e, int)]
    return max([*found, *([spec.base.epochs] if epochs.when else [])])


def sampler_of(spec: SweepSpec) -> str:
    """The name of the sampler, or of that which ``auto`` stands for.

    It is ``curves`` for one objective without constraints on metrics, up to sizes at which its proposal takes less than a second
    and its model still knows more than TPE; else ``tpe``.
    """
    if not isinstance(spec.search.sampler, AutoSampler):
        return spec.search.sampler.name
    large = len(spec.space.paths) > CURVES_MOST_PATHS or spec.search.trials > CURVES_MOST_TRIALS
    return "tpe" if large or spec.objectives or constraints_of(spec)[1] else "curves"


def constraints_of(spec: SweepSpec) -> tuple[tuple[Constraint, ...], tuple[Constraint, ...]]:
    """Those decided by the configuration alone, and those that need a metric."""
    if not spec.constraints:
        return (), ()
    paths = _paths()
    parsed = [parse_constraint(text) for text in spec.constraints]
    alone = tuple(c for c in parsed if set(c.names) <= set(paths))
    return alone, tuple(c for c in parsed if c not in alone)


@functools.cache
def _paths() -> tuple[str, ...]:
    """All of the trial configuration: a millisecond's walk through its types, and every trial asks."""
    return tuple(field_names(TrialConfig))


def feasible(constraints: tuple[Constraint, ...], config: TrialConfig) -> bool:
    """Whether a configuration keeps all of them."""
    data = config.model_dump()
    return all(c.holds(values_of(data, {}, c.names)) for c in constraints)


def _scheduler_problems(spec: SweepSpec) -> Iterator[Problem]:
    grace = getattr(spec.scheduler, "grace_epochs", 0)
    most = longest(spec)
    if grace >= most:
        message = f"is {grace}, but trials have {most} epochs, so none could be stopped; use fewer."
        yield ("scheduler", "grace_epochs"), f'"scheduler.grace_epochs" {message}'
    if spec.objectives and part_of("scheduler", spec.scheduler).fact("stops"):
        yield (
            ("scheduler",),
            f'"scheduler" is {spec.scheduler.name}, which stops by one metric and would cut off what is good by '
            f"another; with objectives use scheduler: none.",
        )


def _sampler_problems(spec: SweepSpec) -> Iterator[Problem]:
    sampler, place = spec.search.sampler, ("search", "sampler")
    part = part_of("sampler", sampler)
    conditional = next((path for path, domain in spec.space.domains.items() if domain.when), None)
    if conditional and not part.fact("conditional"):
        message = f"{sampler.name}, which cannot search conditional paths ({conditional}); use {_that('conditional')}."
        yield place, f'"search.sampler" is {message}'
    for path, why in part.fact("unfit", sampler, spec.space):
        yield (("space", path), why) if path else (place, f'"search.sampler" is {why}')
    if spec.objectives and not part.fact("objectives"):
        yield place, f'"search.sampler" is {sampler.name}, which knows one objective; use {_that("objectives")}.'


def _that(can: str) -> str:
    """The samplers of which a fact holds, as a list."""
    return ", ".join(name for name in names("sampler") if find_part("sampler", name).fact(can))


def _objective_problems(spec: SweepSpec, metrics: tuple[str, ...]) -> Iterator[Problem]:
    names: list[str] = [spec.metric.name]
    for index, objective in enumerate(spec.objectives):
        allowed = [*metrics, BITS]
        if objective.name not in allowed:
            hint = did_you_mean(objective.name, allowed)
            message = f'"objectives" names "{objective.name}".{hint} Allowed: {", ".join(allowed)}.'
            yield ("objectives", index, "name"), message
        elif objective.name in names:
            yield ("objectives", index), f'the objective "{objective.name}" is given twice ("metric" is the first).'
        names.append(objective.name)


def _constraint_problems(spec: SweepSpec, metrics: tuple[str, ...]) -> Iterator[Problem]:
    paths, metrics = _paths(), (*metrics, *looked_at(spec.base))
    sound = True
    for index, text in enumerate(spec.constraints):
        place: Location = ("constraints", index)
        try:
            constraint = parse_constraint(text)
        except ValueError as error:
            sound = False
            yield place, f'"constraints": {error}'
            continue
        if wrong := next((why for bare, why in _spellings(constraint, (*paths, *metrics)) if bare), None):
            sound = False
            yield place, wrong
            continue
        for name in constraint.names:
            if name not in paths and name not in metrics:
                sound = False
                hint = did_you_mean_path(name, [*metrics, *paths])
                why = " Choices are made on validation." if name.startswith("test_") else ""
                yield (
                    place,
                    f'"{text}" names "{name}", which is no path of the trial configuration and no metric of an epoch.{why}{hint}',
                )
    if not sound:
        return
    alone, measured = constraints_of(spec)
    if measured and is_population(spec):
        message = f"under {spec.scheduler.name} weights are copied by {spec.metric.name} alone; leave it out."
        yield ("constraints", spec.constraints.index(measured[0].text)), f'"{measured[0].text}": {message}'
    if measured and not part_of("sampler", spec.search.sampler).fact("constraints"):
        name = spec.search.sampler.name
        message = f'"search.sampler" is {name}, which learns nothing from "{measured[0].text}"; use tpe, gp or nsga2.'
        yield ("search", "sampler"), message
    if alone and not any(drawn(spec.space, spec.base, alone)):
        blamed = next((c for c in alone if not any(drawn(spec.space, spec.base, (c,)))), None)
        what = f'"{blamed.text}" holds' if blamed else "all constraints hold together"
        place = ("constraints", spec.constraints.index(blamed.text)) if blamed else ("constraints",)
        nowhere = f"{what} nowhere: not at one of {_FEASIBLE_DRAWS:,} points drawn at random. Loosen it."
        yield place, next((why for _, why in _spellings(blamed, (*paths, *metrics))), nowhere) if blamed else nowhere


def misspelt(spec: AblationSpec | SweepSpec) -> Iterator[Problem]:
    """(place, reason) of each constraint that holds a path against a value which it can never have: ``gradient.hgs == 1``."""
    constraints = spec.constraints if spec.kind == "sweep" else ()
    for index, text in enumerate(constraints):
        yield from ((("constraints", index), why) for bare, why in _spellings(parse_constraint(text), ()) if not bare)


def _spellings(constraint: Constraint, names: tuple[str, ...]) -> Iterator[tuple[bool, str]]:
    """(whether it is a bare word, what is wrong) of each value that a constraint's path can never have."""
    for path, value, bare in equated(constraint):
        types = types_at(TrialConfig, path.split("."))
        if not types or (bare and value in names) or (not bare and holds(value, *types)):
            continue
        meant = read_at(path, Plain(str(value)))
        shown = value if bare else repr(value)
        advice = f" Write {meant!r}." if holds(meant, *types) else ""
        yield bare, f'"{constraint.text}" holds "{path}" against {shown}, which it never is.{advice}'


def drawn(space: Space, base: TrialConfig, constraints: tuple[Constraint, ...]) -> Iterator[TrialConfig]:
    """The trials at points drawn at random that may be run, the same ones at every call; it ends where there are few."""
    rng = random.Random(0)
    for _ in range(_FEASIBLE_DRAWS):
        try:
            config = space.resolve(base, space.draw(rng))
            if feasible(constraints, config):
                yield config
        except ConfigError:
            continue


def _start_problems(spec: SweepSpec) -> Iterator[Problem]:
    alone, _ = constraints_of(spec)
    for index, start in enumerate(spec.start_from):
        if start.study is not None:
            if start.study == spec.name:
                yield ("start_from", index), f'the best of "{start.study}" cannot begin this same study; name another.'
            continue
        place: Location = ("start_from", index, "point")
        try:
            config = spec.space.resolve(spec.base, start_point(spec, start))
        except StartError as error:
            yield (*place, error.path), f'start point "{start.label}": {error}'
        except ConfigError as error:
            yield place, f'start point "{start.label}": {error}'
        else:
            broken = next((c for c in alone if not feasible((c,), config)), None)
            if broken:
                yield place, f'start point "{start.label}": it breaks the constraint "{broken.text}".'


class StartError(Exception):
    """A start point that is none of the space; ``path`` is where."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


def start_point(spec: SweepSpec, start: StartPoint) -> dict[str, Scalar]:
    """The whole point that ``start`` names: where it names no value, the base's. StartError if it is none of the space."""
    given = dict(start.point or {})
    space = spec.space
    for path in given:
        if path not in space.paths:
            why = "is fixed in this space" if path in space.root else "is not searched"
            raise StartError(
                path, f'"{path}" {why}.{did_you_mean_path(path, space.paths)} Searched: {", ".join(space.paths)}.'
            )
    usual = spec.base.model_dump()
    found: dict[str, Scalar] = {}
    values: dict[str, Scalar] = {}
    for path in space.order:
        domain = space.root[path]
        if not space.is_set(path, values):
            if path in given:
                raise StartError(path, f'"{path}" is given, but its condition does not hold at this point; remove it.')
            continue
        if not domain.searched:
            values[path] = domain.choices[0]
            continue
        value = given[path] if path in given else value_at(usual, path)
        if not domain.holds(value):
            if path not in given:
                raise StartError(path, f'"{path}" has no value, and the base has none inside its domain; give it one.')
            raise StartError(path, f'"{path}" is {value!r}, outside {domain.as_written()}.')
        found[path] = values[path] = value
    return found
