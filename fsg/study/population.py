"""Population based training, as a sweep's file asks for it; and what it cannot be.

A population is as many trials as ``search.trials``. Every ``perturb_epochs`` all of them wait for the last; then the worst
``quantile`` go on from a copy of one of the best, weights and configuration, with changed values. Waiting makes the schedule
follow from the seed and the results alone, whatever trial came first. Proof: ``tests/study/test_population_spec.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from fsg.config import CHANGEABLE
from fsg.nearest import did_you_mean_path
from fsg.section import Section
from fsg.study.domains import KINDS
from fsg.yaml_source import Location

if TYPE_CHECKING:
    from fsg.study.spec import SweepSpec


class _Population(Section):
    perturb_epochs: Annotated[int, Field(ge=1)] = 3
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25


class Pbt(_Population):
    """Values are multiplied by 1.2 or 0.8, or, with the probability ``resample``, drawn anew (arXiv:1711.09846)."""

    name: Literal["pbt"] = "pbt"
    resample: Annotated[float, Field(ge=0, le=1)] = 0.25


class Pb2(_Population):
    """Values are where a Gaussian process that forgets expects the most (arXiv:2002.02518)."""

    name: Literal["pb2"] = "pb2"


def is_population(spec: SweepSpec) -> bool:
    """Whether trials of this sweep change their configuration while they train."""
    return isinstance(spec.scheduler, _Population)


def population_problems(spec: SweepSpec) -> Iterator[tuple[Location, str]]:
    """(place, reason) of all that a population cannot do."""
    scheduler = spec.scheduler
    if not isinstance(scheduler, _Population):
        return
    name = scheduler.name
    if spec.search.trials < 2:
        yield ("search", "trials"), f'"search.trials" is {spec.search.trials}; {name} needs a population of at least 2.'
    if spec.seeds_per_config > 1:
        message = (
            f'"seeds_per_config" is {spec.seeds_per_config}, but under {name} a configuration changes while it trains'
        )
        yield ("seeds_per_config",), f"{message}; leave it out, and give the winner fresh seeds in a study of its own."
    if scheduler.perturb_epochs >= spec.base.epochs:
        message = f"is {scheduler.perturb_epochs}, but trials have {spec.base.epochs} epochs, so nothing would change"
        yield ("scheduler", "perturb_epochs"), f'"scheduler.perturb_epochs" {message}; use fewer.'
    if getattr(spec.base.gradient, "update", "mix") == "reference":
        yield ("base", "gradient"), f"gradient.update: reference keeps its first values; {name} cannot change them."
    for path, domain in spec.space.domains.items():
        place: Location = ("space", path)
        if path not in CHANGEABLE:
            hint = did_you_mean_path(path, CHANGEABLE)
            message = f'"{path}" cannot change while a trial trains, as {name} asks; fix it.'
            yield place, f"{message}{hint} Allowed: {', '.join(CHANGEABLE)}."
        elif domain.when:
            yield place, f'"{path}" has a condition, but {name} changes all of its paths in every trial; remove it.'
        elif name == "pb2" and not domain.continuous:
            modelled = " and ".join(kind.kind for kind in KINDS.values() if kind.continuous)
            yield place, f'"{path}" is a {domain.kind}; pb2 models {modelled} alone. Use pbt, or a range.'
