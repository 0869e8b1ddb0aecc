"""A search space: dotted paths of the trial configuration, and the values each may take.

Written ``path: {loguniform: [1e-4, 1e-1]}``, or a plain scalar for a fixed value. Ranges include both ends. With
``when: {other.path: value}`` (or a list of values) a path is asked for and set only where the other path, a choice or
a fixed value of the same space, has that value. Nothing is drawn for a study here: a sampler draws, ``Space.resolve``
turns what it drew into a trial. Proof: ``tests/study/test_space.py``.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, RootModel, model_serializer

from fsg.config import Section, TrialConfig, merge, nested, read_at
from fsg.errors import ConfigError
from fsg.nearest import did_you_mean, did_you_mean_path
from fsg.scalars import read_as, untyped
from fsg.yaml_source import field_names

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

    Both ends belong to a range. A ``fixed`` domain has its value as the only choice. ``when``: for each other path, the
    values under which this one is set at all; all must hold.
    """

    kind: DomainKind
    low: int | float | None = None
    high: int | float | None = None
    q: int | float | None = None
    choices: tuple[Scalar, ...] = ()
    when: dict[str, tuple[Scalar, ...]] = Field(default_factory=dict)

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """The values that a field must accept for the whole domain to fit: both ends, or every choice."""
        if self.choices:
            return self.choices
        assert self.low is not None and self.high is not None
        ends = (self.low, self.high)
        return ends if self.kind in _WHOLE else tuple(float(end) for end in ends)

    @property
    def grid(self) -> tuple[Scalar, ...] | None:
        """Every value, in order; None for a range without steps."""
        if self.choices:
            return self.choices
        if self.kind in _WHOLE:
            return tuple(range(int(self.low or 0), int(self.high or 0) + 1))
        if self.kind != "quniform":
            return None
        assert self.low is not None and self.high is not None and self.q is not None
        steps = round((self.high - self.low) / self.q)
        return tuple(float(f"{self.low + n * self.q:.12g}") for n in range(steps + 1))

    def holds(self, value: Any) -> bool:
        """Whether ``value`` belongs to the domain."""
        if self.choices:
            return any(same(value, choice) for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        assert self.low is not None and self.high is not None
        if not self.low <= value <= self.high or (self.kind in _WHOLE and not isinstance(value, int)):
            return False
        if self.q is None:
            return True
        steps = (value - self.low) / self.q
        return abs(steps - round(steps)) < 1e-6

    def draw(self, rng: random.Random) -> Scalar:
        """A value drawn evenly (on its scale): for checking a space, not for searching it."""
        values = self.grid if self.kind not in ("lograndint", "loguniform") else None
        if values:
            return rng.choice(values)
        assert self.low is not None and self.high is not None
        if self.kind == "uniform":
            return rng.uniform(self.low, self.high)
        value = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        value = min(max(value, self.low), self.high)
        return round(value) if self.kind == "lograndint" else value

    @model_serializer
    def as_written(self) -> Any:
        """The domain as a YAML has it."""
        if self.kind == "fixed":
            written: Any = {"fixed": self.choices[0]} if self.when else self.choices[0]
        elif self.kind == "choice":
            written = {"choice": list(self.choices)}
        else:
            written = {self.kind: [getattr(self, name) for name in _BOUNDS[self.kind]]}
        if self.when:
            written["when"] = {path: list(v) if len(v) != 1 else v[0] for path, v in self.when.items()}
        return written


def same(one: Any, other: Any) -> bool:
    """Equal as values of a configuration: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def _spelt(path: str, domain: Any) -> Any:
    """The plain data of a domain of the field at ``path``."""
    if not isinstance(domain, Mapping):
        return read_at(path, domain)
    found = {}
    for key, value in domain.items():
        if key == "when" and isinstance(value, Mapping):
            found[key] = {other: read_at(other, allowed) for other, allowed in value.items()}
        elif key in _BOUNDS:
            found[key] = read_as(value, tuple[int] if key in _WHOLE else tuple[int | float])
        else:
            found[key] = read_at(path, value) if key in ("choice", "fixed") else untyped(value)
    return found


def parse_domain(value: Any) -> Domain:
    """The domain written as ``value``; ValueError says what is wrong with it."""
    if isinstance(value, Domain):
        return value
    if not isinstance(value, Mapping):
        if not _is_scalar(value):
            raise ValueError(f"is {value!r}, expected a fixed scalar or one domain, as in {{uniform: [0.1, 0.9]}}.")
        return Domain(kind="fixed", choices=(value,))
    when = _conditions(value["when"]) if "when" in value else {}
    value = {key: inner for key, inner in value.items() if key != "when"}
    kinds = [*_BOUNDS, "choice", "fixed"]
    if len(value) != 1:
        raise ValueError(f"expected exactly one domain of {', '.join(kinds)}, found {', '.join(value) or 'none'}.")
    kind, arguments = next(iter(value.items()))
    if kind not in kinds:
        hint = did_you_mean(kind, kinds)
        raise ValueError(f'unknown domain "{kind}".{hint} Allowed: {", ".join(kinds)}.')
    if kind == "fixed":
        if not _is_scalar(arguments):
            raise ValueError(f"fixed is {arguments!r}, expected one finite number, text, true, false or null.")
        return Domain(kind="fixed", choices=(arguments,), when=when)
    if not isinstance(arguments, list | tuple):
        raise ValueError(f"{kind} takes a list, found {arguments!r}.")
    domain = _choice(arguments) if kind == "choice" else _range(kind, arguments)
    return domain.model_copy(update={"when": when})


class Space(RootModel[dict[str, Annotated[Domain, BeforeValidator(parse_domain)]]]):
    """A search space over dotted paths, in the order they were written."""

    model_config = {"frozen": True}

    @classmethod
    def spelt(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The plain data of this section: the values of a path are read as its field takes them."""
        return {path: _spelt(path, domain) for path, domain in tree.items()}

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains a sampler draws from, a condition before what depends on it."""
        return {path: self.root[path] for path in self.order if self.root[path].kind != "fixed"}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths a sampler draws values for, each where its condition holds."""
        return tuple(self.domains)

    @property
    def fixed(self) -> dict[str, Scalar]:
        """The values that are the same in every trial."""
        return {path: d.choices[0] for path, d in self.root.items() if d.kind == "fixed" and not d.when}

    @property
    def conditional(self) -> bool:
        """Whether any path is set in some trials only."""
        return any(domain.when for domain in self.root.values())

    @cached_property
    def order(self) -> tuple[str, ...]:
        """All paths as written, but a condition before what depends on it. What hangs on a cycle comes last."""
        done: list[str] = []
        waiting = list(self.root)
        while waiting:
            ready = next((p for p in waiting if all(self._named(c) not in waiting for c in self.root[p].when)), None)
            if ready is None:
                break
            waiting.remove(ready)
            done.append(ready)
        return (*done, *waiting)

    def is_set(self, path: str, values: Mapping[str, Scalar]) -> bool:
        """Whether the conditions of ``path`` hold where the paths before it, searched and fixed, have ``values``."""
        return all(
            self._named(other) in values and any(same(values[self._named(other)], value) for value in allowed)
            for other, allowed in self.root[path].when.items()
        )

    def settings(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """Every path that is set at the point ``values``, with its value: the fixed ones too.

        ConfigError where ``values`` lacks a path whose condition holds, or has one whose condition does not.
        """
        found: dict[str, Scalar] = {}
        for path in self.order:
            if self.is_set(path, found):
                domain = self.root[path]
                if domain.kind == "fixed":
                    found[path] = domain.choices[0]
                elif path in values:
                    found[path] = values[path]
        expected = [path for path in self.paths if self.is_set(path, found)]
        if set(values) != set(expected):
            wanted, had = ", ".join(expected), ", ".join(values) or "none"
            raise ConfigError(f"a point of this space has values for {wanted}; found {had}.")
        return found

    def resolve(self, base: TrialConfig, values: Mapping[str, Scalar]) -> TrialConfig:
        """``base`` with the fixed values and a value for each path whose condition holds.

        ConfigError for any other set of paths, and for values that make no valid trial.
        """
        return _trial(base, self.settings(values))

    def point_of(self, config: Mapping[str, Any]) -> dict[str, Scalar]:
        """The point at which a trial of this space has the configuration ``config`` (plain data).

        A path that it lacks, or whose value is outside the domain, is left out.
        """
        found: dict[str, Scalar] = {}
        for path in self.order:
            value = _value_at(config, path)
            if self.is_set(path, found) and self.root[path].holds(value):
                found[path] = value
        return {path: found[path] for path in self.paths if path in found}

    def draw(self, rng: random.Random) -> dict[str, Scalar]:
        """A random point: for checking a space, not for searching it."""
        found: dict[str, Scalar] = {}
        for path in self.order:
            if self.is_set(path, found):
                found[path] = self.root[path].draw(rng)
        return {path: found[path] for path in self.paths if path in found}

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Every point, the last path varying fastest. Only for a space whose every domain has a ``grid``."""
        yield from self._grid({}, self.order)

    def _grid(self, before: dict[str, Scalar], rest: tuple[str, ...]) -> Iterator[dict[str, Scalar]]:
        if not rest:
            yield {path: before[path] for path in self.paths if path in before}
            return
        path, *after = rest
        if not self.is_set(path, before):
            yield from self._grid(before, tuple(after))
            return
        for value in self.root[path].grid or ():
            yield from self._grid(before | {path: value}, tuple(after))

    def misfits(self, base: TrialConfig) -> list[tuple[str, str]]:
        """(path, what is wrong with it) for all that would make an invalid trial; empty for a sound space.

        Every end and choice is tried alone, and together with every end and choice of each other path.
        """
        if not self.domains:
            return [("", "the space has nothing to search: every value is fixed.")]
        found = [(path, problem) for path in self.root if (problem := _path_problem(path))]
        found = found or [(path, problem) for path in self.root if (problem := self._condition_problem(path))]
        if found:
            return found
        found = [(path, problem) for path in self.root if (problem := self._alone(base, path))]
        return found or self._together(base)

    def _named(self, path: str) -> str:
        """The path as the space writes it: ``quantizer`` and ``quantizer.name`` are one."""
        other = path.removesuffix(".name") if path.endswith(".name") else f"{path}.name"
        return other if path not in self.root and other in self.root else path

    def _condition_problem(self, path: str) -> str | None:
        """What is wrong with the conditions of this path."""
        for written, allowed in self.root[path].when.items():
            other = self._named(written)
            if other not in self.root:
                known = [p for p in self.root if p != path]
                hint = did_you_mean(written, known) or f" Add it, searched or fixed: {written}: VALUE."
                return f'its condition names "{written}", which is not in the space.{hint}'
            domain = self.root[other]
            if not domain.choices:
                return f'its condition names "{written}", a {domain.kind}; only a choice or a fixed value can be one.'
            for value in allowed:
                if not domain.holds(value):
                    values = ", ".join(map(str, domain.choices))
                    hint = did_you_mean(str(value), map(str, domain.choices))
                    return f'its condition wants "{written}" to be {value!r}, which it never is: {values}.{hint}'
        if path in self._cyclic:
            return f"its conditions go round in a circle: {' -> '.join(self._circle(path))}; remove one."
        return None

    @cached_property
    def _cyclic(self) -> frozenset[str]:
        return frozenset(path for path in self.root if path in self._above(path))

    def _above(self, path: str) -> set[str]:
        """The paths that this one depends on, however far up."""
        found: set[str] = set()
        waiting = [path]
        while waiting:
            parents = {self._named(other) for other in self.root[waiting.pop()].when} & self.root.keys()
            waiting += parents - found
            found |= parents
        return found

    def _circle(self, path: str) -> list[str]:
        circle = [path]
        while len(circle) == 1 or circle[-1] != path:
            parents = [self._named(other) for other in self.root[circle[-1]].when]
            circle.append(next(p for p in parents if p == path or (path in self._above(p) and p not in circle)))
        return circle

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
        """Why the trial with these values, and the first of every other domain, is refused; None too if none has them."""
        values = self._corner(varied)
        if values is None:
            return None
        try:
            _trial(base, values)
        except ConfigError as error:
            return str(error)
        return None

    def _corner(self, varied: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """Every path that is set where these have their values, conditions met, and the others their first values.

        None where the values exclude each other.
        """
        forced, waiting = dict(varied), list(varied)
        while waiting:
            for other, allowed in self.root[waiting.pop()].when.items():
                if self._named(other) not in forced:
                    forced[self._named(other)] = allowed[0]
                    waiting.append(self._named(other))
        found: dict[str, Scalar] = {}
        for path in self.order:
            if self.is_set(path, found):
                found[path] = forced.get(path, self.root[path].extremes[0])
            elif path in forced:
                return None
        return found

    def with_each(self, base: TrialConfig) -> Iterator[tuple[str, Scalar, TrialConfig]]:
        """(path, value, a trial that has it) for each end and choice of each path; of a continuous range for its middle."""
        for path, domain in self.root.items():
            values = domain.extremes
            if domain.kind in ("uniform", "loguniform"):
                values = (sum(float(end or 0) for end in values) / 2,)
            for value in values:
                point = self._corner({path: value})
                if point is not None:
                    with suppress(ConfigError):
                        yield path, value, _trial(base, point)

    def _hint(self, base: TrialConfig, path: str) -> str:
        """What to write instead where a range of floats was given for a whole number."""
        value = _value_at(base.model_dump(), path)
        whole = {"uniform": "randint", "quniform": "randint", "loguniform": "lograndint"}.get(self.root[path].kind)
        return f" It takes whole numbers; use {whole}." if type(value) is int and whole else ""


def _trial(base: TrialConfig, values: Mapping[str, Scalar]) -> TrialConfig:
    over: dict[str, Any] = {}
    for path in sorted(values, key=_depth):
        over = merge(over, nested(path, values[path]))
    return base.derive(over)


def _depth(path: str) -> int:
    """Sections and names come before what they hold, because a new name starts its section afresh."""
    return path.count(".") - path.endswith(".name")


def _value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; of a section with kinds, its name. None where there is none."""
    value: Any = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value.get("name") if isinstance(value, Mapping) else value


def _path_problem(path: str) -> str | None:
    names = field_names(TrialConfig)
    if path in _NOT_SEARCHED:
        return f'"{path}" cannot be searched: {_NOT_SEARCHED[path]}.'
    if path in names:
        return None
    hint = did_you_mean_path(path, names)
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


def _conditions(value: Any) -> dict[str, tuple[Scalar, ...]]:
    if not isinstance(value, Mapping) or not value:
        raise ValueError(
            f"when is {value!r}, expected other paths and their values, as in {{gradient.slow_net: mamba}}."
        )
    conditions = {}
    for path, allowed in value.items():
        values = tuple(allowed) if isinstance(allowed, list | tuple) else (allowed,)
        if not values or not all(_is_scalar(v) for v in values):
            raise ValueError(f"when: {path} is {allowed!r}, expected a value, or a list of them.")
        conditions[str(path)] = values
    return conditions


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
        written = domain.as_written()
        line = repr(domain.choices[0]) if domain.kind == "fixed" else f"{domain.kind} {written[domain.kind]}"
        conditions = (f"{other} is {' or '.join(map(str, allowed))}" for other, allowed in domain.when.items())
        yield path, f"{line} when {' and '.join(conditions)}" if domain.when else line
