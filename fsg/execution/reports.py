"""What a driver hands to a worker and what it hears from it: an assignment, then a report an epoch, or why there is none.

Plain values, no Ray. Ray Tune carries an assignment in a trial's configuration and a report in a result, each whole under
one key: Ray copies, flattens and averages what it can look into, and passes an object on as it is (seen with 2.60).
Proof: ``tests/execution/test_reports.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fsg.config import TrialConfig

ASSIGNMENT = "assignment"  # in a trial's configuration
REPORT = "report"  # in a result, which has "done" besides

Cause = Literal[
    "lost", "preempted", "memory", "hang", "data", "storage", "unwritable", "packed", "diverged", "disk", "user",
    "crashed",
]  # fmt: skip


@dataclass(frozen=True, slots=True, repr=False)
class TrialAssignment:
    """One attempt at one trial.

    Args:
        key: The trial's key in the ledger.
        config: What to train. Its paths are absolute: a worker has a working directory of its own.
        checkpoint: Where its newest checkpoint lies, or is to lie.
        software: What the driver runs, by name (``nodes.software``); a worker that runs other software refuses.
        best: Metric and mode by which the best checkpoint is kept too; None: none is.
        resources: ``cpu`` and ``gpu`` that Ray is to set aside; None: as much as for every trial.
        judged: Whether the scheduler may stop it early. The further seeds of a configuration are not judged.
        heard: The last epoch of a member of a population that the driver knows.
        until: The epoch after which such a member waits for the others; None: the last epoch.
    """

    key: str
    config: TrialConfig
    checkpoint: Path
    software: Mapping[str, str]
    best: tuple[str, Literal["min", "max"]] | None = None
    resources: Mapping[str, float] | None = None
    judged: bool = True
    heard: int = 0
    until: int | None = None

    def __repr__(self) -> str:
        """Short: Ray makes file names of it, and keeps the text of what it has pickled for as long as the driver lives."""
        return f"TrialAssignment({self.key})"


@dataclass(frozen=True, slots=True)
class EpochReport:
    """An epoch of a trial, whose checkpoint is on disk.

    Args:
        epoch: Its number, from 1.
        metrics: By name, ``epoch`` among them; None for what was not finite.
        layers: The metrics of each quantised layer, by the layer's name.
        checkpoint: Where the checkpoint is.
        status: ``running``, ``finished``, or ``paused`` for a member of a population that waits for the others.
        memory: Peak so far, and what there is, in bytes.
        fingerprint: Hashes of the initial ``weights`` and first ``batches``; with the first epoch alone.
        device: What it computes on, as its maker names it; with the first epoch of an attempt alone.
        damaged: Checkpoints that were found damaged: as what each was set aside, and why.
    """

    epoch: int
    metrics: Mapping[str, float | None]
    layers: Mapping[str, Mapping[str, float | None]]
    checkpoint: Path
    status: Literal["running", "paused", "finished"] = "running"
    memory: tuple[int, int] = (0, 0)
    fingerprint: Mapping[str, str] | None = None
    device: str | None = None
    damaged: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TrialEnd:
    """Why an attempt ended before its last epoch. As text, ``cause: reason``, as the ledger has it."""

    cause: Cause
    reason: str

    def __str__(self) -> str:
        return f"{self.cause}: {self.reason}"


def as_result(report: EpochReport | TrialEnd) -> dict[str, Any]:
    """A report as a result of Ray Tune, which looks for ``done`` alone."""
    return {REPORT: report, "done": isinstance(report, TrialEnd) or report.status != "running"}


def assignment_of(trial: Any) -> TrialAssignment:
    """What one of Ray's trials is an attempt at."""
    found: TrialAssignment = trial.config[ASSIGNMENT]
    return found


def report_of(result: Mapping[str, Any] | None) -> EpochReport | TrialEnd | None:
    """The report in a result; None where Ray speaks of a trial that has none."""
    found: EpochReport | TrialEnd | None = (result or {}).get(REPORT)
    return found


def finite_or_none(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON can hold them: None for what is not finite."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
