"""Was that better? The answer that paired differences carry at any look, and how many more seeds would give one.

Letters: d the paired differences of an arm, n of them; ``better`` is +1 where more is better, -1 where less is; margin the
smallest effect of interest, None where none was named. Every p holds at all looks together (``fsg.stats.sequential``).
Proof: ``tests/stats/test_verdict.py``; error rates: ``benchmarks/calibration.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fsg.stats.paired import Vector, holm, is_constant, vector
from fsg.stats.sequential import LookRule

Answer = Literal["better", "worse", "equivalent", "not yet known"]
MOST_MORE = 200  # seeds that are looked ahead
_FUTURES = 4_000
LIKELY = 0.8


@dataclass(frozen=True, slots=True)
class Claims:
    """What may be said of one arm: the p of "it differs", and of "it differs by less than the margin" (1 without one).

    Both are corrected where ``claims`` says so. ``level``: what a p must not exceed.
    """

    p_differs: float
    p_equivalent: float
    level: float

    def answer(self, mean: float, better: int) -> Answer:
        """What may be said. Of a difference that is known to be smaller than the margin, only that it is: the margin's use."""
        if self.p_equivalent <= self.level:
            return "equivalent"
        if self.p_differs <= self.level:
            return "better" if mean * better > 0 else "worse"
        return "not yet known"


@dataclass(frozen=True, slots=True)
class MoreSeeds:
    """How many further paired seeds give an answer in half of the futures, and in LIKELY of them. None: over MOST_MORE.

    Of a plan that ends, None too where no more seeds are planned.
    """

    half: int | None
    likely: int | None


def p_equivalent(d: ArrayLike, margin: float | None, rule: LookRule) -> float:
    """The p of a mean outside (-margin, margin); 1 where the mean of ``d``, shape (n,), lies there, or without a margin."""
    d = vector(d, "paired differences", least=2)
    if margin is None or abs(d.mean()) >= margin:
        return 1.0
    return max(rule.p(d - margin), rule.p(d + margin))


def claims(
    differences: Mapping[str, ArrayLike], rule: LookRule, margin: float | None, level: float
) -> dict[str, Claims]:
    """The claims of every arm whose differences, shape (n,), have enough seeds and any spread.

    Each kind of claim is corrected by Holm over these arms: at every look at once, for each p holds at all of them.
    """
    judged = {arm: d for arm, given in differences.items() if can_judge(d := vector(given, arm, least=0), rule)}
    differs = holm([rule.p(d) for d in judged.values()]).tolist()
    equal = holm([p_equivalent(d, margin, rule) for d in judged.values()]).tolist()
    return {arm: Claims(p, same, level) for arm, p, same in zip(judged, differs, equal, strict=True)}


def can_judge(d: Vector, rule: LookRule) -> bool:
    """Whether differences have enough seeds, and any spread: that they are all equal is no certainty."""
    return d.size >= rule.first and not is_constant(d)


def more_seeds(d: ArrayLike, rule: LookRule, margin: float | None, level: float) -> MoreSeeds:
    """How many further seeds would give an answer at ``level``, looking after each.

    By 4,000 seeded futures: mean and spread as the differences ``d``, shape (n,), n >= 2 and not all equal, leave them
    possible (the posterior of a normal sample under the reference prior 1 / sigma^2), then seeds of these. A future is
    settled at the first look with an answer. Two seeds leave nearly everything possible, and the numbers say so.
    """
    d = vector(d, "paired differences", least=2)
    n, rng = d.size, np.random.default_rng(0)
    most = MOST_MORE if rule.last is None else min(MOST_MORE, rule.last - n)
    if most < 1:
        return MoreSeeds(None, None)
    sigma = float(d.std(ddof=1)) * np.sqrt((n - 1) / rng.chisquare(n - 1, (_FUTURES, 1)))
    mean = d.mean() + sigma / math.sqrt(n) * rng.standard_normal((_FUTURES, 1))
    seeds = mean + sigma * rng.standard_normal((_FUTURES, most)) - d.mean()  # centred, so that squares lose no digits
    looks = n + np.arange(1, most + 1)
    moved = seeds.cumsum(axis=1) / looks
    squares = ((d - d.mean()) ** 2).sum() + (seeds**2).cumsum(axis=1)
    error = np.sqrt(np.maximum(0.0, squares / looks - moved**2) / (looks - 1))
    means, half = np.abs(d.mean() + moved), rule.edge(looks, level) * error
    settled = means >= half
    if margin is not None:
        settled |= margin - means >= half
    share = np.maximum.accumulate(settled, axis=1).mean(axis=0)

    def until(wanted: float) -> int | None:
        return int(np.argmax(share >= wanted)) + 1 if share[-1] >= wanted else None

    return MoreSeeds(until(0.5), until(LIKELY))
