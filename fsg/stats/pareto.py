"""The Pareto front of several objectives. Pure. Proof: ``tests/stats/test_pareto.py``."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(points: Sequence[Sequence[float]]) -> list[bool]:
    """Which points nothing dominates, larger being better in every coordinate: nobody is as good in all and better in one.

    Equal points are all on the front, or none is.
    """
    return [not any(_dominates(other, point) for other in points) for point in points]


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)
