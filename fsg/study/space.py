"""A search space: dotted paths of the trial configuration, and the values each may take.

Written ``path: {loguniform: [1e-4, 1e-1]}``, or a plain scalar for a fixed value. Ranges include both ends. Nothing is
drawn here: a sampler draws, ``Space.resolve`` turns what it drew into a trial. Proof: ``tests/study/test_space.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, RootModel, model_serializer

from fsg.config import Section, TrialConfig, merge, nested, parse_trial
from fsg.errors import ConfigError
from fsg.yaml_source import did_you_mean, field_names

DomainKind = Literal["uniform", "loguniform", "quniform", "randint", "lograndint", "choice", "fixed"]
Scalar = str | int | float | bool | None

_BOUNDS = {
    "uniform": ("low", "high"),
    "loguniform": ("low", "high"),
    "quniform": ("low", "high", "q"),
    "randint": ("low", "high"),
    "lograndint": ("low", "high"),
}
_WHOLE = ("randint", "lograndint")
_NOT_SEARCHED = {"seed": "the seed of a sweep is given by its own key", "device": "the device decides no result"}
_MOST_COMBINATIONS = 20_000  # about a second of checking; a space of 20 domains needs 2,000


class Domain(Section):
    """The values of one path: ``kind``, and what it needs of ``low``, ``high``, the step ``q`` and ``choices``.

    Both ends belong to a range. A ``fixed`` domain has its value as the only choice.
    """

    kind: DomainKind
    low: int | float | None = None
    high: int | float | None = None
    q: int | float | None = None
    choices: tuple[Scalar, ...] = ()

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """The values that a field must accept for the whole domain to fit: both ends, or every choice."""
        if self.choices:
            return self.choices
        assert self.low is not None and self.high is not None
        ends = (self.low, self.high)
        return ends if self.kind in _WHOLE else tuple(float(end) for end in ends)

    @model_serializer
    def as_written(self) -> Any:
        """The domain as a YAML has it."""
        if self.kind == "fixed":
            return self.choices[0]
        if self.kind == "choice":
            return {"choice": list(self.choices)}
        return {self.kind: [getattr(self, name) for name in _BOUNDS[self.kind]]}


def parse_domain(value: Any) -> Domain:
    """The domain written as ``value``; ValueError says what is wrong with it."""
    if isinstance(value, Domain):
        return value
    if not isinstance(value, Mapping):
        if not _is_scalar(value):
            raise ValueError(f"is {value!r}, expected a fixed scalar or one domain, as in {{uniform: [0.1, 0.9]}}.")
        return Domain(kind="fixed", choices=(value,))
    kinds = [*_BOUNDS, "choice"]
    if len(value) != 1:
        raise ValueError(f"expected exactly one domain of {', '.join(kinds)}, found {', '.join(value) or 'none'}.")
    kind, arguments = next(iter(value.items()))
    if kind not in kinds:
        hint = did_you_mean(kind, kinds)
        raise ValueError(f'unknown domain "{kind}".{hint} Allowed: {", ".join(kinds)}.')
    if not isinstance(arguments, list | tuple):
        raise ValueError(f"{kind} takes a list, found {arguments!r}.")
    return _choice(arguments) if kind == "choice" else _range(kind, arguments)


class Space(RootModel[dict[str, Annotated[Domain, BeforeValidator(parse_domain)]]]):
    """A search space over dotted paths, in the order they were written."""

    model_config = {"frozen": True}

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains a sampler draws from."""
        return {path: domain for path, domain in self.root.items() if domain.kind != "fixed"}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths a sampler draws values for."""
        return tuple(self.domains)

    @property
    def fixed(self) -> dict[str, Scalar]:
        """The values that are the same in every trial."""
        return {path: domain.choices[0] for path, domain in self.root.items() if domain.kind == "fixed"}

    def resolve(self, base: TrialConfig, values: Mapping[str, Scalar]) -> TrialConfig:
        """``base`` with the fixed values and a value for each of ``paths``. ConfigError for any other set of paths."""
        if set(values) != set(self.paths):
            expected = ", ".join(self.paths)
            raise ConfigError(f"a point of this space has values for {expected}; found {', '.join(values) or 'none'}.")
        return _trial(base, self.fixed | dict(values))

    def misfits(self, base: TrialConfig) -> list[tuple[str, str]]:
        """(path, what is wrong with it) for all that would make an invalid trial; empty for a sound space.

        Every end and choice is tried alone, and together with every end and choice of each other path.
        """
        if not self.domains:
            return [("", "the space has nothing to search: every value is fixed.")]
        found = [(path, problem) for path in self.root if (problem := _path_problem(path))]
        if found:
            return found
        found = [(path, problem) for path in self.root if (problem := self._alone(base, path))]
        return found or self._together(base)

    def _alone(self, base: TrialConfig, path: str) -> str | None:
        """What is wrong with this path whatever the others are, as far as ``base`` with their first values tells."""
        for value in self.root[path].extremes:
            problem = self._problem(base, {path: value})
            if problem and f'"{path}' in problem:
                return problem + self._hint(base, path)
        return None

    def _together(self, base: TrialConfig) -> list[tuple[str, str]]:
        pairs = (
            {a: x, b: y}
            for a, b in itertools.combinations(self.root, 2)
            for x, y in itertools.product(self.root[a].extremes, self.root[b].extremes)
        )
        alone = ({path: value} for path, domain in self.root.items() for value in domain.extremes)
        for varied in itertools.islice(itertools.chain(alone, pairs), _MOST_COMBINATIONS):
            problem = self._problem(base, varied)
            if problem:
                values = " and ".join(f"{path} = {value!r}" for path, value in varied.items())
                blamed = next((path for path in reversed(varied) if f'"{path}"' in problem), list(varied)[-1])
                return [(blamed, f"with {values}: {problem}")]
        return []

    def _problem(self, base: TrialConfig, varied: Mapping[str, Scalar]) -> str | None:
        """Why the trial with these values, and the first of every other domain, is refused."""
        values = {path: domain.extremes[0] for path, domain in self.root.items()} | dict(varied)
        try:
            _trial(base, values)
        except ConfigError as error:
            return str(error)
        return None

    def _hint(self, base: TrialConfig, path: str) -> str:
        """What to write instead where a range of floats was given for a whole number."""
        value: Any = base.model_dump()
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        whole = {"uniform": "randint", "quniform": "randint", "loguniform": "lograndint"}.get(self.root[path].kind)
        return f" It takes whole numbers; use {whole}." if type(value) is int and whole else ""


def _trial(base: TrialConfig, values: Mapping[str, Scalar]) -> TrialConfig:
    over: dict[str, Any] = {}
    for path in sorted(values, key=_depth):
        over = merge(over, nested(path, values[path]))
    return parse_trial(merge(base.model_dump(), over))


def _depth(path: str) -> int:
    """Sections and names come before what they hold, because a new name starts its section afresh."""
    return path.count(".") - path.endswith(".name")


def _path_problem(path: str) -> str | None:
    names = field_names(TrialConfig)
    if path in _NOT_SEARCHED:
        return f'"{path}" cannot be searched: {_NOT_SEARCHED[path]}.'
    if path in names:
        return None
    hint = did_you_mean(path, names)
    return f'the trial configuration has no "{path}".{hint}'


def _choice(values: list[Any] | tuple[Any, ...]) -> Domain:
    if not values:
        raise ValueError("choice has no values; give at least one.")
    for index, value in enumerate(values):
        if not _is_scalar(value):
            raise ValueError(f"choice holds {value!r}, expected a finite number, text, true, false or null.")
        if any(type(value) is type(other) and value == other for other in values[:index]):
            raise ValueError(f"choice holds {value!r} twice.")
    return Domain(kind="choice", choices=tuple(values))


def _range(kind: Any, values: list[Any] | tuple[Any, ...]) -> Domain:
    names = _BOUNDS[kind]
    if len(values) != len(names):
        raise ValueError(f"{kind} takes [{', '.join(names)}], found {len(values)} values.")
    for name, value in zip(names, values, strict=True):
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError(f"{kind}: {name} is {value!r}, expected a finite number.")
        if kind in _WHOLE and not isinstance(value, int):
            raise ValueError(f"{kind}: {name} is {value!r}, expected a whole number.")
    low, high = values[:2]
    if low >= high:
        raise ValueError(f"{kind}: low is {low!r} and high is {high!r}; low must be below high.")
    if kind.startswith("log") and low <= 0:
        raise ValueError(f"{kind}: low is {low!r}; a logarithmic range starts above 0.")
    if kind == "quniform":
        _check_step(low, high, values[2])
    return Domain(kind=kind, **dict(zip(names, values, strict=True)))


def _check_step(low: float, high: float, q: float) -> None:
    if not 0 < q <= high - low:
        raise ValueError(f"quniform: q is {q!r}; the step must be above 0 and at most high - low = {high - low!r}.")
    steps = (high - low) / q
    if abs(steps - round(steps)) > 1e-6:
        raise ValueError(f"quniform: {q!r} steps from {low!r} never reach {high!r}; choose high = low + n q.")


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def describe(space: Space) -> Iterator[tuple[str, str]]:
    """(path, domain in one line) for a dry run: ``("optimizer.lr", "loguniform [0.0001, 0.1]")``."""
    for path, domain in space.root.items():
        if domain.kind == "fixed":
            yield path, repr(domain.choices[0])
        else:
            written = domain.as_written()
            yield path, f"{domain.kind} {written[domain.kind]}"
