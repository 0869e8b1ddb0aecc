"""What each switch of a factorial design is worth: effects, interactions and Shapley shares over the arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fsg.errors import StudyError
from fsg.report.cells import NONE, Cell, Grid, decimals, number, p_value
from fsg.report.comparison import Comparison
from fsg.report.exercised import REFUSED, idle_switches
from fsg.stats.factorial import AnovaRow, Effect, ShapleyShares, anova, effects, shapley
from fsg.stats.paired import holm


@dataclass(frozen=True, slots=True)
class FactorReport:
    """``seeds`` ran every arm of the design; ``dropped`` did not. ``p_holm`` corrects over the effects, in their order.

    ``shares`` is None for a fraction of the design, which cannot give them. ``idle``: switches that turned on nothing that acted.
    """

    names: tuple[str, ...]
    effects: tuple[Effect, ...]
    p_holm: tuple[float, ...]
    shares: ShapleyShares | None
    anova: tuple[AnovaRow, ...]
    seeds: tuple[int, ...]
    dropped: tuple[int, ...]
    idle: frozenset[str] = frozenset()

    def refused(self, effect: Effect) -> bool:
        """Whether no verdict is given on it: a switch of it was not exercised."""
        return not self.idle.isdisjoint(effect.term)


def factor_report(
    comparison: Comparison, switches: Sequence[str], levels: Mapping[str, Sequence[bool]]
) -> FactorReport:
    """Effects of ``switches`` over the arms in ``levels`` (arm -> which switches are on); other arms stay out of it.

    A seed is a block and counts only if it finished every arm. Raises StudyError for an arm that is not there, fewer
    than 2 whole seeds, or arms that are no regular design.
    """
    rows = {row.arm: row for row in comparison.rows}
    unknown = [arm for arm in levels if arm not in rows]
    if unknown or not levels:
        raise StudyError(
            f"effects need the arms of the design, but this study has no {', '.join(unknown) or 'design'}."
        )
    whole = set.intersection(*(set(rows[arm].values) for arm in levels))
    seeds = tuple(sorted(whole))
    dropped = tuple(sorted(set.union(*(set(rows[arm].values) for arm in levels)) - whole))
    if len(seeds) < 2:
        raise StudyError(
            f"effects need 2 seeds that finished every arm of the design; {len(seeds)} did. Run more seeds."
        )
    x = np.array([list(levels[arm]) for arm in levels], dtype=float)
    y = np.array([[rows[arm].values[seed] for arm in levels] for seed in seeds])
    try:
        found = effects(x, y, switches, confidence=comparison.confidence)
        table = anova(x, y, switches)
    except ValueError as error:
        raise StudyError(f"effects cannot be told from these arms: {error}") from None
    whole_design = len(levels) == 2 ** len(switches)
    return FactorReport(
        names=tuple(switches),
        effects=found,
        p_holm=tuple(holm([effect.p for effect in found]).tolist()),
        shares=shapley(x, y, switches, confidence=comparison.confidence) if whole_design else None,
        anova=table,
        seeds=seeds,
        dropped=dropped,
        idle=frozenset(switches[place] for place in idle_switches(comparison.exercised, levels)),
    )


def anova_grid(comparison: Comparison, report: FactorReport) -> Grid:
    """The analysis of variance behind the effects: seeds as blocks, one line per term, residual, total."""
    rows = tuple(
        (
            Cell(row.source),
            Cell(str(row.df)),
            Cell(f"{row.sum_sq:.3g}"),
            Cell(f"{row.mean_sq:.3g}" if row.source != "total" else NONE),
            Cell(NONE if math.isnan(row.f) else f"{row.f:.2f}"),
            Cell(p_value(row.p)),
        )
        for row in report.anova
    )
    return Grid(
        title=f"{comparison.provenance.study}: analysis of variance, {comparison.measure.label}",
        headers=("source", "df", "sum of squares", "mean square", "F", "p"),
        rows=rows,
        notes=(f"{len(report.seeds)} seeds as blocks; p before any correction; the effects' table has it corrected.",),
        caption=comparison.provenance.line(),
    )


def factor_grid(comparison: Comparison, report: FactorReport) -> Grid:
    """One row per effect; the Shapley share stands beside the main effect."""
    shares = report.shares.shares if report.shares else {}
    intervals = [effect.interval for effect in report.effects] + list(shares.values())
    digits = decimals(intervals, comparison.measure.unit)
    alpha, mode = 1 - comparison.confidence, comparison.measure.mode

    def line(effect: Effect, p: float) -> tuple[Cell, ...]:
        if report.refused(effect):
            return (Cell(effect.name), Cell(REFUSED), *[Cell(NONE)] * (4 if aliased else 3))
        differs, share = p < alpha, shares.get(effect.name)
        up = (effect.interval.estimate > 0) == (mode == "max")
        spread = number(effect.interval.half_width, digits)
        return (
            Cell(effect.name),
            Cell(
                number(effect.interval.estimate, digits, sign=True),
                spread,
                "*" if differs else "",
                ("better" if up else "worse") if differs else "",
            ),
            Cell(p_value(effect.p)),
            Cell(p_value(p)),
            Cell(number(share.estimate, digits, sign=True), number(share.half_width, digits)) if share else Cell(NONE),
            *([Cell(", ".join(effect.aliases) or NONE)] if aliased else []),
        )

    aliased = any(effect.aliases for effect in report.effects)
    notes = [
        f"n = {len(report.seeds)} seeds, each a block over all arms of the design; ± is the half-width of the "
        f"{comparison.confidence:.0%} t interval with the error pooled over the arms; p Holm corrects over the "
        f"{len(report.effects)} effects; * p Holm below {alpha:.2g}.",
        "effect: mean with the switch on less mean with it off; interaction (×): half the difference of two effects.",
    ]
    if report.shares:
        total = report.shares.total
        notes.append(
            "share: Shapley's part of the gain of all switches on over all off, "
            f"{number(total.estimate, digits, sign=True)} ± {number(total.half_width, digits)}; the parts sum to it."
        )
    if aliased:
        notes.append("alias: what this fraction of the design cannot tell from the effect.")
    if report.dropped:
        notes.append(f"MISSING: seeds {', '.join(map(str, report.dropped))} did not finish every arm and stay out.")
    return Grid(
        title=f"{comparison.provenance.study}: what each switch is worth, {comparison.measure.label}",
        headers=("term", "effect", "p", "p Holm", "share", *(["alias"] if aliased else [])),
        rows=tuple(line(effect, p) for effect, p in zip(report.effects, report.p_holm, strict=True)),
        notes=tuple(notes),
        caption=comparison.provenance.line(),
    )
