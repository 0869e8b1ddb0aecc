"""Who decides that a trial stops early, by the names a specification uses, and told what the ledger knows.

Proof: ``tests/ray_engine/test_scheduler.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fsg.parts import part_of
from fsg.record.ledger import TrialRecord, finite
from fsg.search.decisions import Expected, Never, Rule
from fsg.study.population import is_population
from fsg.study.search import longest
from fsg.study.spec import SweepSpec


class Ends:
    """What trials are expected to end at, by a model if there is one; None until ``asked`` is set.

    A rule that is told what the ledger knows must decide as it did then: the model has learnt since.
    """

    def __init__(self, expected: Expected | None = None) -> None:
        self._expected, self.asked = expected, False

    def __call__(self, epoch: int, values: Mapping[str, float]) -> Mapping[str, float] | None:
        """As ``Expected``."""
        return self._expected(epoch, values) if self._expected is not None and self.asked else None


def make_rule(spec: SweepSpec, expected: Expected) -> Rule:
    """The rule of a sweep, whose unit of time is the epoch. A population stops no trial."""
    if is_population(spec):
        return Never()
    rule: Rule = part_of("scheduler", spec.scheduler).make(spec.scheduler, longest(spec), expected)
    return rule


class Judge:
    """A rule, told of the metric that a sweep is led by.

    The further seeds of a configuration are not judged: its first seed was, and would count again.
    """

    def __init__(self, rule: Rule, name: str, metric: str, mode: str) -> None:
        self.rule, self.name, self.measured = rule, name, metric
        self.sign = 1 if mode == "max" else -1
        # key -> metrics of its last epoch before a restart, until it reports.
        self.last: dict[str, Mapping[str, Any]] = {}

    def stop(self, key: str, metrics: Mapping[str, Any]) -> str | None:
        """Why the trial should stop after an epoch; None if it should go on, or nothing was measured."""
        last = self.last.pop(key, None)
        if last is not None and last["epoch"] < metrics["epoch"]:
            self.stop(key, last)  # it was let go on; the others are held against it
        value = finite(metrics.get(self.measured))
        if math.isnan(value):
            return None
        why = self.rule.stop(key, metrics["epoch"], self.sign * value)
        return None if why is None else f"{self.name}: {why}"


def make_judge(spec: SweepSpec, records: Mapping[str, TrialRecord], expected: Expected | None = None) -> Judge:
    """The judge of a sweep. It judges as one that saw all epochs of the ``records``, by ``expected`` ends if it can.

    Of a trial that has not ended it has yet to hear the last one: a worker that takes it up reports that once more, or has
    trained beyond it.
    """
    ends = Ends(expected)
    judge = Judge(make_rule(spec, ends), spec.scheduler.name, spec.metric.name, spec.metric.mode)
    for key, record in records.items():
        if record.seed == spec.seed and record.epochs:
            *before, last = record.epochs
            for metrics in before:
                judge.stop(key, metrics)
            if record.over:
                judge.stop(key, last)
            else:
                judge.last[key] = last
    ends.asked = True
    return judge
