"""What a sweep of a population cannot be (``fsg/catalogue/schedulers.py`` says what a population is).

Proof: ``tests/study/test_population_spec.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fsg.catalogue.schedulers import PopulationSection
from fsg.config import CHANGEABLE
from fsg.nearest import did_you_mean_path
from fsg.parts import part_of
from fsg.study.domains import KINDS
from fsg.yaml_source import Location

if TYPE_CHECKING:
    from fsg.study.spec import SweepSpec


def is_population(spec: SweepSpec) -> bool:
    """Whether trials of this sweep change their configuration while they train."""
    return bool(part_of("scheduler", spec.scheduler).fact("population"))


def population_of(spec: SweepSpec) -> PopulationSection:
    """Its scheduler, typed."""
    assert isinstance(spec.scheduler, PopulationSection), "a sweep of a population"
    return spec.scheduler


def population_problems(spec: SweepSpec) -> Iterator[tuple[Location, str]]:
    """(place, reason) of all that a population cannot do."""
    if not is_population(spec):
        return
    scheduler, name = population_of(spec), spec.scheduler.name
    ranges = part_of("scheduler", scheduler).fact("ranges")
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
        elif ranges and not domain.continuous:
            modelled = " and ".join(kind.kind for kind in KINDS.values() if kind.continuous)
            yield place, f'"{path}" is a {domain.kind}; {name} models {modelled} alone. Use pbt, or a range.'
