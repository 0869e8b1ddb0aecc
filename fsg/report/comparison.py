"""The arms of a study side by side: what each reached, and the paired differences that can be told from noise.

Only finished trials are values. Anything else of an arm is listed as missing, a difference uses the seeds both arms
finished, and the notes say both. Pure: a folded ledger in, frozen dataclasses out; the renderers stand beside.
"""

from __future__ import annotations

import datetime
import difflib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol

from fsg.errors import StudyError
from fsg.record.ledger import finite
from fsg.report.exercised import ArmExercise, exercises, refusal, sentences
from fsg.report.notes import interruptions
from fsg.stats.curves import area
from fsg.stats.leader import leader, stands_out
from fsg.stats.paired import Interval, Vector, equivalence_test, holm, matched, mean_interval, paired_interval, t_test
from fsg.stats.sequential import Looks

if TYPE_CHECKING:
    from fsg.record.ledger import StudyState, TrialRecord

TEST_ACCURACY = "test_accuracy"


class MetricLike(Protocol):
    """What is compared: its name in the ledger, ``max`` or ``min``, and its unit ("%", or "")."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Measure:
    """The compared metric, copied from the specification."""

    name: str
    mode: str = "max"
    unit: str = ""

    @property
    def label(self) -> str:
        """``val_accuracy [%]``."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name

    def better(self, a: float, b: float) -> bool:
        """Whether ``a`` is strictly better than ``b``."""
        return a > b if self.mode == "max" else a < b


@dataclass(frozen=True, slots=True)
class MissingTrial:
    """A trial that gives no value: its seed and why (failed, pruned, running, planned, or no value recorded)."""

    seed: int
    why: str


@dataclass(frozen=True, slots=True)
class EpochsToTarget:
    """Epochs until the training loss was down to the baseline's final one, over paired seeds.

    ``median``: None where half of the seeds or more never got there. ``reached`` of ``n`` seeds did.
    """

    median: float | None
    reached: int
    n: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the paired differences can carry. ``p``: t test; ``p_holm``: corrected over all arms of the same column.

    ``differs``: p_holm below 1 - confidence. ``equivalent``: within the smallest effect of interest by two one-sided
    tests at that level; None where no such effect was named.
    """

    p: float
    p_holm: float
    differs: bool
    equivalent: bool | None


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm. A field is None where it does not apply (an arm against itself) or nothing could be paired.

    ``areas``: by seed, the area under the metric's learning curve per epoch, which is the curve's mean height; none for a
    metric that is measured at the end alone. ``best``: tests tell it as better than every other arm. ``refused_reference``,
    ``refused_baseline``: the part that is all the two differ in and that did not act; no difference is taken then.
    """

    arm: str
    values: Mapping[int, float]
    metric: Interval | None
    test: Interval | None
    test_vs_baseline: Interval | None
    vs_reference: Interval | None
    vs_baseline: Interval | None
    verdict_reference: Verdict | None
    verdict_baseline: Verdict | None
    epochs_to_target: EpochsToTarget | None
    step_ratio: float | None
    epochs: tuple[int, ...]
    missing: tuple[MissingTrial, ...]
    areas: Mapping[int, float]
    best: bool = False
    refused_reference: str | None = None
    refused_baseline: str | None = None

    @property
    def n(self) -> int:
        """Seeds with a value."""
        return len(self.values)


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where the numbers come from, for the caption."""

    study: str
    date: str
    device: str
    version: str
    budget: str

    def line(self) -> str:
        """One sentence of a caption."""
        return f"{self.study} · {self.budget} · {self.device} · {self.version} · {self.date}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """The comparison table of an ablation, before any rendering.

    ``leader``: the arm with the best mean, by chance or not. ``exercised``: what each arm's components did, where recorded.
    """

    measure: Measure
    reference: str | None
    baseline: str | None
    confidence: float
    smallest_effect: float | None
    rows: tuple[ArmRow, ...]
    notes: tuple[str, ...]
    provenance: Provenance
    leader: str | None = None
    exercised: Mapping[str, ArmExercise] = field(default_factory=dict)


def compare(
    state: StudyState,
    *,
    metric: MetricLike,
    reference: str | None,
    baseline: str | None,
    interval: float = 0.95,
    smallest_effect: float | None = None,
    device: str = "device not recorded",
    looks: Looks | None = None,
    equal: str | None = None,
    apart: Collection[str] = (),
    planned: Mapping[str, Collection[int]] | None = None,
) -> Comparison:
    """Every arm of ``state`` against the full method (``reference``) and the baseline, paired by seed.

    ``reference`` or ``baseline`` None leaves its columns out. ``looks``: seeds were added one by one, so differences get
    intervals that account for every look, and no fixed-sample test is made of them. ``equal``: what all arms could spend
    (epochs, time, flops), for the caption. ``apart``: arms that differ in more than a comparison can bear; no difference
    is taken of them. ``planned``: the seeds that each arm should have; None: those that any arm has. Raises StudyError
    where reference or baseline name no arm of the study, where the study has no trial, or where one seed of an arm has
    two finished trials.
    """
    measure = Measure(metric.name, metric.mode, metric.unit)
    arms = _by_arm(state.trials.values())
    for role, name in (("reference", reference), ("baseline", baseline)):
        if name is not None and name not in arms:
            raise StudyError(f'analysis.{role} is "{name}", which is no arm of this study.{_nearest(name, arms)}')
    finished = {arm: _finished(arm, records, measure) for arm, records in arms.items()}
    values = {
        arm: {seed: record.final_value(measure.name) for seed, record in of_seed.items()}
        for arm, of_seed in finished.items()
    }
    tests = {arm: _tests(of_seed) for arm, of_seed in finished.items()}
    seeds = sorted({record.seed for records in arms.values() for record in records})

    acted = exercises(state.trials.values())

    def refused(other: str | None) -> dict[str, str]:
        found = {arm: refusal(acted.get(arm), acted.get(other)) for arm in arms if other is not None and arm != other}
        return {arm: part for arm, part in found.items() if part is not None}

    def against(other: str | None) -> tuple[dict[str, Interval], dict[str, Verdict]]:
        if other is None:
            return {}, {}
        out = {other, *apart, *refused(other)}
        pairs = {arm: matched(values[arm], values[other])[1:] for arm in arms if arm not in out}
        pairs = {arm: (a, b) for arm, (a, b) in pairs.items() if len(a)}
        if looks is not None:
            return {arm: _looked(a - b, looks) for arm, (a, b) in pairs.items() if len(a) >= looks.first}, {}
        intervals = {arm: paired_interval(a, b, interval) for arm, (a, b) in pairs.items()}
        return intervals, _verdicts({arm: (a - b).tolist() for arm, (a, b) in pairs.items()}, interval, smallest_effect)

    vs_reference, verdict_reference = against(reference)
    vs_baseline, verdict_baseline = against(baseline)
    refused_reference, refused_baseline = refused(reference), refused(baseline)
    comparable = {arm: of_seed for arm, of_seed in values.items() if arm not in apart}
    first = leader(comparable, measure.mode)
    shown = [column[first] for column in (verdict_reference, verdict_baseline) if first in column]
    out = {baseline, *apart, *refused_baseline}
    tested_too = {arm for arm in arms if baseline is not None and looks is None and arm not in out}
    tested = looks is None and all(verdict.differs for verdict in shown)  # no star beside a mark that says otherwise
    best = first if tested and first is not None and stands_out(comparable, first, measure.mode, interval) else None
    rows = tuple(
        ArmRow(
            arm=arm,
            values=values[arm],
            metric=mean_interval(list(values[arm].values()), interval) if values[arm] else None,
            test=mean_interval(list(tests[arm].values()), interval) if tests[arm] else None,
            test_vs_baseline=_paired_test(tests[arm], tests.get(baseline or ""), interval)
            if arm in tested_too
            else None,
            vs_reference=vs_reference.get(arm),
            vs_baseline=vs_baseline.get(arm),
            verdict_reference=verdict_reference.get(arm),
            verdict_baseline=verdict_baseline.get(arm),
            epochs_to_target=_epochs_to_target(finished[arm], finished[baseline]) if baseline is not None else None,
            step_ratio=_step_ratio(finished[arm], finished[baseline]) if baseline is not None else None,
            epochs=tuple(sorted({len(record.curve("epoch")) for record in finished[arm].values()})),
            missing=_missing(arms[arm], finished[arm], planned[arm] if planned else seeds, measure),
            areas=_areas(finished[arm], measure),
            best=arm == best,
            refused_reference=refused_reference.get(arm),
            refused_baseline=refused_baseline.get(arm),
        )
        for arm in arms
    )
    return Comparison(
        measure=measure,
        reference=reference,
        baseline=baseline,
        confidence=interval,
        smallest_effect=smallest_effect,
        rows=rows,
        notes=tuple(sentences(acted))
        + tuple([_SEQUENTIAL.format(looks.first, looks.last)] if looks else [])
        + tuple(_notes(rows, measure, reference, baseline, interval, smallest_effect))
        + interruptions(state.trials.values()),
        provenance=provenance(state, (r for of_seed in finished.values() for r in of_seed.values()), device, equal),
        leader=first,
        exercised=acted,
    )


_SEQUENTIAL = (
    "Seeds were added one by one, from {} to at most {}: differences have intervals that account for every look."
)


def _looked(differences: Vector, looks: Looks) -> Interval:
    """The interval of one look; seeds beyond the last planned one are left out of it."""
    return looks.interval(differences[: looks.last])


# What an arm reached --------------------------------------------------------------------------------------------------
def _by_arm(records: Iterable[TrialRecord]) -> dict[str, list[TrialRecord]]:
    arms: dict[str, list[TrialRecord]] = {}
    for record in records:
        arms.setdefault(record.arm, []).append(record)
    if not arms:
        raise StudyError("This study's ledger holds no trial yet, so there is nothing to compare; run the study first.")
    return arms


def _finished(arm: str, records: Sequence[TrialRecord], measure: Measure) -> dict[int, TrialRecord]:
    """The finished trial of each seed that has a value of the metric, by ascending seed."""
    found: dict[int, TrialRecord] = {}
    for record in sorted(records, key=lambda r: r.seed):
        if math.isnan(record.final_value(measure.name)):
            continue
        if record.seed in found:
            raise StudyError(
                f'arm "{arm}" has two finished trials of seed {record.seed} ({found[record.seed].key}, {record.key}): '
                "its configuration changed under the same name. Give the changed arm a name of its own."
            )
        found[record.seed] = record
    return found


def _tests(finished: Mapping[int, TrialRecord]) -> dict[int, float]:
    """Test accuracy by seed; none unless every one of the trials has it, for a mean of some is not comparable."""
    found = {seed: record.final_value(TEST_ACCURACY) for seed, record in finished.items()}
    return {} if any(map(math.isnan, found.values())) else found


def _paired_test(arm: Mapping[int, float], other: Mapping[int, float] | None, confidence: float) -> Interval | None:
    """The difference of two arms' test accuracies over the seeds that both have; None without any."""
    _, ours, theirs = matched(arm, other or {})
    return paired_interval(ours, theirs, confidence) if len(ours) else None


def _series(record: TrialRecord, name: str) -> list[float]:
    return [finite(value) for value in record.curve(name)]


def _areas(finished: Mapping[int, TrialRecord], measure: Measure) -> dict[int, float]:
    curves = {seed: _series(record, measure.name) for seed, record in finished.items()}
    return {seed: float(area([y])[0]) for seed, y in curves.items() if y and all(map(math.isfinite, y))}


def _epochs_to_target(arm: Mapping[int, TrialRecord], baseline: Mapping[int, TrialRecord]) -> EpochsToTarget | None:
    """Per seed, the first epoch whose training loss is at most the baseline's last one of that seed.

    A seed of which the ledger has lost epochs does not count: one of these may have been the first.
    """
    counts = []
    for seed in sorted(arm.keys() & baseline.keys()):
        losses, target = _series(arm[seed], "train_loss"), _series(baseline[seed], "train_loss")
        whole = len(losses) == len(arm[seed].epochs)
        if losses and whole and target and not math.isnan(target[-1]):
            counts.append(next((e for e, loss in enumerate(losses, start=1) if loss <= target[-1]), math.inf))
    if not counts:
        return None
    middle = median(counts)  # a seed that never gets there counts as later than any epoch
    reached = sum(map(math.isfinite, counts))
    return EpochsToTarget(middle if math.isfinite(middle) else None, reached, len(counts))


def _step_ratio(arm: Mapping[int, TrialRecord], baseline: Mapping[int, TrialRecord]) -> float | None:
    """Median over paired seeds of the ratio of median step times: other work on the machine does not move a median."""
    ratios = []
    for seed in arm.keys() & baseline.keys():
        ours, theirs = _step_times(arm[seed]), _step_times(baseline[seed])
        if ours and theirs:
            ratios.append(median(ours) / median(theirs))
    return median(ratios) if ratios and math.isfinite(median(ratios)) else None


def _step_times(record: TrialRecord) -> list[float]:
    """Milliseconds a step of each epoch but the first of every attempt: with numba's compilation that took 8 times as long."""
    first = record.first_epochs | {1}
    times = enumerate(_series(record, "step_ms"), start=1)
    return [t for epoch, t in times if epoch not in first and math.isfinite(t) and t > 0]


def _missing(
    records: Sequence[TrialRecord], finished: Mapping[int, TrialRecord], seeds: Iterable[int], measure: Measure
) -> tuple[MissingTrial, ...]:
    latest = {record.seed: record for record in records}

    def why(seed: int) -> str:
        if seed not in latest:
            return "not planned"
        record = latest[seed]
        if record.status == "finished":
            return f"finished without a finite {measure.name}"
        return f"{record.status}: {_first_line(record.reason)}" if record.reason else record.status

    return tuple(MissingTrial(seed, why(seed)) for seed in seeds if seed not in finished)


def _verdicts(
    paired: Mapping[str, Sequence[float]], confidence: float, smallest_effect: float | None
) -> dict[str, Verdict]:
    """Per arm; none for one pair, nor where all differences are equal: no spread in a few seeds is no certainty."""
    judged = {arm: d for arm, d in paired.items() if len(d) > 1 and mean_interval(d).half_width > 0}
    p = [t_test(d).p for d in judged.values()]
    found = {}
    for (arm, d), plain, corrected in zip(judged.items(), p, holm(p).tolist(), strict=True):
        alpha = 1 - confidence
        same = None if smallest_effect is None else equivalence_test(d, smallest_effect, min(alpha, 0.49)).equivalent
        found[arm] = Verdict(plain, corrected, corrected < alpha, same)
    return found


def _first_line(text: str, most: int = 120) -> str:
    line = text.strip().splitlines()[0] if text.strip() else text
    return line if len(line) <= most else line[: most - 1] + "…"


# What the reader must know --------------------------------------------------------------------------------------------
def _notes(
    rows: Sequence[ArmRow],
    measure: Measure,
    reference: str | None,
    baseline: str | None,
    confidence: float,
    smallest_effect: float | None,
) -> Iterable[str]:
    most = max(row.n for row in rows)
    counts = sorted({row.n for row in rows})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    yield (
        f"n = {n} seeds per arm; ± is the half-width of the {confidence:.0%} t interval; differences are arm minus "
        f"other, paired by seed; {'higher' if measure.mode == 'max' else 'lower'} {measure.name} is better."
    )
    if baseline is not None:
        yield (
            f"to target: median epochs until the training loss is at most {baseline}'s final one of the same seed "
            f"(– never); step ×: time per step relative to {baseline}, without the first epoch of each attempt, which compiles "
            "(– if there is no other)."
        )
    if any(row.test_vs_baseline is not None for row in rows):
        yield f"test vs {baseline}: paired differences on test images, which choose nothing: no test is made, nothing is marked."
    verdicts = [v for row in rows for v in (row.verdict_reference, row.verdict_baseline)]
    if any(verdicts):
        marks = f"* differs at {1 - confidence:.2g} after Holm's correction over the arms of the column (paired t)"
        if smallest_effect is not None:
            marks += "; ≈ equivalent: within the smallest effect of interest (two one-sided tests)"
        yield marks + "; no mark: the seeds do not tell."
        yield (
            f"Bold (★): better than every other arm at {1 - confidence:.2g} after Holm's correction over them and in each "
            f"column (paired t){'' if any(row.best for row in rows) else '; here no arm is'}."
        )
    if smallest_effect is not None:
        unit = " points" if measure.unit == "%" else f" {measure.unit}".rstrip()
        yield f"Smallest effect of interest, fixed before the study: {smallest_effect:g}{unit}."
    if most < 2:
        yield "One seed has no spread: no interval can be given and no difference can be told from noise. Add seeds."
    elif (floor := 2 / 2**most) > 1 - confidence:
        yield (
            f"{most} seeds: whatever the data, the exact paired test cannot give a two-sided p below {floor:.4g}; "
            f"the t interval has {most - 1} degree{'s' if most > 2 else ''} of freedom and leans on normal differences."
        )
    if len({row.epochs for row in rows if row.epochs}) > 1:
        yield "epochs: how long each arm was trained; they differ" + (
            f". time ×: epochs times time per step, relative to {baseline}." if baseline is not None else "."
        )
    for row in rows:
        if row.missing:
            which = "; ".join(f"seed {m.seed} {m.why}" for m in row.missing)
            yield f"MISSING in {row.arm}: {which}. Its mean is over {row.n} of {row.n + len(row.missing)} seeds."
    for other, column in ((reference, "vs_reference"), (baseline, "vs_baseline")):
        short = [(row, getattr(row, column)) for row in rows if row.arm != other]
        thin = [
            f"{row.arm} ({found.n if found else 0})"
            for row, found in short
            if other and (found.n if found else 0) < most
        ]
        if thin:
            yield f"Pairs with {other} on fewer than {most} seeds: {', '.join(thin)}."
    if any(
        found and found.n > 1 and found.half_width == 0 for row in rows for found in (row.vs_reference, row.vs_baseline)
    ):
        yield "± 0: equal differences in every seed; the sample shows no spread, which is no proof that there is none."


_ALIKE = {"time": "equal training time", "flops": "equal FLOPs"}


def provenance(state: StudyState, finished: Iterable[TrialRecord], device: str, equal: str | None = None) -> Provenance:
    """Date, code version and budget per arm, from the ledger's header and the finished trials."""
    records = list(finished)
    header: Mapping[str, Any] = state.header or {}
    versions = header.get("versions") or {}
    commit = header.get("git_commit")
    version = f"fsg {versions.get('fsg', '?')}"
    if commit:
        version += f" ({commit[:7]}{'+' if commit.endswith('+') else ''})"  # "+": with changes not committed
    ended = [record.ended for record in records if record.ended is not None]
    date = (
        datetime.datetime.fromtimestamp(max(ended), datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        if ended
        else "no date yet"
    )
    epochs = sorted({len(record.curve("epoch")) for record in records})
    budget = "no finished trial" if not epochs else f"{epochs[0]} epochs per trial"
    if len(epochs) > 1:
        budget = f"{epochs[0]} to {epochs[-1]} epochs per trial ({_ALIKE.get(equal or '', 'unequal')})"
    return Provenance(str(header.get("name", "?")), date, device, version, budget)


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f' Did you mean "{close[0]}"?' if close else f" Its arms are {', '.join(names)}."
