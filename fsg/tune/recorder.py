"""The one door to the ledger: a scheduler around the scheduler that writes every event before anyone decides on it.

Ray Tune tells its scheduler about a result first, then its searcher, then its callbacks. Standing around the scheduler, the
recorder is told before all of them, and sees the decision come back: a stop before the last epoch is a pruned trial. An
attempt that did not end by itself is written down with its cause, and whether the trial runs again (``retry.py``).
Proof: ``tests/tune/test_recorder.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray.exceptions import RayActorError
from ray.tune import Callback
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from fsg.errors import StorageFailed, StudyError
from fsg.files import previous_of
from fsg.study.folder import in_study
from fsg.study.ledger import Ledger, TrialRecord
from fsg.tune.packing import Packing
from fsg.tune.reports import EpochReport, TrialAssignment, TrialEnd, assignment_of, report_of
from fsg.tune.retry import Limits, decide, read_crash
from fsg.tune.room import Room
from fsg.tune.snapshots import NotInSnapshots, Unrecorded


class Recorder(NotInSnapshots, TrialScheduler):
    """Decides nothing about results: delegates to ``inner`` and appends to the ledger.

    ``records`` are the trials as the ledger has them; ``packing`` learns from measured memory, ``room`` of checkpoints and of
    workers that found the disk full; ``device`` is what the ledger says that trials compute on, which one that knows better
    corrects. ``error`` is why the study cannot go on, if a user must mend something.
    """

    def __init__(
        self,
        ledger: Ledger,
        inner: TrialScheduler,
        records: Mapping[str, TrialRecord] | None = None,
        limits: Limits | None = None,
        packing: Packing | None = None,
        device: str | None = None,
        room: Room | None = None,
    ) -> None:
        super().__init__()
        self.ledger = ledger
        self.inner = inner
        self.limits = limits or Limits()
        self.packing = packing
        self.device = device
        self.room = room
        self.error: StudyError | None = None
        known = records or {}
        self._epochs = {key: record.epochs[-1]["epoch"] for key, record in known.items() if record.epochs}
        self._retries = {key: list(record.retries) for key, record in known.items()}
        self._peaks = {key: record.memory[0] for key, record in known.items() if record.memory}
        self._blamed: dict[str, TrialEnd] = {}
        self._again: set[str] = set()
        self._ended: set[str] = set()

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
        report, assignment = report_of(result), assignment_of(trial)
        assert isinstance(report, EpochReport)
        self._write_epoch(assignment, report)
        decision = self.inner.on_trial_result(tune_controller, trial, result)
        if decision == TrialScheduler.STOP:
            reason = getattr(self.inner, "reason", None) or type(self.inner).__name__
            self._end(assignment.key, "pruned", epoch=report.epoch, reason=reason)
            previous_of(report.checkpoint).unlink(missing_ok=True)  # as the worker does where a trial finishes
        elif self._takes_too_much(assignment):
            end = TrialEnd("packed", "its memory is known now; it goes on with a smaller share.")
            self.interrupted(assignment.key, end)
            return TrialScheduler.STOP
        return decision

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Write the last epoch and the end, then pass on."""
        report, assignment = report_of(result), assignment_of(trial)
        key = assignment.key
        if isinstance(report, TrialEnd):
            self._end(key, "failed", reason=str(report))
        elif report is not None and key not in self._ended | self._again:
            if report.status == "paused":
                self._write_epoch(assignment, report, ("paused", {"epoch": report.epoch}))
            else:
                self._write_epoch(assignment, report, ("finished", {"metrics": report.metrics}))
                self._ended.add(key)
        if key not in self._again:
            self.inner.on_trial_complete(tune_controller, trial, result)

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Write why, and whether it runs again; pass on what is over."""
        key = assignment_of(trial).key
        self.interrupted(key, self._blamed.pop(key) if key in self._blamed else read_crash(_text(trial)))
        if key not in self._again:
            self.inner.on_trial_error(tune_controller, trial)

    def interrupted(self, key: str, end: TrialEnd) -> None:
        """An attempt at a trial is over before its end. StudyError if the user must mend something first."""
        if key in self._ended:
            return
        cause, epoch, earlier = end.cause, self._epochs.get(key, 0), self._retries.setdefault(key, [])
        action = decide(cause, epoch, earlier, self.limits)
        if action == "fail":
            times = f" (after {len(earlier) + 1} attempts)" if earlier else ""
            self._ended.add(key)
            self.ledger.append("failed", key=key, reason=f"{end}{times}")
            return
        event = self.ledger.append("retried", key=key, cause=cause, epoch=epoch, reason=str(end))
        earlier.append(event)
        if action == "stop":
            kind = StorageFailed if cause == "unwritable" else StudyError
            self.error = kind(
                f"trial {key}: {end.reason}\n"
                "The study was stopped, with everything recorded: mend this, then go on with fsg resume."
            )
            raise self.error
        if cause == "disk" and self.room is not None:
            self.room.refused(sum(e["cause"] == cause and e["epoch"] == epoch for e in earlier))
        if cause == "memory" and self.packing is not None:
            self.packing.ran_out(key)
        self._again.add(key)

    def blame(self, key: str, end: TrialEnd) -> None:
        """Why the worker of a trial is about to be ended by us."""
        self._blamed[key] = end

    def runs_again(self, key: str) -> bool:
        """Whether the attempt that just ended is followed by another; asked once."""
        again = key in self._again
        self._again.discard(key)
        return again

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Pass on."""
        self.inner.on_trial_remove(tune_controller, trial)

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Trial | None:
        """Pass on."""
        return self.inner.choose_trial_to_run(tune_controller, **options)

    def debug_string(self) -> str:
        """The inner scheduler's."""
        return self.inner.debug_string()

    def _write_epoch(
        self, assignment: TrialAssignment, report: EpochReport, *ends: tuple[str, Mapping[str, Any]]
    ) -> None:
        """All that a report says, in one append."""
        events: list[tuple[str, Mapping[str, Any]]] = []
        if report.fingerprint is not None:
            events.append(("fingerprint", report.fingerprint))
        if report.device not in (None, self.device):
            events.append(("device", {"device": report.device}))
        events.append(("epoch", {"metrics": report.metrics}))
        if report.layers:
            events.append(("layers", {"epoch": report.epoch, "layers": report.layers}))
        checkpoint, key = in_study(report.checkpoint), assignment.key
        events.append(("checkpoint", {"epoch": report.epoch, "path": checkpoint}))
        events += self._memory(assignment, report)
        damaged = [
            ("damaged", {"file": checkpoint, "line": None, "aside": in_study(aside), "detail": detail})
            for aside, detail in report.damaged
        ]
        self._epochs[key] = report.epoch
        if self.room is not None:
            self.room.wrote(report.checkpoint)
        self.ledger.append_all([*damaged, *((name, {"key": key, **fields}) for name, fields in [*events, *ends])])

    def _memory(self, assignment: TrialAssignment, report: EpochReport) -> list[tuple[str, Mapping[str, Any]]]:
        """A peak is news when it is known for the first time, or has grown by a twentieth."""
        peak, capacity = report.memory
        if peak <= 1.05 * self._peaks.get(assignment.key, 0):
            return []
        self._peaks[assignment.key] = peak
        if self.packing is not None:
            self.packing.measured(assignment.config, peak, capacity)
        return [("memory", {"peak": peak, "capacity": capacity})]

    def _takes_too_much(self, assignment: TrialAssignment) -> bool:
        """Whether a trial has more of its GPU than one of its size needs."""
        if self.packing is None or assignment.resources is None:
            return False
        fits = self.packing.resources(assignment.key, assignment.config)
        return fits["gpu"] < assignment.resources["gpu"]

    def _end(self, key: str, event: str, **fields: Any) -> None:
        if key not in self._ended:
            self._ended.add(key)
            self.ledger.append(event, key=key, **fields)


class StartRecorder(NotInSnapshots, Callback):
    """Writes that a trial has started, on which node and device: a scheduler is not told."""

    def __init__(self, ledger: Ledger, attempts: Mapping[str, int], device: str) -> None:
        self.ledger = ledger
        self.attempts = Counter(attempts)
        self.device = device

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """One more attempt."""
        key = assignment_of(trial).key
        self.attempts[key] += 1
        try:
            node = trial.get_ray_actor_ip() or "127.0.0.1"
        except RayActorError:  # its worker was killed in this moment; Ray says so next, and the trial runs again
            node = "unknown"
        self.ledger.append("started", key=key, attempt=self.attempts[key], node=node, device=self.device)


def _text(trial: Trial) -> str:
    """What Ray kept of the error."""
    written = Path(trial.error_file or "")  # beside the driver; trial.get_error() looks where it is copied to later
    return written.read_text(errors="replace") if written.is_file() else ""
