"""The recording as a scheduler around Ray Tune's scheduler: every event is written before anyone decides on it.

Ray Tune tells its scheduler about a result first, then its searcher, then its callbacks. Standing around the scheduler, the
recorder is told before all of them, and sees the decision come back: a stop before the last epoch is a pruned trial.
Proof: ``tests/ray_engine/test_recorder.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from fsg.errors import StudyError
from fsg.execution.recording import Recording
from fsg.execution.reports import EpochReport, assignment_of, report_of
from fsg.execution.retry import read_crash
from fsg.ray_engine.snapshots import NotInSnapshots, Unrecorded


class Recorder(NotInSnapshots, TrialScheduler):
    """Decides nothing about results: writes them by ``recording``, and asks ``inner``."""

    def __init__(self, recording: Recording, inner: TrialScheduler) -> None:
        super().__init__()
        self.recording, self.inner = recording, inner
        self._complete: Trial | None = None  # the last that Ray said had come to its end

    @property
    def supports_buffered_results(self) -> bool:
        """Never: an epoch is written when it happens."""
        return False

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Pass on."""
        self._metric = metric
        return self.inner.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """From now on it is in no snapshot of Ray's. Pass on."""
        trial.__class__ = Unrecorded  # an attribute of its own instead would cost each trial 1.5 kB
        self.inner.on_trial_add(tune_controller, trial)

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Write the epoch, then ask; write the pruning if that is the answer."""
        report = report_of(result)
        assert isinstance(report, EpochReport)

        def decided() -> str | None:
            if self.inner.on_trial_result(tune_controller, trial, result) != TrialScheduler.STOP:
                return None
            return getattr(self.inner, "reason", None) or type(self.inner).__name__

        stops = self.recording.heard(assignment_of(trial), report, decided) == "stop"
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Write the last epoch and the end, then pass on what is over."""
        self._complete = trial
        assignment = assignment_of(trial)
        self.recording.ended(assignment, report_of(result))
        if not self.recording.is_to_run_again(assignment.key):
            self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Write why, and whether it runs again; pass on what is over. An error of our own at a trial's end ends the run."""
        key = assignment_of(trial).key
        if trial is self._complete:  # what failed since is no fault of the trial's, though Ray calls it that
            raise sys.exception() or StudyError(f"trial {key}: its end could not be dealt with.")
        self.recording.crashed(key, read_crash(_text(trial)))
        if not self.recording.is_to_run_again(key):
            self.inner.on_trial_error(tune_controller, trial)

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on."""
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Trial | None:
        """Pass on."""
        return self.inner.choose_trial_to_run(tune_controller, **options)

    def debug_string(self) -> str:
        """The inner scheduler's."""
        return self.inner.debug_string()


class StartRecorder(NotInSnapshots, Callback):
    """Writes that a trial has started, on which node: a scheduler is not told."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One more attempt."""
        try:
            node = trial.get_ray_actor_ip() or "127.0.0.1"
        except RayActorError:  # its worker was killed in this moment; Ray says so next, and the trial runs again
            node = "unknown"
        self.recording.started(assignment_of(trial).key, node)


def _text(trial: Trial) -> str:
    """What Ray kept of the error."""
    written = Path(trial.error_file or "")  # beside the driver; trial.get_error() looks where it is copied to later
    return written.read_text(errors="replace") if written.is_file() else ""
