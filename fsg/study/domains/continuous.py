"""Ranges without steps: ``uniform: [low, high]`` and ``loguniform: [low, high]``."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from fsg.study.domains.base import register
from fsg.study.domains.bounded import Range

if TYPE_CHECKING:
    from optuna.distributions import FloatDistribution


@register
class Uniform(Range):
    """Every number from ``low`` to ``high``."""

    kind = "uniform"
    continuous = True
    whole = "randint"

    def draw(self, rng: random.Random) -> float:
        """A number, all alike."""
        return rng.uniform(self.low, self.high)

    def to_optuna(self) -> FloatDistribution:
        """A float without steps."""
        from optuna.distributions import FloatDistribution  # searching needs it, checking does not

        return FloatDistribution(self.low, self.high)


@register
class LogUniform(Range):
    """Every number from ``low`` to ``high``, each decade alike."""

    kind = "loguniform"
    continuous = True
    logarithmic = True
    whole = "lograndint"

    def draw(self, rng: random.Random) -> float:
        """A number whose logarithm is drawn evenly."""
        return min(max(math.exp(rng.uniform(math.log(self.low), math.log(self.high))), self.low), self.high)

    def to_optuna(self) -> FloatDistribution:
        """A float on a logarithmic scale."""
        from optuna.distributions import FloatDistribution  # searching needs it, checking does not

        return FloatDistribution(self.low, self.high, log=True)
