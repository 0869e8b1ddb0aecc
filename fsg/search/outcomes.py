"""What became of the configurations of a search: the words that searcher, proposals and reports share. Needs no Optuna.

Proof: ``tests/search/test_search_logic.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Point = Mapping[str, Any]
Status = Literal["open", "finished", "pruned", "failed"]


class Infeasible(Exception):
    """A point that breaks a constraint: it is told as failed, and never run."""


@dataclass(frozen=True)
class Outcome:
    """What became of one configuration: the epochs of its first seed, and the metrics it is judged by if it finished.

    ``metrics`` None: those of its last epochs. ``violations``: of each constraint on metrics, 0 or less where it holds.
    """

    point: Point
    status: Status
    epochs: Sequence[Mapping[str, Any]] = ()
    metrics: Mapping[str, Any] | None = None
    violations: Mapping[str, float] = field(default_factory=dict)
    reason: str | None = None
    seeds: int = 1
