"""A search space: dotted paths of the trial configuration, and the values each may take.

Written ``path: {loguniform: [1e-4, 1e-1]}``, or a plain scalar for a fixed value. Ranges include both ends. With
``when: {other.path: value}`` (or a list of values) a path is asked for and set only where the other path, a choice or
a fixed value of the same space, has that value. Nothing is drawn for a study here: a sampler draws, ``Space.resolve``
turns what it drew into a trial. Proof: ``tests/study/test_space.py``.
"""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, RootModel

from fsg.config import TrialConfig, merge, nested, read_at
from fsg.errors import ConfigError
from fsg.nearest import did_you_mean, did_you_mean_path
from fsg.scalars import read_as, types_at, untyped
from fsg.study.constraints import parse_term, values_of
from fsg.study.domains import KINDS, Domain, Scalar, parse_domain, same
from fsg.study.domains.expression import Formula
from fsg.yaml_source import field_names

_NOT_SEARCHED = {"seed": "the seed of a sweep is given by its own key", "device": "the device decides no result"}
_MOST_COMBINATIONS = 20_000  # about a second of checking; a space of 20 domains needs 2,000


def _written(domain: Domain) -> Any:
    return domain.as_written()


def _spelt(path: str, domain: Any) -> Any:
    """The plain data of a domain of the field at ``path``."""
    if not isinstance(domain, Mapping):
        return read_at(path, domain)
    found = {}
    for key, value in domain.items():
        if key == "when" and isinstance(value, Mapping):
            found[key] = {other: read_at(other, allowed) for other, allowed in value.items()}
        elif key in KINDS:
            numbers = KINDS[key].numbers
            found[key] = read_at(path, value) if numbers is None else read_as(value, tuple[numbers])  # type: ignore[valid-type]
        else:
            found[key] = untyped(value)
    return found


class Space(RootModel[dict[str, Annotated[Domain, PlainValidator(parse_domain), PlainSerializer(_written)]]]):
    """A search space over dotted paths, in the order they were written."""

    model_config = {"frozen": True}

    @classmethod
    def spelt(cls, tree: Mapping[str, Any]) -> dict[str, Any]:
        """The plain data of this section: the values of a path are read as its field takes them."""
        return {path: _spelt(path, domain) for path, domain in tree.items()}

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains a sampler draws from, a condition before what depends on it."""
        return {path: self.root[path] for path in self.order if self.root[path].searched}

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths a sampler draws values for, each where its condition holds."""
        return tuple(self.domains)

    @property
    def fixed(self) -> dict[str, Scalar]:
        """The values that are the same in every trial."""
        return {path: d.choices[0] for path, d in self.root.items() if not (d.searched or d.when)}

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
            self._named(other) in values and _among(values[self._named(other)], allowed)
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
                if not domain.searched:
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
        return trial_at(base, self.settings(values))

    def point_of(self, config: Mapping[str, Any]) -> dict[str, Scalar]:
        """The point at which a trial of this space has the configuration ``config`` (plain data).

        A path that it lacks, or whose value is outside the domain, is left out.
        """
        found = self._held(config)
        return {path: found[path] for path in self.paths if path in found}

    def outside(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The searched paths that are set in ``config``, to values outside their domains, with these values."""
        found = self._held(config)
        values = {path: value_at(config, path) for path in self.paths if path not in found and self.is_set(path, found)}
        return {path: value for path, value in values.items() if value is not None}

    def _held(self, config: Mapping[str, Any]) -> dict[str, Scalar]:
        """Every path, fixed ones too, whose condition holds in ``config`` and whose domain holds the value there."""
        found: dict[str, Scalar] = {}
        for path in self.order:
            value = value_at(config, path)
            if self.is_set(path, found) and self.root[path].holds(value):
                found[path] = value
        return found

    def draw(self, rng: random.Random) -> dict[str, Scalar]:
        """A random point: for checking a space, not for searching it."""
        found: dict[str, Scalar] = {}
        for path in self.order:
            if self.is_set(path, found):
                found[path] = self.root[path].draw(rng)
        return {path: found[path] for path in self.paths if path in found}

    def grid(self) -> Iterator[dict[str, Scalar]]:
        """Every point, the last path varying fastest. Only for a space whose every domain has a ``count``."""
        for found in self._walk(lambda path: self.root[path].grid(), self.order, {}):
            yield {path: found[path] for path in self.paths if path in found}

    @property
    def size(self) -> int:
        """How many points the grid has, counted without laying them out."""
        return self._size(self.order, {})

    def corners(self, through: Collection[str]) -> Iterator[dict[str, Scalar]]:
        """Every path that is set and its value, for every value of the paths ``through``, of ranges both ends.

        What these depend on takes each side of their conditions in turn; all other paths have their first values.
        """
        above: frozenset[str] = frozenset().union(*(self._above[path] for path in through if path in self.root))

        def values(path: str) -> Iterable[Scalar]:
            if path in through:
                return self.root[path].extremes
            return [alike[0] for alike in self._alike(path)] if path in above else self.root[path].extremes[:1]

        yield from self._walk(values, self.order, {})

    def misfits(self, base: TrialConfig) -> list[tuple[str, str]]:
        """(path, what is wrong with it) for all that would make an invalid trial; empty for a sound space.

        Every end and choice is tried alone, and together with every end and choice of each other path.
        """
        if not self.domains:
            return [("", "the space has nothing to search: every value is fixed.")]
        found = [(path, problem) for path in self.root if (problem := _path_problem(path))]
        found = found or [(path, problem) for path in self.root if (problem := self._condition_problem(path))]
        found = found or [(path, problem) for path in self.root if (problem := self._formula_problem(path))]
        if found:
            return found
        found = [(path, problem) for path in self.root if (problem := self._alone(base, path))]
        return found or self._together(base)

    def _walk(
        self, values: Callable[[str], Iterable[Scalar]], paths: tuple[str, ...], before: dict[str, Scalar]
    ) -> Iterator[dict[str, Scalar]]:
        """Every way to set ``paths`` beside ``before``, in order: each to one of its values where its condition holds."""
        if not paths:
            yield before
            return
        path, *after = paths
        if not self.is_set(path, before):
            yield from self._walk(values, tuple(after), before)
            return
        for value in values(path):
            yield from self._walk(values, tuple(after), before | {path: value})

    def _size(self, paths: tuple[str, ...], before: dict[str, Scalar]) -> int:
        """In how many ways ``paths`` can be set beside ``before``."""
        if not paths:
            return 1
        path, *after = paths
        if not self.is_set(path, before):
            return self._size(tuple(after), before)
        if path in self._conditions_on:
            alikes = self._alike(path)
            return sum(len(alike) * self._size(tuple(after), before | {path: alike[0]}) for alike in alikes)
        count = self.root[path].count
        assert count is not None, f"{path} has no grid"
        return count * self._size(tuple(after), before)

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
        if path in self._above[path]:
            return f"its conditions go round in a circle: {' -> '.join(self._circle(path))}; remove one."
        return None

    def _formula_problem(self, path: str) -> str | None:
        """What is wrong with the names of an expression."""
        for value in self.root[path].choices:
            if path == "epochs" and isinstance(value, Formula):
                return "epochs is an expression, but schedulers must know how long a trial can be; give numbers."
            for name in parse_term(value).names if isinstance(value, Formula) else ():
                if problem := _path_problem(name):
                    return f"its expression: {problem}"
                if name == path or any(isinstance(other, Formula) for other in self._choices_of(name)):
                    return (
                        f'its expression names "{name}", which is an expression itself; name what that one is made of.'
                    )
        return None

    def _choices_of(self, path: str) -> tuple[Scalar, ...]:
        return self.root[path].choices if path in self.root else ()

    @cached_property
    def _above(self) -> dict[str, frozenset[str]]:
        """By path, the paths that it depends on, however far up."""
        found: dict[str, frozenset[str]] = {}
        for path in self.root:
            above: set[str] = set()
            waiting = [path]
            while waiting:
                parents = {self._named(other) for other in self.root[waiting.pop()].when} & self.root.keys()
                waiting += parents - above
                above |= parents
            found[path] = frozenset(above)
        return found

    @cached_property
    def _conditions_on(self) -> dict[str, list[tuple[str, tuple[Scalar, ...]]]]:
        """By path, what depends on it: (other path, the values under which that is set)."""
        found: dict[str, list[tuple[str, tuple[Scalar, ...]]]] = {}
        for path, domain in self.root.items():
            for other, allowed in domain.when.items():
                found.setdefault(self._named(other), []).append((path, allowed))
        return found

    def _alike(self, path: str) -> list[list[Scalar]]:
        """The choices of a path, together where no condition tells them apart."""
        found: dict[tuple[bool, ...], list[Scalar]] = {}
        for value in self.root[path].choices:
            sides = (_among(value, allowed) for _, allowed in self._conditions_on.get(path, ()))
            found.setdefault(tuple(sides), []).append(value)
        return list(found.values())

    def _circle(self, path: str) -> list[str]:
        circle = [path]
        while len(circle) == 1 or circle[-1] != path:
            parents = [self._named(other) for other in self.root[circle[-1]].when]
            circle.append(next(p for p in parents if p == path or (path in self._above[p] and p not in circle)))
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
            trial_at(base, values)
        except ConfigError as error:
            return str(error)
        return None

    def _corner(self, varied: Mapping[str, Scalar]) -> dict[str, Scalar] | None:
        """Every path that is set where these have their values, conditions met, and the others their first values.

        None where the values exclude each other.
        """
        set_at_all = set(varied).union(*(self._above[path] for path in varied))
        forced = {}
        for path in set_at_all:
            sides = [allowed for other, allowed in self._conditions_on.get(path, ()) if other in set_at_all]
            values = (varied[path],) if path in varied else self.root[path].extremes
            fitting = [value for value in values if all(_among(value, allowed) for allowed in sides)]
            if not fitting:
                return None
            forced[path] = fitting[0]
        found: dict[str, Scalar] = {}
        for path in self.order:
            if self.is_set(path, found):
                found[path] = forced[path] if path in forced else self.root[path].extremes[0]
        return found

    def with_each(self, base: TrialConfig) -> Iterator[tuple[str, Scalar, TrialConfig]]:
        """(path, value, a trial that has it) for each end and choice of each path; of a continuous range for its middle."""
        for path, domain in self.root.items():
            values = domain.extremes
            if domain.continuous:
                values = (sum(float(end or 0) for end in values) / 2,)
            for value in values:
                point = self._corner({path: value})
                if point is not None:
                    with suppress(ConfigError):
                        yield path, value, trial_at(base, point)

    def _hint(self, base: TrialConfig, path: str) -> str:
        """What to write instead where a range of floats was given for a whole number."""
        value = value_at(base.model_dump(), path)
        whole = self.root[path].whole
        return f" It takes whole numbers; use {whole}." if type(value) is int and whole else ""


def _among(value: Scalar, allowed: tuple[Scalar, ...]) -> bool:
    return any(same(value, one) for one in allowed)


def trial_at(base: TrialConfig, values: Mapping[str, Scalar]) -> TrialConfig:
    """``base`` with these values, formulas computed from them; ConfigError if they make no valid trial."""
    over: dict[str, Any] = {}
    formulas = {path: value for path, value in values.items() if isinstance(value, Formula)}
    for path in sorted(values.keys() - formulas.keys(), key=_depth):
        over = merge(over, nested(path, values[path]))
    if formulas:
        data = base.derive(over).model_dump()
        for path, text in formulas.items():
            over = merge(over, nested(path, _computed(path, text, data)))
    return base.derive(over)


def _computed(path: str, text: str, data: Mapping[str, Any]) -> float | int:
    """The value of a formula in a trial; ConfigError where it has none."""
    term = parse_term(text)
    try:
        value = term.value(values_of(data, {}, term.names))
    except ValueError as error:
        raise ConfigError(f'"{path}": expression {text!r}: {error}.') from None
    return int(value) if value.is_integer() and type(value_at(data, path)) is int else value


def _depth(path: str) -> int:
    """Sections and names come before what they hold, because a new name starts its section afresh."""
    return path.count(".") - path.endswith(".name")


def value_at(config: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; of a section with kinds, its name. None where there is none."""
    value: Any = config
    for part, rest in _steps(path):
        if not isinstance(value, Mapping):
            return None
        if rest in value:  # a name with dots, as a layer's
            value = value[rest]
            break
        value = value.get(part)
    return value.get("name") if isinstance(value, Mapping) else value


@functools.cache
def _steps(path: str) -> tuple[tuple[str, str], ...]:
    """Of each part of a path, itself and all that is left of the path there."""
    parts = path.split(".")
    return tuple((part, ".".join(parts[place:])) for place, part in enumerate(parts))


def _path_problem(path: str) -> str | None:
    names = field_names(TrialConfig)
    if path in _NOT_SEARCHED:
        return f'"{path}" cannot be searched: {_NOT_SEARCHED[path]}.'
    if path in names or types_at(TrialConfig, path.split(".")):
        return None
    hint = did_you_mean_path(path, names)
    return f'the trial configuration has no "{path}".{hint}'


def describe(space: Space) -> Iterator[tuple[str, str]]:
    """(path, domain in one line) for a dry run: ``("optimizer.lr", "loguniform [0.0001, 0.1]")``."""
    for path, domain in space.root.items():
        conditions = (f"{other} is {' or '.join(map(str, allowed))}" for other, allowed in domain.when.items())
        yield path, f"{domain} when {' and '.join(conditions)}" if domain.when else str(domain)
