"""Testing one idea after another, without end, at a stated false discovery rate: LORD++.

Letters: alpha the rate, w_0 the wealth to begin with, gamma_1 >= gamma_2 >= ... weights whose sum is 1, tau_j how many ideas
had begun when the j-th discovery was made. The t-th idea is a discovery where its p value is at most

    alpha_t = w_0 gamma_t + (alpha - w_0) gamma_(t - tau_1) + alpha (gamma_(t - tau_2) + gamma_(t - tau_3) + ...):

each discovery earns the levels of later ideas. Ramdas, Yang, Wainwright & Jordan 2017, "Online control of the false discovery
rate with decaying memory" (arXiv:1710.00499). An idea that is looked at again keeps the level that it began with, and what
is discovered later counts for the ideas that begin afterwards (Zrnic, Ramdas & Jordan 2021, arXiv:1812.05068).

The expected share of false discoveries is at most alpha where the p values of true nulls are independent of each other; ideas
that share a baseline are not, so ``benchmarks/calibration.py`` simulates just these. Proof: ``tests/stats/test_online.py``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from fsg.stats.paired import Vector, check_confidence

IdeaT = TypeVar("IdeaT", bound=Hashable)
FALSE_DISCOVERY_RATE = 0.05
# gamma_t ~ t^-1.6, as SAFFRON's paper has it: for tens of ideas, where log(t) / (t exp(sqrt(log t))) is for thousands.
_DECAY = 1.6
_NORM = 2.2857657  # zeta(1.6), rounded up


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an idea stands. ``number`` counts ideas from 1, ``level`` is the p that a discovery may have at most.

    ``p`` is that of its last look, ``discovered`` the look, counted from 1, at which it was a discovery first; None: at none.
    """

    number: int
    level: float
    p: float
    looks: int
    discovered: int | None


def weights(t: Sequence[int] | np.ndarray) -> Vector:
    """gamma_t, shape of ``t`` (k,), for whole t; 0 for t < 1."""
    t = np.asarray(t, dtype=np.float64)
    found: Vector = np.where(t >= 1, np.maximum(t, 1) ** -_DECAY / _NORM, 0.0)
    return found


def next_level(begun: int, discoveries: Sequence[int], rate: float = FALSE_DISCOVERY_RATE) -> float:
    """The level of the next idea, after ``begun`` of them; ``discoveries``: tau_1 <= tau_2 <= ..., each at most ``begun``.

    w_0 is half of ``rate``: the rest is earned by the first discovery. ValueError for a rate that is none.
    """
    wealth = check_confidence(rate) / 2
    t = begun + 1
    level = wealth * float(weights([t])[0])
    if len(discoveries):
        earned = weights(t - np.asarray(discoveries))
        level += float((rate - wealth) * earned[0] + rate * earned[1:].sum())
    return level


def replay(looks: Iterable[tuple[IdeaT, float]], rate: float = FALSE_DISCOVERY_RATE) -> dict[IdeaT, Standing]:
    """Every idea of a history of looks (idea, p), by the order in which they began.

    A p must hold at every look of its idea together (``fsg.stats.sequential``), for each look is one more chance.
    """
    found: dict[IdeaT, Standing] = {}
    discoveries: list[int] = []
    for idea, p in looks:
        if idea not in found:
            found[idea] = Standing(len(found) + 1, next_level(len(found), discoveries, rate), p, 0, None)
        seen = replace(found[idea], p=p, looks=found[idea].looks + 1)
        if seen.discovered is None and p <= seen.level:
            seen = replace(seen, discovered=seen.looks)
            discoveries.append(len(found))
        found[idea] = seen
    return found
