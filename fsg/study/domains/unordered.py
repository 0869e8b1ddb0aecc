"""Values without an order: ``choice: [a, b, ...]``, and ``fixed: a``, also written as the plain value."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from fsg.study.domains.base import Conditions, Domain, Scalar, is_scalar, register, same

if TYPE_CHECKING:
    from optuna.distributions import CategoricalDistribution


class Listed(Domain):
    """What domains of listed values share."""

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Every choice."""
        return self.choices

    def holds(self, value: Any) -> bool:
        """Whether it is one of the choices."""
        return any(same(value, choice) for choice in self.choices)

    def draw(self, rng: random.Random) -> Scalar:
        """One of the choices, all alike."""
        return rng.choice(self.choices)

    def encode(self, value: Any) -> float:
        """Its index."""
        return float(next(n for n, choice in enumerate(self.choices) if same(choice, value)))

    def decode(self, place: float) -> Scalar:
        """The choice of that index."""
        return self.choices[int(max(0.0, place))]

    def to_optuna(self) -> CategoricalDistribution:
        """A category for each choice."""
        from optuna.distributions import CategoricalDistribution  # searching needs it, checking does not

        return CategoricalDistribution(self.choices)


@register
@dataclass(frozen=True)
class Choice(Listed):
    """One of several values. No two are equal in Python: Optuna's memory of 1, true and 1.0 is the first of them."""

    kind = "choice"

    options: tuple[Scalar, ...]

    @classmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The choice of a list of values."""
        if not isinstance(arguments, list | tuple):
            raise ValueError(f"choice takes a list, found {arguments!r}.")
        if not arguments:
            raise ValueError("choice has no values; give at least one.")
        seen: dict[Scalar, Scalar] = {}
        for value in arguments:
            if not is_scalar(value):
                raise ValueError(f"choice holds {value!r}, expected a finite number, text, true, false or null.")
            if value in seen and type(value) is type(seen[value]):
                raise ValueError(f"choice holds {value!r} twice.")
            if value in seen:
                both = " and ".join(map(_as_yaml, (seen[value], value)))
                raise ValueError(f"choice holds {both}, which a search remembers as one value; keep one of them.")
            seen[value] = value
        return cls(tuple(arguments), when=when)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """A list of at least one value."""
        return {"type": "array", "minItems": 1}

    @property
    def arguments(self) -> list[Scalar]:
        """The values that were given."""
        return list(self.options)

    @property
    def choices(self) -> tuple[Scalar, ...]:
        """All of them."""
        return self.options


@register
@dataclass(frozen=True)
class Fixed(Listed):
    """One value, the same in every trial in which the path is set."""

    kind = "fixed"
    searched = False

    value: Scalar

    @classmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The value as it is written."""
        if not is_scalar(arguments):
            raise ValueError(f"fixed is {arguments!r}, expected one finite number, text, true, false or null.")
        return cls(arguments, when=when)

    @property
    def arguments(self) -> Scalar:
        """The value."""
        return self.value

    @property
    def choices(self) -> tuple[Scalar, ...]:
        """The value alone."""
        return (self.value,)

    def as_written(self) -> Any:
        """The plain value, unless it has a condition."""
        return super().as_written() if self.when else self.value

    def __str__(self) -> str:
        return repr(self.value)


def _as_yaml(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value)
