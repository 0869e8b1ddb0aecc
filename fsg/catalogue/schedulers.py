"""Rules that stop trials early or let them change: what a sweep's ``scheduler`` may be.

A population is as many trials as ``search.trials``. Every ``perturb_epochs`` all of them wait for the last; then the worst
``quantile`` go on from a copy of one of the best, weights and configuration, with changed values. Waiting makes the schedule
follow from the seed and the results alone, whatever trial came first.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fsg.parts import register
from fsg.section import Section, Share


class Asha(Section):
    """Asynchronous successive halving: the best 1/``reduction_factor`` go on, from ``grace_epochs`` on.

    Args:
        grace_epochs: Epochs that every trial has before one is stopped.
        reduction_factor: One in so many goes on at each decision; the epochs to the next grow by it.
    """

    name: Literal["asha"] = "asha"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=64)] = 3


class Hyperband(Section):
    """Asynchronous Hyperband: ASHA in several brackets, each with a later first decision than the one before.

    Args:
        grace_epochs: Epochs that every trial has before one is stopped.
        reduction_factor: One in so many goes on at each decision; the epochs to the next grow by it.
    """

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=64)] = 3


class Median(Section):
    """Stop what is worse than the median of others at that epoch.

    Args:
        grace_epochs: Epochs that every trial has before one is stopped.
        min_trials: The fewest others to compare with.
    """

    name: Literal["median"] = "median"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    min_trials: Annotated[int, Field(ge=2)] = 4


class PopulationSection(Section):
    """What every population has.

    Args:
        perturb_epochs: Epochs from one exchange to the next.
        quantile: Share of the population that goes on from a copy of one of the best.
    """

    perturb_epochs: Annotated[int, Field(ge=1)] = 3
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25


class Pbt(PopulationSection):
    """Values are multiplied by 1.2 or 0.8, or drawn anew (arXiv:1711.09846).

    Args:
        resample: How often a value is drawn anew, as a probability.
    """

    name: Literal["pbt"] = "pbt"
    resample: Share = 0.25


class Pb2(PopulationSection):
    """Values are where a Gaussian process that forgets expects the most (arXiv:2002.02518)."""

    name: Literal["pb2"] = "pb2"


class NoScheduler(Section):
    """Every trial runs to its end."""

    name: Literal["none"] = "none"


SchedulerConfig = Asha | Hyperband | Median | Pbt | Pb2 | NoScheduler

register("scheduler", Asha, "fsg.search.decisions:halving")
register("scheduler", Hyperband, "fsg.search.decisions:brackets")
register("scheduler", Median, "fsg.search.decisions:median_rule")
register("scheduler", Pbt, "fsg.search.populations:perturb", population=True)
register("scheduler", Pb2, "fsg.search.bandit:upper_confidence", population=True, ranges=True)
register("scheduler", NoScheduler, "fsg.search.decisions:never", stops=False)
