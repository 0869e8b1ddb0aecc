"""Who decides that a trial stops early, by the names a specification uses: a pure rule, as a scheduler of Ray Tune."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.tune.schedulers import TrialScheduler

from fsg.study.ledger import TrialRecord, finite
from fsg.study.search import Asha, Hyperband, Median, longest
from fsg.study.spec import SweepSpec
from fsg.tune.decisions import Brackets, Expected, Halving, MedianRule, Never, Rule
from fsg.tune.reports import EpochReport, assignment_of, report_of
from fsg.tune.turns import Turns


def make_rule(spec: SweepSpec) -> Rule:
    """The rule of a sweep. Its unit of time is the epoch."""
    match spec.scheduler:
        case Asha(grace_epochs=grace, reduction_factor=factor):
            return Halving(grace, factor, longest(spec))
        case Hyperband(grace_epochs=grace, reduction_factor=factor):
            return Brackets(grace, factor, longest(spec))
        case Median(grace_epochs=grace, min_trials=least):
            return MedianRule(grace, least)
        case _:
            return Never()


def make_scheduler(
    spec: SweepSpec, records: Mapping[str, TrialRecord], expected: Expected | None = None
) -> RuleScheduler:
    """The scheduler of a sweep. It judges as one that saw all epochs of the ``records``, by ``expected`` ends if it can.

    Of a trial that has not ended it has yet to hear the last one: a worker that takes it up reports that once more.
    """
    rule = make_rule(spec)
    scheduler = RuleScheduler(rule, spec.scheduler.name, spec.metric.name, spec.metric.mode)
    for key, record in records.items():
        if record.seed == spec.seed:
            for metrics in record.epochs if record.over else record.epochs[:-1]:
                scheduler.judge(key, metrics)
    for halving in rule.halvings if isinstance(rule, Brackets) else [rule]:
        if isinstance(halving, Halving):
            halving.expected = expected
    return scheduler


class RuleScheduler(Turns):
    """A rule told of Ray's results. ``reason`` is why it stopped the last trial it stopped.

    The further seeds of a configuration are not judged: its first seed was, and would count again.
    """

    def __init__(self, rule: Rule, name: str, metric: str, mode: str) -> None:
        super().__init__()
        self.rule, self.name, self.measured = rule, name, metric
        self.sign = 1 if mode == "max" else -1
        self.reason: str | None = None

    def judge(self, key: str, metrics: Mapping[str, Any]) -> str | None:
        """Why the trial should stop after an epoch; None if it should go on, or nothing was measured."""
        value = finite(metrics.get(self.measured))
        if math.isnan(value):
            return None
        return self.rule.stop(key, metrics["epoch"], self.sign * value)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP or CONTINUE."""
        report, assignment = report_of(result), assignment_of(trial)
        assert isinstance(report, EpochReport)
        why = self.judge(assignment.key, report.metrics) if assignment.judged else None
        if why is None:
            return TrialScheduler.CONTINUE
        self.reason = f"{self.name}: {why}"
        return TrialScheduler.STOP

    def debug_string(self) -> str:
        """Its name."""
        return self.name
