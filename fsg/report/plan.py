"""A study's plan in numbers, without a step being timed: arms, trials, those that are over, hours where trials have shown them.

``fsg ablate --dry-run`` times steps instead (``fsg/report/dry_run.py``). Pure: a specification and a folded ledger in.
Proof: ``tests/report/test_plan.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from fsg.record.ledger import StudyState
from fsg.report.dry_run import sentences
from fsg.study.plan import SWEEP_ARM
from fsg.study.spec import AblationSpec, SweepSpec


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One arm, or the search of a sweep.

    Attributes:
        epochs: Of a trial; None where they follow from costs that are not measured yet, or are searched.
        over: How many of ``trials`` have ended.
        hours: Of a trial; None before one has run in one piece.
    """

    name: str
    epochs: int | None
    trials: int
    over: int
    hours: float | None


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """What a study runs. ``notes``: seeds, fairness, aliases; of a sweep its space and rules."""

    spec: AblationSpec | SweepSpec
    arms: tuple[ArmPlan, ...]
    notes: tuple[str, ...]

    @property
    def trials(self) -> int:
        """Of all arms."""
        return sum(arm.trials for arm in self.arms)

    @property
    def over(self) -> int:
        """Those of all arms that have ended."""
        return sum(arm.over for arm in self.arms)

    @property
    def hours(self) -> float | None:
        """Of training, for the trials that are left; None where those of an arm with any left are not known."""
        left = [(arm.trials - arm.over, arm.hours) for arm in self.arms if arm.trials > arm.over]
        return None if any(hours is None for _, hours in left) else sum(count * (hours or 0.0) for count, hours in left)


def plan_of(spec: AblationSpec | SweepSpec, state: StudyState) -> StudyPlan:
    """The plan of ``spec``. ``state``: the ledger of the study of its name, folded; empty where it has not begun."""
    hours, notes = trial_hours(state), tuple(sentences(spec))
    over = [record for record in state.trials.values() if record.over]
    if isinstance(spec, SweepSpec):
        epochs = None if "epochs" in spec.space.paths else spec.base.epochs
        trials = spec.search.trials
        search = ArmPlan(SWEEP_ARM, epochs, trials, min(trials, len(over)), hours.get(SWEEP_ARM))
        return StudyPlan(spec, (search,), notes)
    known = not spec.fairness.by_cost or spec.plan.arms.keys() <= spec.fairness.costs.keys()
    # What a search gives an arm is part of its trials' keys, and stands in no file.
    ended = {(record.arm, record.seed) if spec.retune else record.key for record in over}
    done = [
        trial.arm for trial in spec.plan.trials() if ((trial.arm, trial.seed) if spec.retune else trial.key) in ended
    ]
    arms = (
        ArmPlan(arm, config.epochs if known else None, len(spec.first_seeds), done.count(arm), hours.get(arm))
        for arm, config in spec.plan.arms.items()
    )
    return StudyPlan(spec, tuple(arms), notes)


def trial_hours(state: StudyState) -> dict[str, float]:
    """By arm, the median hours of its finished trials that ran in one piece; without the arms that have none."""
    times: dict[str, list[float]] = {}
    for record in state.trials.values():
        if record.status == "finished" and record.attempts <= 1 and record.started and record.ended:
            times.setdefault(record.arm, []).append((record.ended - record.started) / 3600)
    return {arm: median(found) for arm, found in times.items()}
