"""A search domain of one's own: powers of two.

    plugins: [own_domain.py]
    space: {model.width: {powers_of_two: [8, 64]}}

A domain's values have places from 0 to 1, by which samplers move among them.
"""

import math
from dataclasses import dataclass

from fsg.study.domains import Domain, register


@register
@dataclass(frozen=True)
class PowersOfTwo(Domain):
    """From ``low`` to ``high``, which are powers of two themselves."""

    kind = "powers_of_two"
    logarithmic = True
    numbers = int

    low: int
    high: int

    @classmethod
    def parse(cls, arguments, when):
        """The domain of [low, high]; ValueError says what is wrong."""
        if not (isinstance(arguments, list | tuple) and len(arguments) == 2 and all(map(_is_power, arguments))):
            raise ValueError(f"powers_of_two is {arguments!r}, expected two powers of two, as in [8, 64].")
        low, high = arguments
        if low >= high:
            raise ValueError(f"powers_of_two: low is {low} and high is {high}; low must be below high.")
        return cls(low, high, when=when)

    @property
    def arguments(self):
        """What ``parse`` read."""
        return [self.low, self.high]

    @property
    def extremes(self):
        """Both ends."""
        return self.low, self.high

    @property
    def count(self):
        """How many there are."""
        return (self.high // self.low).bit_length()

    def grid(self):
        """Each of them."""
        return (self.low << step for step in range(self.count))

    def holds(self, value):
        """Whether it is one of them."""
        return _is_power(value) and self.low <= value <= self.high

    def draw(self, rng):
        """One of them, all alike."""
        return self.low << rng.randrange(self.count)

    def encode(self, value):
        """Its place: 0 is ``low``, 1 is ``high``."""
        return math.log2(value / self.low) / (self.count - 1)

    def decode(self, place):
        """The one nearest to a place."""
        return self.low << min(max(round(place * (self.count - 1)), 0), self.count - 1)

    def perturb(self, value, factor):
        """The next one up or down: 0.8 and 1.2 times a power of two are none."""
        return min(max(value * 2 if factor > 1 else value // 2, self.low), self.high)

    def to_optuna(self):
        """Optuna searches whole numbers by their logarithm; a power is told to it as itself."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=True)

    def from_optuna(self, value):
        """The power nearest to what Optuna proposes."""
        return self.decode(self.encode(value))


def _is_power(value):
    return isinstance(value, int) and not isinstance(value, bool) and value > 0 and value & (value - 1) == 0
