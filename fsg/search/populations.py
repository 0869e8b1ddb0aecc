"""What a population does when all of its members have come to the same epoch: results in, changes out. No Ray, no clock.

The worst members take over a copy of one of the best, weights and configuration (truncation selection), and change it
(explore). The rules are seeded by the epoch and see members in the order of their keys, so the same results give the same
schedule, in whatever order they came and however often the driver was restarted. PBT: Jaderberg et al., arXiv:1711.09846.
PB2: Parker-Holder et al., arXiv:2002.02518. Proof: ``tests/search/test_populations.py``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fsg.catalogue.schedulers import Pbt
from fsg.study.domains import Domain

Point = Mapping[str, Any]
Feasible = Callable[[Point], bool]
TRIES = 50  # changed points that may break a constraint, before a member keeps its donor's


@dataclass(frozen=True)
class Change:
    """The member ``key`` goes on from ``donor``'s weights with the values ``point``."""

    key: str
    donor: str
    point: Point


@dataclass
class Member:
    """One trial of a population. ``points``: its values by the epoch after which they hold, the first after 0.

    ``scores``: by epoch, larger is better; ``donors``: whom it took over from, by epoch. ``epoch`` is its last one; ``over``:
    it has ended, and takes no part any more.
    """

    key: str
    points: dict[int, Point]
    scores: dict[int, float] = field(default_factory=dict)
    donors: dict[int, str] = field(default_factory=dict)
    epoch: int = 0
    over: bool = False

    @property
    def point(self) -> Point:
        """Its values now."""
        return self.points[max(self.points)]


class Explore(Protocol):
    """How a donor's values are changed."""

    def points(
        self, donors: Sequence[Point], members: Sequence[Member], epoch: int, feasible: Feasible, rng: random.Random
    ) -> list[Point]:
        """A changed point for each donor. ``members``: the whole population, with all that it has measured so far."""


def changes(
    members: Sequence[Member], epoch: int, quantile: float, explore: Explore, feasible: Feasible, seed: int
) -> list[Change]:
    """What becomes of a population whose members have all come to ``epoch``: one change for each member that is replaced.

    A member without a score is among the worst. A donor is strictly better than whom it replaces, so equals stay as they are.
    """
    rng = random.Random(f"{seed}/{epoch}")
    ranked = sorted((m for m in members if not m.over), key=lambda m: (_score(m, epoch), m.key))
    count = min(max(1, math.floor(quantile * len(ranked))), len(ranked) // 2)
    pairs = [(loser, rng.choice(ranked[-count:])) for loser in ranked[:count]]
    pairs = [(loser, donor) for loser, donor in pairs if _score(donor, epoch) > _score(loser, epoch)]
    ordered = sorted(members, key=lambda m: m.key)
    points = explore.points([donor.point for _, donor in pairs], ordered, epoch, feasible, rng)
    return [Change(loser.key, donor.key, point) for (loser, donor), point in zip(pairs, points, strict=True)]


@dataclass(frozen=True)
class Perturb:
    """PBT: each value times 1.2 or 0.8 within its domain, or drawn anew with the probability ``resample``.

    A choice is kept or drawn anew; a value on steps goes to the nearest other one in the same direction.
    """

    domains: Mapping[str, Domain]
    resample: float

    def points(
        self, donors: Sequence[Point], members: Sequence[Member], epoch: int, feasible: Feasible, rng: random.Random
    ) -> list[Point]:
        """Each donor by itself; no two alike, where there is a choice."""
        found: list[Point] = []
        for donor in donors:
            found.append(self._changed(donor, found, feasible, rng))
        return found

    def _changed(self, donor: Point, taken: Sequence[Point], feasible: Feasible, rng: random.Random) -> Point:
        for _ in range(TRIES):
            point = {path: self._value(self.domains[path], value, rng) for path, value in donor.items()}
            if feasible(point) and point not in taken:
                return point
        return donor

    def _value(self, domain: Domain, value: Any, rng: random.Random) -> Any:
        if rng.random() < self.resample:
            return domain.draw(rng)
        return domain.perturb(value, rng.choice((0.8, 1.2)))


def perturb(config: Pbt, domains: Mapping[str, Domain]) -> Explore:
    """PBT's rule for a space."""
    return Perturb(domains, config.resample)


def _score(member: Member, epoch: int) -> float:
    return member.scores.get(epoch, -math.inf)
