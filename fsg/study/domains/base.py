"""A domain: the values that one path of a trial's configuration may take, and all that is ever asked about them.

A kind of domain is one class, marked ``@register``, in a module of this package. Nothing outside that module knows it: a new
kind is one new file here. Proof: ``tests/study/test_domains.py``.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from fsg.plugins import same_file

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Scalar = str | int | float | bool | None
Conditions = Mapping[str, tuple[Scalar, ...]]


@dataclass(frozen=True)
class Domain(ABC):
    """The values of one path.

    ``when``: for each other path, the values under which this one is set at all; all must hold.

    Class attributes: ``kind`` is the name in a study's file. ``searched``: a sampler draws it. ``continuous``: a range
    without steps, every place from 0 to 1 being a value. ``logarithmic``: drawn and plotted by its logarithm.
    ``whole``: the kind to use instead for a path that takes whole numbers. ``numbers``: the type of its arguments as numbers;
    None where they are values of the path.
    """

    kind: ClassVar[str]
    searched: ClassVar[bool] = True
    continuous: ClassVar[bool] = False
    logarithmic: ClassVar[bool] = False
    whole: ClassVar[str | None] = None
    numbers: ClassVar[Any] = None

    when: Conditions = field(default_factory=dict, kw_only=True)

    @classmethod
    @abstractmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The domain that a study writes as ``kind: arguments``; ValueError says what is wrong with it."""

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """What a file may hold after ``kind:``, as JSON Schema; anything where the class does not say."""
        return {}

    @property
    @abstractmethod
    def arguments(self) -> Any:
        """What ``parse`` read, as plain data."""

    @property
    @abstractmethod
    def extremes(self) -> tuple[Scalar, ...]:
        """The values that a field must accept for the whole domain to fit: both ends, or every choice."""

    @abstractmethod
    def holds(self, value: Any) -> bool:
        """Whether ``value`` belongs to the domain."""

    @abstractmethod
    def draw(self, rng: random.Random) -> Scalar:
        """A value drawn evenly (on its scale)."""

    @abstractmethod
    def encode(self, value: Any) -> float:
        """The place of a value: from 0 to 1 in a range, its index among choices."""

    @abstractmethod
    def decode(self, place: float) -> Any:
        """The value nearest to a place, be it outside the domain."""

    @abstractmethod
    def to_optuna(self) -> BaseDistribution:
        """Optuna's distribution over the values. It imports Optuna itself: a study is checked without it, in half the time."""

    def from_optuna(self, value: Any) -> Any:
        """The value of this domain that Optuna proposes as ``value``: another one where its distribution is coarser."""
        return value

    def perturb(self, value: Any, factor: float) -> Any:
        """``value`` times ``factor`` within the domain; itself where values have no size."""
        return value

    @property
    def choices(self) -> tuple[Scalar, ...]:
        """The values where they have no order; empty for a range."""
        return ()

    @property
    def count(self) -> int | None:
        """How many values there are; None for a range without steps. Never found by laying them out."""
        return len(self.choices) or None

    def grid(self) -> Iterator[Scalar]:
        """Every value, one after the other; only for a domain with a ``count``."""
        return iter(self.choices)

    def as_written(self) -> Any:
        """The domain as a YAML has it."""
        written: dict[str, Any] = {self.kind: self.arguments}
        if self.when:
            written["when"] = {path: list(v) if len(v) != 1 else v[0] for path, v in self.when.items()}
        return written

    def __str__(self) -> str:
        return f"{self.kind} {self.arguments}"


KINDS: dict[str, type[Domain]] = {}

_Kind = TypeVar("_Kind", bound=type[Domain])


def register(kind: _Kind) -> _Kind:
    """Make a class of domains one that studies can name; a plug-in that was edited replaces its own."""
    if kind.kind in KINDS and not same_file(KINDS[kind.kind].__module__, kind.__module__):
        raise ValueError(
            f'two kinds of domains are named "{kind.kind}": {KINDS[kind.kind].__module__}, {kind.__module__}.'
        )
    KINDS[kind.kind] = kind
    return kind


def same(one: Any, other: Any) -> bool:
    """Equal as values of a configuration: 1 and 1.0 are, 1 and true are not."""
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number that a float can hold; true and false are none."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # a whole number beyond a float's range
        return False


def is_scalar(value: Any) -> bool:
    """Whether ``value`` is one value of a configuration: text, a finite number, true, false or null."""
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
