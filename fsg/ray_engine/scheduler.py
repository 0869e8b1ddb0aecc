"""The judge of a sweep as a scheduler of Ray Tune."""

from __future__ import annotations

from typing import Any

from ray.tune.schedulers import TrialScheduler

from fsg.execution.engine import Decides
from fsg.execution.reports import EpochReport, assignment_of, report_of
from fsg.ray_engine.worker_reuse import WorkerReuse


class RuleScheduler(WorkerReuse):
    """A judge told of Ray's results. ``reason`` is why it stopped the last trial it stopped."""

    def __init__(self, judge: Decides, slots: int = 1) -> None:
        super().__init__(slots)
        self.judge = judge
        self.reason: str | None = None

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """STOP or CONTINUE."""
        report, assignment = report_of(result), assignment_of(trial)
        assert isinstance(report, EpochReport)
        why = self.judge.stop(assignment.key, report.metrics) if assignment.judged else None
        if why is None:
            return TrialScheduler.CONTINUE
        self.reason = why
        return TrialScheduler.STOP

    def debug_string(self) -> str:
        """Its name."""
        return self.judge.name
