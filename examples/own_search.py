"""A sampler and a scheduler of one's own: a space gone through from its corners inwards, and a rule with a bar to clear.

In a sweep: plugins: [own_search.py], search: {sampler: {name: halton, scramble: true}, trials: 20},
scheduler: {name: bar, below: 60}.
"""

from typing import Literal

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler
from scipy.stats import qmc

from fsg import Section, register


class Halton(Section):
    """``scramble``: permute the digits of each base, which spreads many paths better."""

    name: Literal["halton"] = "halton"
    scramble: bool = True


@register("sampler", Halton, conditional=False, objectives=True)
def halton(config, space, seed, epochs):
    """An Optuna sampler; ``space.domains`` has the domain of each path, ``epochs`` is the length of the longest trial."""
    return HaltonSampler(space, np.random.default_rng(seed), config.scramble)


class HaltonSampler(BaseSampler):
    """The points of a Halton sequence, one path a base."""

    def __init__(self, space, rng, scramble):
        self.domains = space.domains
        self.sequence = qmc.Halton(len(self.domains), scramble=scramble, rng=rng)
        self.other = RandomSampler(seed=0)

    def infer_relative_search_space(self, study, trial):
        """All paths at once."""
        return {path: domain.to_optuna() for path, domain in self.domains.items()}

    def sample_relative(self, study, trial, search_space):
        """The next point. Of a range ``decode`` takes a place from 0 to 1, of choices an index."""
        places = self.sequence.random(1)[0]
        return {
            path: domain.decode(int(place * len(domain.choices)) if domain.choices else place)
            for (path, domain), place in zip(self.domains.items(), places, strict=True)
        }

    def sample_independent(self, study, trial, name, distribution):
        """Never asked for by a sweep without conditions; Optuna wants it."""
        return self.other.sample_independent(study, trial, name, distribution)


class Bar(Section):
    """``below``: the value under which a trial ends; ``at``: the epoch at which it is held against it."""

    name: Literal["bar"] = "bar"
    below: float = 50.0
    at: int = 1


@register("scheduler", Bar)
class BarRule:
    """Told every value of every trial, larger being better. It keeps nothing but what it is told."""

    def __init__(self, config, epochs, expected):
        self.config = config

    def stop(self, key, epoch, value):
        """Why the trial should end after this epoch; None: it goes on."""
        if epoch == self.config.at and value < self.config.below:
            return f"{value:g} at epoch {epoch}, below the bar of {self.config.below:g}"
        return None
