"""The builders of samplers: each makes an Optuna sampler for a space, (section, space, seed, epochs of the longest trial).

Proof: ``tests/search/test_proposals.py``.
"""

from __future__ import annotations

import warnings

import optuna
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler

from fsg.parts import find_part, part_of
from fsg.search.curve_sampler import CurveSampler
from fsg.section import Section
from fsg.study.space import Space


def make_sampler(sampler: Section | str, seed: int, space: Space, longest: int = 1) -> BaseSampler:
    """The sampler that a section names, or of that name with its defaults; of a grid a random one, which is never asked.

    ``longest``: epochs of the longest trial. Its package must be installed (``fsg.study.search.require``).
    """
    if isinstance(sampler, str):
        part = find_part("sampler", sampler)
        config = part.config.model_validate({"name": sampler}) if part.config else None
    else:
        part, config = part_of("sampler", sampler), sampler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: BaseSampler = part.make(config, space, seed, longest)
        return made


def curves(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """fsg's own, which learns from every epoch."""
    return CurveSampler(space, epochs, seed)


def tpe(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """Trials run side by side: the constant liar keeps TPE from proposing the neighbourhood of one that runs."""
    return TPESampler(seed=seed, multivariate=True, group=space.conditional, constant_liar=True)


def gp(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """A Gaussian process over finished trials."""
    return GPSampler(seed=seed, warn_independent_sampling=False)


def cmaes(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """An evolution strategy over numbers."""
    return CmaEsSampler(seed=seed, warn_independent_sampling=False)


def qmc(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """A scrambled Sobol sequence."""
    return QMCSampler(seed=seed, scramble=True, warn_independent_sampling=False)


def nsga2(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """A genetic algorithm, for several objectives."""
    return NSGAIISampler(seed=seed, population_size=20)


def at_random(config: Section, space: Space, seed: int, epochs: int) -> BaseSampler:
    """Every point by itself."""
    return RandomSampler(seed=seed)
