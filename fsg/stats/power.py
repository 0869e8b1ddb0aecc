"""How many paired seeds an effect needs, from a pilot; and what so many seeds could show at all.

Letters: effect = the true mean difference, sd = the standard deviation of the paired differences, both in the metric's
unit; n seeds. The paired t test has power P(|T| > t) for T noncentral t with n - 1 degrees of freedom and
noncentrality sqrt(n) effect / sd. Proof: ``tests/stats/test_power.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.typing import ArrayLike

from fsg.stats.paired import noncentral_t_tail, vector

MOST_SEEDS = 100_000


@dataclass(frozen=True, slots=True)
class Plan:
    """Seeds that a paired t test needs for an effect. None: more than 100,000.

    ``cautious`` takes the upper end of the pilot's one-sided 80 % interval of sd instead of sd itself: a small pilot
    guesses low half of the time, and then ``seeds`` is too few. ``exact_seeds`` is the least n at which the exact
    permutation test could reject at all.
    """

    effect: float
    sd: float
    sd_upper: float
    seeds: int | None
    cautious: int | None
    exact_seeds: int
    power: float
    alpha: float


def power(n: int, effect: float, sd: float, alpha: float = 0.05) -> float:
    """The chance that the two-sided paired t test of ``n`` >= 2 seeds rejects at ``alpha`` when the effect is true."""
    from scipy.special import stdtrit

    _check(effect, sd, alpha)
    if n < 2:
        raise ValueError(f"n is {n}; a paired t test needs at least 2 seeds.")
    shift, edge = math.sqrt(n) * abs(effect) / sd, float(stdtrit(n - 1, 1 - alpha / 2))
    return noncentral_t_tail(edge, n - 1, shift) + noncentral_t_tail(edge, n - 1, -shift)


def seeds_needed(effect: float, sd: float, goal: float = 0.8, alpha: float = 0.05) -> int | None:
    """The least n whose power is at least ``goal``; None beyond 100,000. For m arms under Holm, pass alpha / m."""
    _check(effect, sd, alpha)
    if not 0 < goal < 1:
        raise ValueError(f"goal is {goal}, expected a power between 0 and 1, such as 0.8.")
    if effect == 0:
        raise ValueError("effect is 0: no number of seeds can show it; ask for the smallest effect that would matter.")
    low, high = 1, 2
    while power(high, effect, sd, alpha) < goal:
        low, high = high, 2 * high
        if low >= MOST_SEEDS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, effect, sd, alpha) >= goal else (middle, high)
    return high


def detectable_effect(n: int, sd: float, goal: float = 0.8, alpha: float = 0.05) -> float:
    """The smallest effect that ``n`` seeds show with power ``goal``, in the unit of ``sd``."""
    from scipy.optimize import brentq

    if not alpha < goal < 1:
        raise ValueError(f"goal is {goal}, expected a power between alpha ({alpha}) and 1, such as 0.8.")
    high = sd
    while power(n, high, sd, alpha) < goal:
        high *= 2
    return float(brentq(lambda effect: power(n, effect, sd, alpha) - goal, 0, high, xtol=1e-9 * sd))


def exact_floor(n: int) -> float:
    """The least two-sided p of the exact sign-flip and signed-rank tests over ``n`` pairs: 2 / 2^n."""
    if n < 1:
        raise ValueError(f"n is {n}, expected at least 1 pair.")
    return min(1.0, 2.0 ** (1 - n))


def exact_seeds(alpha: float = 0.05) -> int:
    """The least n with ``exact_floor(n) <= alpha``: 6 for 0.05."""
    _check(0.0, 1.0, alpha)
    return next(n for n in range(1, 1100) if exact_floor(n) <= alpha)


def plan_from_pilot(pilot: ArrayLike, effect: float, goal: float = 0.8, alpha: float = 0.05) -> Plan:
    """Seeds needed for ``effect``, given a pilot's paired differences, shape (n,), n >= 2 and not all equal."""
    from scipy.special import chdtri

    d = vector(pilot, "pilot differences", least=2)
    sd = float(d.std(ddof=1))
    if sd <= 1e-13 * max(1.0, float(abs(d).max())):
        raise ValueError("pilot differences: all equal, so they say nothing of the spread; add seeds to the pilot.")
    upper = sd * math.sqrt((d.size - 1) / float(chdtri(d.size - 1, 0.8)))
    return Plan(
        effect=effect,
        sd=sd,
        sd_upper=upper,
        seeds=seeds_needed(effect, sd, goal, alpha),
        cautious=seeds_needed(effect, upper, goal, alpha),
        exact_seeds=exact_seeds(alpha),
        power=goal,
        alpha=alpha,
    )


def _check(effect: float, sd: float, alpha: float) -> None:
    if not (math.isfinite(effect) and sd > 0 and math.isfinite(sd)):
        raise ValueError(f"effect {effect} and sd {sd}: expected finite numbers, sd above 0.")
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha}, expected a number between 0 and 1, such as 0.05.")
