"""When a trial stops early: results in, decision out. No Ray, no clock, no randomness.

A rule is told every value of every trial, larger being better, and says why the trial should stop, or None. What it has
been told is all it knows, so telling it an earlier run's results restores it. A halving may be given a model to ask what trials
will be worth at their last epoch (what that saves: ``benchmarks/search.py``). Proof: ``tests/ray_engine/test_schedulers.py``.

Asynchronous successive halving: Li et al., arXiv:1810.05934, the stopping variant: a trial goes on from a rung if it is
among the best 1/factor of those that have come there, itself included; the first factor - 1 always do. (Ray's rule, by
a percentile of the others, stops the second trial at a rung whenever it is worse than the first.) Hyperband:
arXiv:1603.06560. Median stopping: Golovin et al., 2017, "Google Vizier".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mean, median
from typing import Protocol

from fsg.catalogue.schedulers import Asha, Hyperband, Median, NoScheduler

# (epoch, value there by key) -> what each of these trials is expected to end at; None while nobody can tell.
Expected = Callable[[int, Mapping[str, float]], Mapping[str, float] | None]


class Rule(Protocol):
    """Decides on a trial by its key."""

    def stop(self, key: str, epoch: int, value: float) -> str | None:
        """Why the trial ``key``, which reached ``value`` after ``epoch``, should stop; None if it should go on."""


class Never:
    """Every trial runs to its end."""

    def stop(self, key: str, epoch: int, value: float) -> str | None:
        """Never."""
        return None


class Halving:
    """The best 1/``factor`` go on from each of the epochs ``grace``, ``grace * factor``, ... below ``longest``.

    Where ``expected`` can tell, a trial also goes on if it is among the best 1/``factor`` by what they are expected to end
    at: what learns slowly and ends well is kept. A model only ever saves a trial; it stops none that the values keep.
    """

    def __init__(self, grace: int, factor: int, longest: int, expected: Expected | None = None) -> None:
        self.factor, self.expected = factor, expected
        self.rungs: dict[int, dict[str, float]] = {}
        epoch = grace
        while epoch < longest:
            self.rungs[epoch] = {}
            epoch *= factor

    def stop(self, key: str, epoch: int, value: float) -> str | None:
        """Judged once at each rung, at the first value from there on, against those that came before."""
        for milestone in sorted(self.rungs, reverse=True):
            rung = self.rungs[milestone]
            if epoch < milestone or key in rung:
                continue
            rung[key] = value
            keep = len(rung) // self.factor
            if not keep or _place(key, rung) <= keep:
                return None
            ends = self.expected(epoch, rung) if self.expected else None
            if ends and _place(key, ends) <= keep:
                return None
            also = f", and {_place(key, ends)} by its expected end" if ends else ""
            return f"{_place(key, rung)} of {len(rung)} at epoch {milestone}{also}, where the best {keep} go on"
        return None


class Brackets:
    """Hyperband: several halvings, each of which decides for the first time one rung later than the one before.

    A trial belongs to a bracket by its key alone, so that a restart changes nothing. Brackets get trials in Hyperband's
    proportions; the last one lets all of its trials run to the end.
    """

    def __init__(self, grace: int, factor: int, longest: int, expected: Expected | None = None) -> None:
        starts = [*Halving(grace, factor, longest).rungs, longest]
        self.halvings = [Halving(start, factor, longest, expected) for start in starts]
        most = len(starts) - 1
        weights = [factor ** (most - b) / (most - b + 1) for b in range(most + 1)]
        self._ends = [sum(weights[: b + 1]) / sum(weights) for b in range(most + 1)]

    def bracket(self, key: str) -> int:
        """0 for the bracket that decides first."""
        place = int(key, 16) / 16 ** len(key)
        return next((b for b, end in enumerate(self._ends) if place < end), len(self._ends) - 1)

    def stop(self, key: str, epoch: int, value: float) -> str | None:
        """As its bracket decides."""
        bracket = self.bracket(key)
        reason = self.halvings[bracket].stop(key, epoch, value)
        return reason and f"bracket {bracket}: {reason}"


class MedianRule:
    """Stop a trial whose best value is below the median of the other trials' means up to the same epoch."""

    def __init__(self, grace: int, least: int) -> None:
        self.grace = grace
        self.least = least
        self.values: dict[str, dict[int, float]] = {}

    def stop(self, key: str, epoch: int, value: float) -> str | None:
        """Judged at every epoch from ``grace`` on, once ``least`` others have come as far."""
        own = self.values.setdefault(key, {})
        own[epoch] = value
        others = [
            _mean_until(epoch, seen) for other, seen in self.values.items() if other != key and max(seen) >= epoch
        ]
        if epoch < self.grace or len(others) < self.least:
            return None
        middle, best = median(others), max(own.values())
        return (
            f"best {best:g} below {middle:g}, the median of {len(others)} at epoch {epoch}" if best < middle else None
        )


# Their builders -------------------------------------------------------------------------------------------------------
def halving(config: Asha, epochs: int, expected: Expected) -> Rule:
    """Of a sweep whose longest trial has so many epochs."""
    return Halving(config.grace_epochs, config.reduction_factor, epochs, expected)


def brackets(config: Hyperband, epochs: int, expected: Expected) -> Rule:
    """Of a sweep whose longest trial has so many epochs."""
    return Brackets(config.grace_epochs, config.reduction_factor, epochs, expected)


def median_rule(config: Median, epochs: int, expected: Expected) -> Rule:
    """It asks nobody what to expect."""
    return MedianRule(config.grace_epochs, config.min_trials)


def never(config: NoScheduler, epochs: int, expected: Expected) -> Rule:
    """Of whatever sweep."""
    return Never()


def _place(key: str, values: Mapping[str, float]) -> int:
    """1 for the best; equal ones share the better place."""
    return 1 + sum(other > values[key] for other in values.values())


def _mean_until(epoch: int, values: Mapping[int, float]) -> float:
    return mean(value for at, value in values.items() if at <= epoch)
