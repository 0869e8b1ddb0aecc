"""One arm against one other: better, worse, equivalent or not yet known, and what it would take to know.

The differences are those of ``fsg compare``, arm minus other by seed; the intervals and p values hold at every look, so whoever
asks after each seed, and stops when the answer is there, is not misled. A study that plans its looks has the intervals of its
plan, one with a list of seeds those of ``AnyLook``. Pure: a specification and a folded ledger in.
Proof: ``tests/report/test_study_verdict.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fsg.errors import StudyError
from fsg.nearest import did_you_mean
from fsg.record.ledger import StudyState
from fsg.report.cells import decimals, number, p_value
from fsg.report.comparison import ArmRow, Comparison, Measure
from fsg.report.comparison import Verdict as Marks
from fsg.report.plan import trial_hours
from fsg.report.study_report import comparison_of, planned_looks
from fsg.stats.paired import Interval, Vector, is_constant, matched
from fsg.stats.sequential import AnyLook, LookRule
from fsg.stats.verdict import LIKELY, MOST_MORE, Answer, Claims, MoreSeeds, claims, more_seeds
from fsg.study.plan import Block
from fsg.study.spec import AblationSpec, SweepSpec

Code = Literal[0, 3, 4, 5]
EXIT_CODES: dict[Answer, Code] = {"better": 0, "worse": 3, "equivalent": 4, "not yet known": 5}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and what it stands on. Differences are ``arm`` minus ``against``, in the metric's unit.

    Attributes:
        effect: With the interval that holds at every look; None below two paired seeds.
        compared: The same difference as ``fsg compare`` shows it; of a list of seeds, its interval is for one look.
        marks: What ``fsg compare`` says of it; None where seeds are added by a rule.
        claims: What the answer follows from; None with too few seeds or without spread.
        family: Over how many arms the claims are corrected; 1 in a log of ideas, whose level does that.
        more: How many more seeds; None where the answer is known, or nothing can be said.
        seed_hours: Of training, for one more seed of the two arms, and of all arms; None before a trial has finished.
        refused: Why there is no answer whatever the numbers say.
    """

    study: str
    study_id: str
    arm: str
    against: str
    measure: Measure
    answer: Answer
    seeds: tuple[int, ...]
    effect: Interval | None
    compared: Interval | None
    marks: Marks | None
    claims: Claims | None
    family: int
    smallest_effect: float | None
    more: MoreSeeds | None
    seed_hours: tuple[float, float] | None
    refused: tuple[str, ...]

    @property
    def exit_code(self) -> Code:
        """0 better, 3 worse, 4 equivalent, 5 not yet known."""
        return EXIT_CODES[self.answer]

    @property
    def sentences(self) -> list[str]:
        """The answer in words, the first sentence alone being enough."""
        return list(_sentences(self))


def verdict(
    spec: AblationSpec | SweepSpec, state: StudyState, arm: str, against: str | None = None, level: float | None = None
) -> Verdict:
    """The answer as far as the ledger carries one.

    Args:
        spec: The study's; its analysis says confidence and smallest effect of interest.
        state: Its ledger, folded.
        arm: Whom it is about.
        against: Another arm; in a cross its name without the block will do. None: the study's baseline, else its reference.
        level: What p must not exceed, in the place of 1 - confidence with Holm's correction over the study's arms: an idea's
            level in a log. None: the study's.

    StudyError for a sweep, an arm that is none, and an arm against itself.
    """
    if isinstance(spec, SweepSpec):
        raise StudyError(f"{spec.name}: a sweep has no arms; a verdict is of an arm of an ablation.")
    block = block_of(spec, arm)
    other = _other(spec, block, arm, against)
    comparison = comparison_of(spec, state, block, baseline=other)
    rows = {row.arm: row for row in comparison.rows}
    rule = planned_looks(spec) or AnyLook(comparison.confidence)
    paired = {name: _differences(comparison, name, other, rule) for name in rows if name != other}
    row, d = rows.get(arm), paired.get(arm, np.empty(0))
    if level is None:
        level, family = 1 - comparison.confidence, {n: own for n, own in paired.items() if not rows[n].refused_baseline}
    else:
        family = {arm: d}
    found = claims(family, rule, comparison.smallest_effect, level)
    refused = tuple(refusals(row, d))
    own = None if refused else found.get(arm)
    better = 1 if comparison.measure.mode == "max" else -1
    answer: Answer = own.answer(float(d.mean()), better) if own else "not yet known"
    more = None
    if own and answer == "not yet known":
        told = sum(c.p_differs <= level for c in found.values())
        more = more_seeds(d, rule, comparison.smallest_effect, level / max(1, len(found) - told))
    return Verdict(
        study=spec.name,
        study_id=str((state.header or {}).get("study_id", "")),
        arm=arm,
        against=other,
        measure=comparison.measure,
        answer=answer,
        seeds=tuple(sorted(rows[arm].values.keys() & rows[other].values.keys())) if row else (),
        effect=rule.interval(d) if len(d) >= rule.first else None,
        compared=row.vs_baseline if row else None,
        marks=row.verdict_baseline if row else None,
        claims=own,
        family=len(found),
        smallest_effect=comparison.smallest_effect,
        more=more,
        seed_hours=_seed_hours(spec, state, arm, other),
        refused=refused,
    )


def refusals(row: ArmRow | None, d: Vector) -> Iterator[str]:
    """Why there is no answer whatever the numbers say, each as a sentence.

    ``row``: the arm beside the other one, which is the comparison's baseline; ``d``: their paired differences, shape (n,).
    """
    if row is not None and row.refused_baseline:
        yield f"the two differ in {row.refused_baseline} alone, which was not exercised: nothing of it reached the weights"
    if len(d) > 1 and is_constant(d):
        yield (
            f"the difference is {d[0]:g} in every one of {len(d)} seeds: without any spread nothing can be said of the next one"
        )


def block_of(spec: AblationSpec, arm: str) -> Block:
    """The block whose table has the arm. StudyError, with those that there are, where none has."""
    names = [name for block in spec.plan.blocks for name in block.arms]
    for block in spec.plan.blocks:
        if arm in block.arms:
            return block
    raise StudyError(f'{spec.name} has no arm "{arm}".{did_you_mean(arm, names)} Its arms: {", ".join(names)}.')


def _other(spec: AblationSpec, block: Block, arm: str, against: str | None) -> str:
    if against is None:
        found = next((end for end in (block.baseline, block.reference) if end and end != arm), None)
        if found is None:
            raise StudyError(f"{spec.name}: nothing to compare {arm} with; name an arm: --against ARM.")
        return found
    other = next((name for name in (against, f"{block.name}/{against}") if name in block.arms), None)
    if other is None:
        raise StudyError(
            f'{spec.name} has no arm "{against}" beside {arm}.{did_you_mean(against, block.arms)} '
            f"Its arms: {', '.join(block.arms)}."
        )
    if other == arm:
        raise StudyError(f"{arm} against itself is no question; name another arm: --against ARM.")
    return other


def _differences(comparison: Comparison, arm: str, other: str, rule: LookRule) -> Vector:
    """Arm minus other by ascending seed, without what lies beyond the planned looks."""
    values = {row.arm: row.values for row in comparison.rows}
    _, ours, theirs = matched(values[arm], values[other])
    return (ours - theirs)[: rule.last]


def _seed_hours(spec: AblationSpec, state: StudyState, arm: str, other: str) -> tuple[float, float] | None:
    """Hours of one more seed: of the two arms, and of all."""
    hours = trial_hours(state)
    if arm not in hours or other not in hours:
        return None
    return hours[arm] + hours[other], sum(hours.get(name, 0.0) for name in spec.plan.arms)


# In words -------------------------------------------------------------------------------------------------------------
def _sentences(found: Verdict) -> Iterator[str]:
    shown = [interval for interval in (found.effect, found.compared) if interval]
    digits = decimals(shown, found.measure.unit)
    what = f"{'points' if found.measure.unit == '%' else found.measure.unit} of {found.measure.name}".strip()
    if found.measure.unit == "":
        what = found.measure.name
    n = len(found.seeds)
    pairs = f"{n} paired seed{'' if n == 1 else 's'}"
    if found.answer == "not yet known":
        yield f"{found.arm} against {found.against}: not yet known."
    elif found.answer == "equivalent":
        yield (
            f"{found.arm} is equivalent to {found.against}: it differs by less than {found.smallest_effect:g} {what}, "
            "the smallest effect of interest."
        )
    else:
        yield f"{found.arm} is {found.answer} than {found.against}."
    if shown:
        yield f"{_signed(shown[0], digits)} {what} over {pairs}{_confidence(found.effect)}."
    else:
        yield f"{found.arm} and {found.against} share {'no finished seed' if not n else pairs}; at least two are needed."
    if found.claims is not None:
        corrected = f" after Holm's correction over {found.family} arms" if found.family > 1 else ""
        limit = f", which must be at most {found.claims.level:.3g}"
        yield f"p = {p_value(found.claims.p_differs)}{corrected}{limit}." + (
            f" Within ±{found.smallest_effect:g}: p = {p_value(found.claims.p_equivalent)}."
            if found.smallest_effect is not None
            else " Equivalence cannot be told: analysis.smallest_effect_of_interest is not stated."
        )
    for why in found.refused:
        yield f"No verdict: {why}."
    if found.compared is not None and found.marks is not None:
        yield f"fsg compare shows {_signed(found.compared, digits)}, which is for one look after all seeds."
    yield from _what_next(found)


def _signed(interval: Interval, digits: int) -> str:
    estimate = number(interval.estimate, digits, sign=True)
    if not interval.half_width >= 0:
        return estimate
    return f"{estimate} [{number(interval.low, digits, sign=True)}, {number(interval.high, digits, sign=True)}]"


def _confidence(effect: Interval | None) -> str:
    if effect is None or not effect.half_width >= 0:
        return ", too few for an interval that holds at every look"
    return f"; the {effect.confidence:.0%} interval holds at every look"


def _what_next(found: Verdict) -> Iterator[str]:
    more = found.more
    if more is None:
        return
    if more.likely is None and more.half is None:
        yield f"More than {MOST_MORE} further paired seeds, or none that are planned, would settle it."
        return
    yield (
        f"Settled in half of the futures that these seeds leave possible by {_count(more.half)} more paired seeds, "
        f"in {LIKELY:.0%} by {_count(more.likely)}."
    )
    count = more.likely or more.half
    if found.seed_hours is not None and count is not None:
        two, every = (hours * count for hours in found.seed_hours)
        yield (
            f"{count} more seeds take {two:.2g} hours of training for these two arms, {every:.2g} for all arms of the study. "
            "List them under seeds in its file and run fsg ablate again."
        )


def _count(seeds: int | None) -> str:
    return f"more than {MOST_MORE}" if seeds is None else str(seeds)
