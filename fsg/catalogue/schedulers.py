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
    """Asynchronous successive halving: the best 1/``reduction_factor`` go on, from ``grace_epochs`` on."""

    name: Literal["asha"] = "asha"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=64)] = 3


class Hyperband(Section):
    """Asynchronous Hyperband: ASHA in several brackets, each with a later first decision than the one before."""

    name: Literal["hyperband"] = "hyperband"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    reduction_factor: Annotated[int, Field(ge=2, le=64)] = 3


class Median(Section):
    """Stop what is worse, after ``grace_epochs``, than the median of at least ``min_trials`` others at that epoch."""

    name: Literal["median"] = "median"
    grace_epochs: Annotated[int, Field(ge=1)] = 1
    min_trials: Annotated[int, Field(ge=2)] = 4


class PopulationSection(Section):
    """What every population has."""

    perturb_epochs: Annotated[int, Field(ge=1)] = 3
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25


class Pbt(PopulationSection):
    """Values are multiplied by 1.2 or 0.8, or, with the probability ``resample``, drawn anew (arXiv:1711.09846)."""

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
