"""What the commands print with ``--json``: one model a document, which the page ``docs/json.md`` and the MCP server read too.

A field may be added; none is renamed, removed or given another meaning. A number that is not there, or not finite, is null.
Proof: ``tests/cli/test_json.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

from fsg.record.ideas import Look
from fsg.record.ledger import TrialRecord
from fsg.report.comparison import ArmRow, Comparison
from fsg.report.comparison import Verdict as Marks
from fsg.report.ideas import standings
from fsg.report.plan import StudyPlan
from fsg.report.study_report import StudyReport
from fsg.report.verdict import Code, Verdict
from fsg.stats.paired import Interval
from fsg.stats.verdict import Answer

Number = Annotated[float | None, BeforeValidator(lambda x: x if x is not None and math.isfinite(x) else None)]


def printed(document: BaseModel) -> str:
    """The document as a command prints it."""
    return document.model_dump_json(indent=2)


class Document(BaseModel):
    """Of every document: no field that is not stated, and the sentence below a field is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class IntervalPart(Document):
    """An estimate with its interval, in the metric's unit."""

    estimate: Number
    low: Number
    """Null where the seeds are too few for an interval."""
    high: Number
    n: int
    """Seeds, or paired seeds."""
    confidence: float
    kind: str
    """``t``: for one look. ``sequential t``, ``t at any look``: at every look."""

    @classmethod
    def of(cls, found: Interval | None) -> IntervalPart | None:
        """The part; None of none."""
        if found is None:
            return None
        return cls(
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            n=found.n,
            confidence=found.confidence,
            kind=found.kind,
        )


class MetricPart(Document):
    """What is compared."""

    name: str
    mode: Literal["max", "min"]
    """Whether more or less of it is better."""
    unit: str
    """``%``, or empty."""


class MarksPart(Document):
    """What the table says of a difference, for one look after all seeds."""

    p: Number
    """Of the paired t test."""
    p_holm: Number
    """The same after Holm's correction over the arms of the column."""
    differs: bool
    """The table's ``*``."""
    equivalent: bool | None
    """The table's ``≈``; null where no smallest effect of interest is stated."""

    @classmethod
    def of(cls, found: Marks | None) -> MarksPart | None:
        """The part; None of none."""
        if found is None:
            return None
        return cls(p=found.p, p_holm=found.p_holm, differs=found.differs, equivalent=found.equivalent)


# fsg verdict ----------------------------------------------------------------------------------------------------------
class MorePart(Document):
    """How many further paired seeds settle it. Null: more than 200, or none that are planned."""

    half: int | None
    """In half of the futures that these seeds leave possible."""
    likely: int | None
    """In four of five."""
    hours: Number
    """Of training, for so many (``likely``, else ``half``) seeds of the two arms; null before a trial has finished."""
    hours_of_study: Number
    """The same of all arms of the study, which is what more seeds in its file run."""


class VerdictDocument(Document):
    """``fsg verdict STUDY ARM --json``: one arm against another. Differences are arm minus against."""

    study: str
    study_id: str
    arm: str
    against: str
    metric: MetricPart
    answer: Answer
    exit_code: Code
    """0 better, 3 worse, 4 equivalent, 5 not yet known."""
    seeds: list[int]
    """Those that both arms finished."""
    effect: IntervalPart | None
    """The difference, with the interval that holds at every look; null below two paired seeds."""
    p: Number
    """Of no difference, at every look, after the correction; null where nothing can be standings."""
    p_equivalent: Number
    """Of a difference that is not within the smallest effect of interest, at every look, after the correction."""
    level: Number
    """What a p must not exceed."""
    corrected_over: int
    """Arms that Holm's correction is over; 1 in a log of ideas."""
    smallest_effect: Number
    """``analysis.smallest_effect_of_interest`` of the study."""
    table: IntervalPart | None
    """The difference as ``fsg compare`` shows it."""
    table_marks: MarksPart | None
    """What ``fsg compare`` says of it; null where seeds are added by a rule."""
    more_seeds: MorePart | None
    """Null where the answer is known, or nothing can be said."""
    refused: list[str]
    """Why there is no answer, whatever the numbers say; mostly empty."""
    sentence: str
    """The answer in words."""

    @classmethod
    def of(cls, found: Verdict) -> VerdictDocument:
        """The document of a verdict."""
        more, claims = None, found.claims
        if found.more is not None:
            count = found.more.likely or found.more.half
            two, every = found.seed_hours or (math.nan, math.nan)
            known = count is not None
            more = MorePart(
                half=found.more.half,
                likely=found.more.likely,
                hours=two * (count or 0) if known else None,
                hours_of_study=every * (count or 0) if known else None,
            )
        return cls(
            study=found.study,
            study_id=found.study_id,
            arm=found.arm,
            against=found.against,
            metric=_metric(found.measure),
            answer=found.answer,
            exit_code=found.exit_code,
            seeds=list(found.seeds),
            effect=IntervalPart.of(found.effect),
            p=claims.p_differs if claims else None,
            p_equivalent=claims.p_equivalent if claims and found.smallest_effect is not None else None,
            level=claims.level if claims else None,
            corrected_over=found.family,
            smallest_effect=found.smallest_effect,
            table=IntervalPart.of(found.compared),
            table_marks=MarksPart.of(found.marks),
            more_seeds=more,
            refused=list(found.refused),
            sentence=" ".join(found.sentences[:2]),
        )


class IdeaPart(Document):
    """One idea of a log."""

    number: int
    study: str
    study_id: str
    arm: str
    against: str
    metric: str
    looks: int
    seeds: int
    """At the last look."""
    effect: Number
    p: float
    level: float
    """The p that it may have at most."""
    found: Literal["better", "worse"] | None
    """What it is a discovery of; null while it is none."""


class IdeasDocument(Document):
    """``fsg verdict --log FILE --json``: all ideas that were tried, and which of them are discoveries."""

    rate: float
    """The share of false discoveries among all that is expected at most."""
    ideas: list[IdeaPart]

    @classmethod
    def of(cls, rate: float, looks: Sequence[Look]) -> IdeasDocument:
        """The document of a log."""
        parts = []
        for idea, one in standings(rate, looks).items():
            own = [look for look in looks if look.idea == idea]
            way = None if one.discovered is None else own[one.discovered - 1].better
            parts.append(
                IdeaPart(
                    number=one.number,
                    study=idea.study,
                    study_id=idea.study_id,
                    arm=idea.arm,
                    against=idea.against,
                    metric=idea.metric,
                    looks=one.looks,
                    seeds=own[-1].seeds,
                    effect=own[-1].effect,
                    p=one.p,
                    level=one.level,
                    found=None if way is None else "better" if way else "worse",
                )
            )
        return cls(rate=rate, ideas=parts)


def _metric(measure: Any) -> MetricPart:
    return MetricPart(name=measure.name, mode=measure.mode, unit=measure.unit)


# fsg compare ----------------------------------------------------------------------------------------------------------
class SeedPart(Document):
    """What one seed of an arm gave."""

    seed: int
    value: Number
    """The metric's final value; null where it is missing."""
    missing: str | None
    """Why there is no value."""


class ArmPart(Document):
    """One row of the comparison."""

    arm: str
    metric: IntervalPart | None
    seeds: list[SeedPart]
    test: IntervalPart | None
    """Accuracy on the test set, in percent."""
    test_vs_baseline: IntervalPart | None
    """The same, arm minus baseline."""
    vs_reference: IntervalPart | None
    """Arm minus reference; null for the reference itself, and where nothing could be paired."""
    vs_reference_marks: MarksPart | None
    vs_reference_not_exercised: str | None
    """The part that is all the two differ in, and that did not act; no difference is taken then."""
    vs_baseline: IntervalPart | None
    vs_baseline_marks: MarksPart | None
    vs_baseline_not_exercised: str | None
    step_ratio: Number
    """Time of a step relative to the baseline's."""
    epochs: list[int]
    best: bool
    """Tests tell it as better than every other arm."""

    @classmethod
    def of(cls, row: ArmRow) -> ArmPart:
        """The part of a row."""
        seeds = [SeedPart(seed=seed, value=value, missing=None) for seed, value in row.values.items()]
        seeds += [SeedPart(seed=gone.seed, value=None, missing=gone.why) for gone in row.missing]
        return cls(
            arm=row.arm,
            metric=IntervalPart.of(row.metric),
            seeds=sorted(seeds, key=lambda one: one.seed),
            test=IntervalPart.of(row.test),
            test_vs_baseline=IntervalPart.of(row.test_vs_baseline),
            vs_reference=IntervalPart.of(row.vs_reference),
            vs_reference_marks=MarksPart.of(row.verdict_reference),
            vs_reference_not_exercised=row.refused_reference,
            vs_baseline=IntervalPart.of(row.vs_baseline),
            vs_baseline_marks=MarksPart.of(row.verdict_baseline),
            vs_baseline_not_exercised=row.refused_baseline,
            step_ratio=row.step_ratio,
            epochs=list(row.epochs),
            best=row.best,
        )


class BlockPart(Document):
    """One table: the study's, or that of one block of a cross."""

    name: str
    """The block; empty where there is only one."""
    metric: MetricPart
    reference: str | None
    baseline: str | None
    confidence: float
    smallest_effect: Number
    arms: list[ArmPart]
    notes: list[str]
    """What stands below the table."""
    provenance: str

    @classmethod
    def of(cls, name: str, found: Comparison, notes: Iterable[str]) -> BlockPart:
        """The part of a comparison."""
        return cls(
            name=name,
            metric=_metric(found.measure),
            reference=found.reference,
            baseline=found.baseline,
            confidence=found.confidence,
            smallest_effect=found.smallest_effect,
            arms=[ArmPart.of(row) for row in found.rows],
            notes=list(notes),
            provenance=found.provenance.line(),
        )


class ComparisonDocument(Document):
    """``fsg compare STUDY... --json``. An ablation, or several, has ``blocks``; a sweep has a ``ranking``."""

    title: str
    question: str
    blocks: list[BlockPart]
    ranking: list[dict[str, str]]
    """A sweep's best configurations as its table shows them: header to cell."""

    @classmethod
    def of(cls, report: StudyReport) -> ComparisonDocument:
        """The document of a report."""
        return cls(
            title=report.title,
            question=report.question,
            blocks=[BlockPart.of(block.name, block.comparison, block.grids[0].notes) for block in report.blocks],
            ranking=[] if report.blocks else report.rows,
        )


# fsg mcp --------------------------------------------------------------------------------------------------------------
class CurvePart(Document):
    """One seed of an arm."""

    seed: int
    status: str
    """``finished``, ``running``, ...: a curve may end early."""
    values: list[Number]
    """At epochs 1, 2, ...; null where there is none."""


class CurvesDocument(Document):
    """The tool ``curves`` of ``fsg mcp``: a metric by epoch, for each seed of an arm that has an epoch."""

    study: str
    arm: str
    metric: str
    seeds: list[CurvePart]

    @classmethod
    def of(cls, study: str, arm: str, metric: str, trials: Iterable[TrialRecord]) -> CurvesDocument:
        """The document of an arm's trials."""
        parts = [CurvePart(seed=one.seed, status=one.status, values=one.curve(metric)) for one in trials if one.epochs]
        return cls(study=study, arm=arm, metric=metric, seeds=sorted(parts, key=lambda part: part.seed))


class PlannedArmPart(Document):
    """One arm of a plan, or the search of a sweep."""

    arm: str
    epochs: int | None
    """Of a trial; null where they follow from costs that are not measured yet, and where a sweep searches them."""
    trials: int
    over: int
    """Of them, those that have ended."""
    hours: Number
    """Of a trial, the median of those that ran in one piece; null before one has."""


class PlanDocument(Document):
    """The tool ``plan`` of ``fsg mcp``: what a study's file would run, with nothing timed, downloaded or started."""

    study: str
    kind: Literal["ablation", "sweep"]
    question: str
    metric: str
    trials: int
    over: int
    """Of them, those that have ended."""
    hours: Number
    """Of training, for what is left, one trial after the other; null where an arm's are not known."""
    arms: list[PlannedArmPart]
    notes: list[str]
    """Seeds, fairness, aliases; of a sweep its space and rules."""

    @classmethod
    def of(cls, found: StudyPlan) -> PlanDocument:
        """The document of a plan."""
        arms = [
            PlannedArmPart(arm=one.name, epochs=one.epochs, trials=one.trials, over=one.over, hours=one.hours)
            for one in found.arms
        ]
        return cls(
            study=found.spec.name,
            kind=found.spec.kind,
            question=found.spec.question,
            metric=found.spec.metric.name,
            trials=found.trials,
            over=found.over,
            hours=found.hours,
            arms=arms,
            notes=list(found.notes),
        )


# fsg power ------------------------------------------------------------------------------------------------------------
class PowerPart(Document):
    """What one arm needs."""

    arm: str
    pilot_seeds: int
    sd: Number
    """Of the paired differences, in the metric's unit; null without any spread."""
    seeds: int | None
    """Paired seeds that show the effect with the wanted chance; null: over 100,000, or no spread."""
    cautious: int | None
    """The same for the upper end of what the pilot leaves of ``sd``."""
    shown: Number
    """The effect that the pilot's own seeds show with that chance."""
    problem: str | None
    """Why there is no number."""


class PowerDocument(Document):
    """``fsg power STUDY --json``: seeds that a paired t test needs, before any correction over arms."""

    study: str
    against: str
    effect: float
    """The difference that would matter, in the metric's unit."""
    goal: float
    """The wanted chance of showing it."""
    arms: list[PowerPart]


# fsg status, fsg studies ----------------------------------------------------------------------------------------------
class ReasonPart(Document):
    """Why a trial failed or waits."""

    key: str
    arm: str
    seed: int
    status: str
    reason: str


class EventPart(Document):
    """The last event of a ledger."""

    event: str
    time: float
    """Unix seconds."""


class DriverPart(Document):
    """Who drives a study, or did last."""

    alive: bool
    host: str | None
    pid: int | None
    since: Number
    """Unix seconds."""
    beat: Number
    """When it was last heard of, in unix seconds."""


class StatusDocument(Document):
    """``fsg status STUDY --json``."""

    study: str
    path: str
    trials: dict[str, int]
    """How many are planned, running or interrupted, paused, pruned, failed, finished."""
    retried: int
    retries: dict[str, int]
    """By cause."""
    reasons: list[ReasonPart]
    epochs: int
    events: int
    last_event: EventPart | None
    stopped: str | None
    """Why no further trial was begun."""
    driver: DriverPart | None
    mlflow: str | None
    """What the driver last said of the copy."""
    set_aside: list[str]
    """What was found damaged, and kept."""
    disk: dict[str, int]
    """Bytes, ``total`` and by part."""


class OverviewPart(Document):
    """One study of a storage."""

    study: str
    path: str
    kind: str
    """``ablation``, ``sweep``, or ``?`` where it cannot be read."""
    question: str
    state: str
    """``not begun``, ``running``, ``interrupted``, ``ended``; ``unreadable`` where there is a problem."""
    done: int
    trials: int
    size: int
    """Bytes of its folder."""
    begun: Number
    """Unix seconds."""
    last_event: Number
    """Unix seconds."""
    driver: bool
    """Whether one lives."""
    problem: str | None
    """Why it cannot be read."""


class StudiesDocument(Document):
    """``fsg studies --json``, and ``fsg status --json`` without a study."""

    storage: str
    studies: list[OverviewPart]


# fsg doctor, fsg bench ------------------------------------------------------------------------------------------------
class CheckPart(Document):
    """One line of the doctor."""

    name: str
    fine: bool
    text: str


class DoctorDocument(Document):
    """``fsg doctor --json``, also with ``--cluster``; the exit code is 0 where all is fine, else 1."""

    fine: bool
    checks: list[CheckPart]


class MeasurementDocument(Document):
    """``fsg bench --json`` prints one of these a line."""

    what: str
    case: str
    value: Number
    unit: str
    target: str
    """In words; empty without one."""
    holds: bool | None
    """Whether the target does; null without one."""
    spread: Number
    """Interquartile range."""
    device: str
    versions: dict[str, str]
    date: str


DOCUMENTS: tuple[type[Document], ...] = (
    VerdictDocument,
    IdeasDocument,
    ComparisonDocument,
    PowerDocument,
    StatusDocument,
    StudiesDocument,
    CurvesDocument,
    PlanDocument,
    DoctorDocument,
    MeasurementDocument,
)
