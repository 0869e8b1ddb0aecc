"""What all ranges of numbers share: two ends, which belong to them, on a linear or a logarithmic scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from fsg.study.domains.base import Conditions, Domain, Scalar, is_number


@dataclass(frozen=True)
class Range(Domain):
    """From ``low`` to ``high``, both included. ``written``: the fields in the order in which a study lists them."""

    written: ClassVar[tuple[str, ...]] = ("low", "high")
    numbers: ClassVar[Any] = int | float

    low: float
    high: float

    @classmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The range of a list of numbers."""
        kind, names = cls.kind, cls.written
        if not isinstance(arguments, list | tuple):
            raise ValueError(f"{kind} takes a list, found {arguments!r}.")
        if len(arguments) != len(names):
            raise ValueError(f"{kind} takes [{', '.join(names)}], found {len(arguments)} values.")
        for name, value in zip(names, arguments, strict=True):
            cls.check_number(name, value)
        low, high = arguments[:2]
        if low >= high:
            raise ValueError(f"{kind}: low is {low!r} and high is {high!r}; low must be below high.")
        if cls.logarithmic and low <= 0:
            raise ValueError(f"{kind}: low is {low!r}; a logarithmic range starts above 0.")
        if not math.isfinite(high / low if cls.logarithmic else float(high) - float(low)):
            raise ValueError(f"{kind}: from {low!r} to {high!r} is more than a float can span; give a narrower range.")
        return cls(*arguments, when=when)

    @classmethod
    def check_number(cls, name: str, value: Any) -> None:
        """ValueError for an argument that cannot be; ``name`` is its field."""
        if not is_number(value):
            raise ValueError(f"{cls.kind}: {name} is {value!r}, expected a finite number.")

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A list of as many numbers as it has fields."""
        number = "integer" if cls.numbers is int else "number"
        return {"type": "array", "items": {"type": number}, "minItems": len(cls.written), "maxItems": len(cls.written)}

    @property
    def arguments(self) -> list[Scalar]:
        """The numbers that were given."""
        return [getattr(self, name) for name in self.written]

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Both ends."""
        return float(self.low), float(self.high)

    def holds(self, value: Any) -> bool:
        """Any number between the ends."""
        return is_number(value) and self.low <= value <= self.high

    def encode(self, value: Any) -> float:
        """How far from ``low`` to ``high`` it lies, from 0 to 1."""
        if self.logarithmic:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return float(value - self.low) / (self.high - self.low)

    def decode(self, place: float) -> Any:
        """The value so far from ``low`` to ``high``."""
        return self.clipped(self.scaled(place))

    def perturb(self, value: Any, factor: float) -> Any:
        """Times ``factor``, at most to the end."""
        return self.clipped(value * factor)

    def scaled(self, place: float) -> float:
        """The number at a place, be it in the domain or not."""
        low, high = self.low, self.high
        return low * (high / low) ** place if self.logarithmic else low + (high - low) * place

    def clipped(self, value: float) -> float:
        """The nearest number between the ends."""
        return min(max(float(value), float(self.low)), float(self.high))
