"""What every schedule must do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from fsg.testing.contract import Contract
from fsg.train.optim import rate_factor


class ScheduleContract(Contract):
    """Of a part of the kind ``schedule``. ``lengths``: of the trainings that it is tried in, in epochs."""

    kind = "schedule"
    lengths: ClassVar[Sequence[int]] = (1, 2, 7, 100)

    def make(self, epochs: int) -> list[float]:
        """The factor of each epoch, the warm-up among them."""
        section = self.make_trial(epochs=max(self.lengths)).schedule
        return [rate_factor(section, epoch, epochs) for epoch in range(epochs)]

    def test_factors_are_finite_numbers_from_zero_on(self) -> None:
        """In a training of any length."""
        for epochs in self.lengths:
            for epoch, factor in enumerate(self.make(epochs)):
                assert isinstance(factor, int | float) and math.isfinite(factor) and factor >= 0, (
                    f"the factor of epoch {epoch} of {epochs} is {factor!r}, expected a finite number from 0 on."
                )

    def test_some_epoch_learns(self) -> None:
        """A rate of zero throughout is no training."""
        for epochs in self.lengths:
            assert any(factor > 0 for factor in self.make(epochs)), f"in {epochs} epochs every factor is 0."

    def test_a_factor_depends_on_its_epoch_alone(self) -> None:
        """Not on which were asked before: a trial that goes on asks for the rest."""
        section = self.make_trial(epochs=max(self.lengths)).schedule
        for epochs in self.lengths:
            backwards = [rate_factor(section, epoch, epochs) for epoch in reversed(range(epochs))]
            assert backwards[::-1] == self.make(epochs), (
                f"asked backwards, the factors of {epochs} epochs are others: a schedule must keep nothing between its calls."
            )
