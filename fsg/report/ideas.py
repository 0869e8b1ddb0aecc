"""A growing list of ideas, each an arm against another: what may be called a discovery among all that was tried.

Proof: ``tests/report/test_ideas.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

from fsg.record.ideas import Idea, Look
from fsg.report.cells import Cell, Grid, number, p_value
from fsg.report.verdict import Verdict
from fsg.stats.online import Standing, replay


def standings(rate: float, looks: Sequence[Look]) -> dict[Idea, Standing]:
    """Every idea of a log, by the order in which they began."""
    return replay(((look.idea, look.p) for look in looks), rate)


def look_of(found: Verdict) -> Look | None:
    """What a log keeps of a verdict; None of one without a p, which is no look."""
    if found.claims is None or found.effect is None:
        return None
    idea = Idea(found.study, found.study_id, found.arm, found.against, found.measure.name)
    better = (found.effect.estimate > 0) == (found.measure.mode == "max")
    return Look(idea, found.effect.n, found.effect.estimate, found.claims.p_differs, better)


def ideas_grid(rate: float, looks: Sequence[Look]) -> Grid:
    """One row per idea: its last look, the level it is held to, and what it was found to be."""
    last = {look.idea: look for look in looks}
    found = standings(rate, looks)
    rows = tuple(
        (
            Cell(str(one.number)),
            Cell(f"{idea.study}: {idea.arm} against {idea.against}"),
            Cell(str(last[idea].seeds)),
            Cell(number(last[idea].effect, 2, sign=True)),
            Cell(p_value(one.p)),
            Cell(f"{one.level:.2g}"),
            Cell(_found(idea, one, looks)),
        )
        for idea, one in found.items()
    )
    discoveries = sum(one.discovered is not None for one in found.values())
    notes = (
        f"{discoveries} of {len(found)} ideas {'is a discovery' if discoveries == 1 else 'are discoveries'}; of all discoveries, "
        f"at most {rate:.0%} are expected to be false, at every moment (LORD++).",
        "level: the p that the idea may have at most. It falls from idea to idea, and each discovery raises those to come.",
    )
    headers = ("#", "idea", "seeds", "effect", "p", "level", "found")
    return Grid("Ideas that were tried", headers, rows, notes, "", kept=2)


def _found(idea: Idea, one: Standing, looks: Sequence[Look]) -> str:
    if one.discovered is None:
        return "not yet"
    look = [look for look in looks if look.idea == idea][one.discovered - 1]
    return f"{'better' if look.better else 'worse'} at {look.seeds} seeds"
