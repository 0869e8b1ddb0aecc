"""What a report answers, in one sentence with its interval: which of two arms is better, or that nobody can tell yet.

A comparison is asked for its reference against its baseline; where it lacks one, for its best arm against the other.
Proof: ``tests/report/test_answer.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from fsg.report.cells import decimals, number
from fsg.report.comparison import ArmRow, Comparison, Measure, Verdict
from fsg.report.factors import FactorReport
from fsg.report.top import TopConfigurations
from fsg.stats.paired import Interval

Finding = Literal["better", "worse", "equivalent", "not yet known"]


@dataclass(frozen=True, slots=True)
class Answer:
    """``finding`` of the arm named first, said as ``sentence``; ``interval`` is what it rests on, None where there is none."""

    finding: Finding
    sentence: str
    interval: Interval | None = None


def answer(comparison: Comparison) -> Answer:
    """The reference against the baseline, or the best arm against whichever of the two there is."""
    idle = next((row.refused_baseline for row in comparison.rows if row.arm == comparison.reference), None)
    if idle is not None:
        two = f"{comparison.reference} and {comparison.baseline}"
        return Answer(
            "not yet known", f"No verdict on {two}: {idle} was not exercised, and they differ in nothing else."
        )
    asked = _asked(comparison)
    if asked is None:
        finished = sum(row.n for row in comparison.rows)
        planned = finished + sum(len(row.missing) for row in comparison.rows)
        return Answer("not yet known", f"Not yet known: {finished} of {planned} trials finished, and no two arms pair.")
    row, other, interval, verdict = asked
    found = _finding(interval, verdict, comparison.measure.mode)
    said = _difference(interval, comparison.measure)
    margin = f", within the ±{comparison.smallest_effect:g} that would matter" if found == "equivalent" else ""
    if found == "not yet known":
        pairs = "One seed does" if interval.n == 1 else f"{interval.n} paired seeds do"
        return Answer(found, f"{pairs} not tell {row.arm} from {other}: its {said}.", interval)
    relation = {"better": "better than", "worse": "worse than", "equivalent": "equivalent to"}[found]
    return Answer(found, f"{row.arm} is {relation} {other}: its {said}{margin}.", interval)


def effects_in_words(comparison: Comparison, report: FactorReport) -> str:
    """What each switch of a factorial design is worth, as one sentence: those that differ with their effect, then the others."""
    found = dict(
        zip((effect.name for effect in report.effects), zip(report.effects, report.p_holm, strict=True), strict=True)
    )
    digits = decimals([effect.interval for effect in report.effects], comparison.measure.unit)
    unit = _unit(comparison.measure)
    told, untold, idle = [], [], []
    for name in report.names:
        effect, p = found[name]
        size = number(effect.interval.estimate, digits, sign=True)
        if report.refused(effect):
            idle.append(name)
        elif p < 1 - comparison.confidence:
            told.append(f"{name} is worth {size} ± {number(effect.interval.half_width, digits)}{unit}")
        else:
            untold.append(name)
    nothing = f"{_listed(untold)} cannot be told from nothing" if untold else ""
    refused = f"no verdict on {_listed(idle)}, which did not act" if idle else ""
    return f"Of the switches, {'; '.join(filter(None, (_listed(told), nothing, refused)))}."


def answer_of_search(top: TopConfigurations) -> Answer:
    """The best configuration that a sweep found, and whether tests tell it from all others."""
    if not top.ranked:
        return Answer("not yet known", "Not yet known: no configuration has finished.")
    best, measure = top.ranked[0], top.measure
    digits = decimals([best.metric], measure.unit) if len(best.values) > 1 else 2 if measure.unit == "%" else 4
    value = number(best.metric.estimate, digits)
    if math.isnan(best.metric.half_width):
        within = "one seed, so no interval"
    else:
        low, high = (number(end, digits) for end in (best.metric.low, best.metric.high))
        value += f" ± {number(best.metric.half_width, digits)}"
        within = f"{best.metric.confidence:.0%} interval {low} to {high}, {len(best.values)} seeds"
    unit = f" {measure.unit}" if measure.unit else ""
    others = f"{len(top.ranked) - 1} other{'s' if len(top.ranked) != 2 else ''}"
    standing = f"tests tell it from the {others}" if best.best else f"not told from the {others} by a test"
    sentence = f"The best configuration found is {best.key}: {measure.name} {value}{unit} ({within}; {standing})."
    return Answer("better" if best.best else "not yet known", sentence, best.metric)


def _asked(comparison: Comparison) -> tuple[ArmRow, str, Interval, Verdict | None] | None:
    """The arm, what it is compared with, their difference and its verdict; None where no two arms pair."""
    rows = {row.arm: row for row in comparison.rows}
    first = [name for name in (comparison.reference, comparison.leader) if name is not None]
    by_rank = sorted((row for row in comparison.rows if row.metric), key=lambda r: _rank(r, comparison.measure))
    for other, interval_of, verdict_of in (
        (comparison.baseline, "vs_baseline", "verdict_baseline"),
        (comparison.reference, "vs_reference", "verdict_reference"),
    ):
        for name in dict.fromkeys([*first, *(row.arm for row in by_rank)]):
            interval = getattr(rows[name], interval_of)
            if other is not None and interval is not None:
                return rows[name], other, interval, getattr(rows[name], verdict_of)
    return None


def _rank(row: ArmRow, measure: Measure) -> float:
    assert row.metric is not None
    return -row.metric.estimate if measure.mode == "max" else row.metric.estimate


def _finding(interval: Interval, verdict: Verdict | None, mode: str) -> Finding:
    """Equivalence first, for a difference may be certain and too small to matter. Without a test the interval decides."""
    if verdict is not None and verdict.equivalent:
        return "equivalent"
    differs = verdict.differs if verdict is not None else interval.excludes_zero and interval.half_width > 0
    if not differs:
        return "not yet known"
    return "better" if (interval.estimate > 0) == (mode == "max") else "worse"


def _difference(interval: Interval, measure: Measure) -> str:
    """``val_accuracy is 1.10 ± 0.58 points higher (95 % interval 0.52 to 1.68, 3 paired seeds)``."""
    digits = decimals([interval], measure.unit)
    higher = interval.estimate >= 0
    ends = (interval.low, interval.high) if higher else (-interval.high, -interval.low)
    size, way = number(abs(interval.estimate), digits), "higher" if higher else "lower"
    if math.isnan(interval.half_width):
        return f"{measure.name} is {size}{_unit(measure)} {way}, and one pair has no interval"
    if interval.half_width == 0:
        return f"{measure.name} is {size}{_unit(measure)} {way} in each of them, and equal differences prove no spread"
    low, high = (number(end, digits) for end in ends)
    within = f"{interval.confidence:.0%} interval {low} to {high}, {interval.n} paired seeds"
    return f"{measure.name} is {size} ± {number(interval.half_width, digits)}{_unit(measure)} {way} ({within})"


def _unit(measure: Measure) -> str:
    return " points" if measure.unit == "%" else f" {measure.unit}".rstrip()


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""
