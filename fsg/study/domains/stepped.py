"""Ranges in steps: ``quniform: [low, high, q]``, and whole numbers by ``randint`` and ``lograndint``: [low, high].

However many values there are, none is laid out: they are counted, and found by their number.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar, Self

from fsg.study.domains.base import Conditions, Scalar, register
from fsg.study.domains.bounded import Range

if TYPE_CHECKING:
    from optuna.distributions import FloatDistribution, IntDistribution

LARGEST_WHOLE = 2**53  # Optuna remembers whole numbers as floats, which skip some beyond it
ROUNDING = 4e-16  # of the larger end: what adding and dividing lose
JUST = 1e-6  # of a step
COARSE = 2e-6  # of the larger end: smaller steps are a range to Optuna, which takes 1e-8 of a step for another value


@register
@dataclass(frozen=True)
class QUniform(Range):
    """``low``, ``low + q``, ... up to ``high``."""

    kind = "quniform"
    whole = "randint"
    written: ClassVar[tuple[str, ...]] = ("low", "high", "q")

    q: float

    @classmethod
    def parse(cls, arguments: Any, when: Conditions) -> Self:
        """The range of [low, high, q], whose steps meet ``high``."""
        domain = super().parse(arguments, when)
        low, high, q = domain.low, domain.high, domain.q
        if not 0 < q <= high - low:
            raise ValueError(f"quniform: q is {q!r}; the step must be above 0 and at most high - low = {high - low!r}.")
        if domain._slack > 1e-3:
            raise ValueError(
                f"quniform: q is {q!r}, and floats of this size cannot tell such steps apart; use uniform."
            )
        if not domain._on_step(high):
            raise ValueError(f"quniform: {q!r} steps from {low!r} never reach {high!r}; choose high = low + n q.")
        return domain

    @property
    def count(self) -> int:
        """The steps and one."""
        return self._number(self.high) + 1

    def grid(self) -> Iterator[float]:
        """From ``low`` to ``high``."""
        return map(self.nth, range(self.count))

    def nth(self, number: int) -> float:
        """``low + number * q``, and of 0.30000000000000004 what was meant."""
        value = self.low + number * self.q
        short = float(f"{value:.12g}")
        return super().clipped(short if abs(short - value) <= max(self._noise, 1e-9 * self.q) else value)

    def holds(self, value: Any) -> bool:
        """Any number on a step."""
        return super().holds(value) and self._on_step(value)

    def draw(self, rng: random.Random) -> float:
        """A step, all alike."""
        return self.nth(rng.randrange(self.count))

    def clipped(self, value: float) -> float:
        """The nearest step."""
        return self.nth(self._number(super().clipped(value)))

    def perturb(self, value: Any, factor: float) -> float:
        """The step nearest to the value times ``factor``, of those that lie that way; itself where none does."""
        moved, here = super().clipped(value * factor), self._number(value)
        if moved == value:
            return self.nth(here)
        number, onward = self._number(moved), 1 if moved > value else -1
        if (number - here) * onward <= 0:  # 0.8 and 1.2 times a value on coarse steps round to it again
            number = min(max(here + onward, 0), self.count - 1)
        return self.nth(number)

    def to_optuna(self) -> FloatDistribution:
        """A float in steps; where they are too fine for Optuna, or its decimals never meet ``high``, one without."""
        from optuna.distributions import FloatDistribution  # searching needs it, checking does not

        return FloatDistribution(self.low, self.high, step=self.q if self._as_steps else None)

    def from_optuna(self, value: float) -> float:
        """The step nearest to what Optuna proposes where it knows of none."""
        return value if self._as_steps else self.clipped(value)

    @property
    def _as_steps(self) -> bool:
        low, high, q = (Decimal(str(number)) for number in (self.low, self.high, self.q))
        return self.q >= COARSE * max(abs(self.low), abs(self.high)) and (high - low) % q == 0

    @property
    def _noise(self) -> float:
        """By how much floating point may miss a value."""
        return ROUNDING * max(abs(self.low), abs(self.high))

    @property
    def _slack(self) -> float:
        """By how much of a step a value may miss it and count as on it."""
        return JUST + self._noise / self.q

    def _number(self, value: float) -> int:
        """Of the nearest step."""
        return round((value - self.low) / self.q)

    def _on_step(self, value: float) -> bool:
        return abs((value - self.low) / self.q - self._number(value)) < self._slack


class _Whole(Range):
    """Whole numbers from ``low`` to ``high``."""

    numbers: ClassVar[Any] = int

    low: int
    high: int

    def perturb(self, value: Any, factor: float) -> int:
        """The number nearest to ``factor`` times the value, of those that lie that way; itself where none does."""
        moved = super().clipped(value * factor)
        onward = (moved > value) - (moved < value)
        nearest = round(moved)
        if onward and (nearest - value) * onward <= 0:  # rounded, 0.8 and 1.2 times 1 or 2 are 1 and 2 again
            nearest = value + onward
        return int(min(max(nearest, self.low), self.high))

    @classmethod
    def check_number(cls, name: str, value: Any) -> None:
        """ValueError for what is no whole number, or one that a search could not remember."""
        super().check_number(name, value)
        if not isinstance(value, int):
            raise ValueError(f"{cls.kind}: {name} is {value!r}, expected a whole number.")
        if abs(value) > LARGEST_WHOLE:
            raise ValueError(
                f"{cls.kind}: {name} is {value!r}; a search remembers every whole number up to {LARGEST_WHOLE} (2**53) only."
            )

    @property
    def extremes(self) -> tuple[Scalar, ...]:
        """Both ends."""
        return self.low, self.high

    @property
    def count(self) -> int:
        """All of them."""
        return self.high - self.low + 1

    def grid(self) -> Iterator[int]:
        """From ``low`` to ``high``."""
        return iter(range(self.low, self.high + 1))

    def holds(self, value: Any) -> bool:
        """Any whole number between the ends; 3.0 is one, as a path that takes fractions has it."""
        return super().holds(value) and value == int(value)

    def clipped(self, value: float) -> int:
        """The nearest whole number between the ends."""
        return round(super().clipped(value))


@register
class RandInt(_Whole):
    """Whole numbers from ``low`` to ``high``, all alike."""

    kind = "randint"

    def draw(self, rng: random.Random) -> int:
        """One of them."""
        return rng.randrange(self.low, self.high + 1)

    def to_optuna(self) -> IntDistribution:
        """A whole number."""
        from optuna.distributions import IntDistribution  # searching needs it, checking does not

        return IntDistribution(self.low, self.high)


@register
class LogRandInt(_Whole):
    """Whole numbers from ``low`` to ``high``, each decade alike."""

    kind = "lograndint"
    logarithmic = True

    def draw(self, rng: random.Random) -> int:
        """One of them, near a number whose logarithm is drawn evenly."""
        return self.clipped(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))

    def to_optuna(self) -> IntDistribution:
        """A whole number on a logarithmic scale."""
        from optuna.distributions import IntDistribution  # searching needs it, checking does not

        return IntDistribution(self.low, self.high, log=True)
