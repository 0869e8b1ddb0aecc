"""What is written to the ledger of what trials report, before anyone decides on it. Knows no engine.

An attempt that did not end by itself is written down with its cause, and whether the trial runs again (``retry.py``).
Proof: ``tests/ray_engine/test_recorder.py``, ``tests/execution/test_local_engine.py``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Literal

from fsg.errors import StorageFailed, StudyError
from fsg.execution.disk_space import DiskSpace
from fsg.execution.gpu_packing import Packing
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd
from fsg.execution.retry import Limits, decide
from fsg.files import previous_of
from fsg.record.folder import in_study
from fsg.record.ledger import Ledger, TrialRecord


class Recording:
    """The one door to the ledger for what trials do.

    ``records`` are the trials as the ledger has them; ``packing`` learns from measured memory, ``disk_space`` of checkpoints
    and of workers that found the disk full; ``device`` is what the ledger says that trials compute on, which one that knows
    better corrects. ``error`` is why the study cannot go on, if a user must mend something.
    """

    def __init__(
        self,
        ledger: Ledger,
        records: Mapping[str, TrialRecord] | None = None,
        limits: Limits | None = None,
        packing: Packing | None = None,
        device: str | None = None,
        disk_space: DiskSpace | None = None,
    ) -> None:
        self.ledger = ledger
        self.limits = limits or Limits()
        self.packing = packing
        self.device = device
        self.disk_space = disk_space
        self.error: StudyError | None = None
        known = records or {}
        self._epochs = {key: record.epochs[-1]["epoch"] for key, record in known.items() if record.epochs}
        self._retries = {key: list(record.retries) for key, record in known.items()}
        self._peaks = {key: record.memory[0] for key, record in known.items() if record.memory}
        self._blamed: dict[str, TrialEnd] = {}
        self._again: set[str] = set()
        self._ended: set[str] = set()
        self.attempts = Counter({key: record.attempts for key, record in known.items()})

    def started(self, key: str, node: str) -> None:
        """One more attempt at a trial, on the node of that address."""
        self.attempts[key] += 1
        self.ledger.append("started", key=key, attempt=self.attempts[key], node=node, device=self.device)

    def heard(
        self, assignment: TrialAssignment, report: EpochReport, decided: Callable[[], str | None]
    ) -> Literal["go on", "stop"]:
        """Write an epoch that is not the last, then ask why the trial should stop, and write that, if it should."""
        self._write_epoch(assignment, report)
        reason = decided()
        if reason is not None:
            self._end(assignment.key, "pruned", epoch=report.epoch, reason=reason)
            previous_of(report.checkpoint).unlink(missing_ok=True)  # as the worker does where a trial finishes
            return "stop"
        if self._takes_too_much(assignment):
            end = TrialEnd("packed", "its memory is known now; it goes on with a smaller share.")
            self.interrupted(assignment.key, end)
            return "stop"
        return "go on"

    def ended(self, assignment: TrialAssignment, report: EpochReport | TrialEnd | None) -> None:
        """Write the last epoch, and the end that it is."""
        key = assignment.key
        if isinstance(report, TrialEnd):
            self._end(key, "failed", reason=str(report))
        elif report is not None and key not in self._ended | self._again:
            if report.status == "paused":
                self._write_epoch(assignment, report, ("paused", {"epoch": report.epoch}))
            else:
                self._write_epoch(assignment, report, ("finished", {"metrics": report.metrics}))
                self._ended.add(key)

    def is_to_run_again(self, key: str) -> bool:
        """Whether another attempt follows."""
        return key in self._again

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
            kind = StorageFailed if cause in ("storage", "unwritable") else StudyError
            self.error = kind(
                f"trial {key}: {end.reason}\n"
                "The study was stopped, with everything recorded: mend this, then go on with fsg resume."
            )
            raise self.error
        if cause == "disk" and self.disk_space is not None:
            self.disk_space.refused(sum(e["cause"] == cause and e["epoch"] == epoch for e in earlier))
        if cause == "memory" and self.packing is not None:
            self.packing.ran_out(key)
        self._again.add(key)

    def crashed(self, key: str, end: TrialEnd) -> None:
        """The worker of a trial is gone: for ``end``, unless it was us who ended it."""
        self.interrupted(key, self._blamed.pop(key, end))

    def blame(self, key: str, end: TrialEnd) -> None:
        """Why the worker of a trial is about to be ended by us."""
        self._blamed[key] = end

    def runs_again(self, key: str) -> bool:
        """Whether the attempt that just ended is followed by another; asked once."""
        again = key in self._again
        self._again.discard(key)
        return again

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
        if self.disk_space is not None:
            self.disk_space.wrote(report.checkpoint)
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
