"""Seeds of a configuration: which is run next, and when the rest are not worth running. Pure functions of results.

A configuration is hopeless when the paired interval of its difference from the best one, over the seeds both have, lies
wholly on the worse side. The spread of a paired difference is pooled over all configurations with two seeds or more, so
that even one seed can decide once that is known. Several looks at 95 % are more than one: a lost tie costs little here.
Proof: ``tests/search/test_racing.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

Values = Mapping[int, float]  # by seed, larger is better


def best_of(configurations: Iterable[Values], seeds: Sequence[int]) -> Values | None:
    """The configuration with the best mean among those with a value for every seed; None without any."""
    whole = [values for values in configurations if all(seed in values for seed in seeds)]
    return max(whole, key=lambda values: sum(values[seed] for seed in seeds), default=None)


def spread(configurations: Iterable[Values], best: Values) -> tuple[float, int]:
    """Standard deviation of a paired difference from ``best``, pooled, and its degrees of freedom."""
    squares, freedom = 0.0, 0
    for values in configurations:
        differences = _paired(values, best)
        if values == best or len(differences) < 2:
            continue
        middle = sum(differences) / len(differences)
        squares += sum((d - middle) ** 2 for d in differences)
        freedom += len(differences) - 1
    return (math.sqrt(squares / freedom) if freedom else math.inf), freedom


def hopeless(values: Values, configurations: Sequence[Values], seeds: Sequence[int], interval: float = 0.95) -> bool:
    """Whether a configuration with ``values`` so far is worse than the best of all, as far as the interval can say."""
    best = best_of(configurations, seeds)
    if best is None or best == values:
        return False
    differences = _paired(values, best)
    deviation, freedom = spread(configurations, best)
    if not differences or not freedom:
        return False
    from scipy.stats import t

    half = float(t.ppf((1 + interval) / 2, freedom)) * deviation / math.sqrt(len(differences))
    return sum(differences) / len(differences) + half < 0


def next_seed(values: Values, configurations: Sequence[Values], seeds: Sequence[int]) -> int | None:
    """The seed to run next; None where all have been run, or the rest would change nothing."""
    left = [seed for seed in seeds if seed not in values]
    return left[0] if left and not hopeless(values, configurations, seeds) else None


def _paired(values: Values, best: Values) -> list[float]:
    return [values[seed] - best[seed] for seed in values if seed in best]
