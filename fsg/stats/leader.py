"""Who leads by the mean, and whether the lead is more than chance: bold and the star stand where it is, and nowhere else.

Of ten equal arms one has the largest mean. So the leader is tested against every other, paired by seed, with Holm's
correction over these tests; it stands out where all of them tell it from the other. Among equal arms somebody does so in at most
one study in 20 at 0.95, the leader being chosen by the same data (counted in ``tests/stats/test_leader.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from fsg.stats.paired import check_confidence, holm, matched, mean_interval, t_test

Key = TypeVar("Key")


def leader(values: Mapping[Key, Mapping[int, float]], mode: str) -> Key | None:
    """Who has the best mean among those with the most seeds: one that lost its bad seeds must not win by it.

    ``values``: who -> seed -> value, finite. ``mode``: ``max`` or ``min``. None where nobody has a value.
    """
    most = max(map(len, values.values()), default=0)
    if most == 0:
        return None
    means = {who: sum(v.values()) / len(v) for who, v in values.items() if len(v) == most}
    return (max if mode == "max" else min)(means, key=lambda who: means[who])


def stands_out(values: Mapping[Key, Mapping[int, float]], who: Key, mode: str, confidence: float = 0.95) -> bool:
    """Whether paired t tests tell ``who`` as better than each of the others that have a value, after Holm's correction.

    False without others, where a pair shares fewer than 2 seeds, and where it differs by the same in every seed: no spread in
    a few seeds is no certainty.
    """
    alpha = 1 - check_confidence(confidence)
    p_values = []
    for other, theirs in values.items():
        if other == who or not theirs:
            continue
        _, a, b = matched(values[who], theirs)
        lead = a - b if mode == "max" else b - a
        if lead.size < 2 or not mean_interval(lead).half_width > 0 or lead.mean() <= 0:
            return False
        p_values.append(t_test(lead).p)
    return bool(p_values) and bool((holm(p_values) < alpha).all())
