"""One attempt at a trial, epoch by epoch, in this process: from its last checkpoint if it has one.

What a trial may leave behind is its checkpoint alone; reports go to the driver, which is the one writer of the ledger. A
trial that diverges reports that; any other end is an exception that names its cause. Asked to leave, it saves its state after
the step under way and hands itself back. Proof: ``tests/ray_engine/test_trainable.py``.
"""

from __future__ import annotations

import errno
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fsg.errors import CheckpointCorrupt, TrialDiverged, TrialPreempted
from fsg.execution.devices import device_name
from fsg.execution.process import Stacks
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd, finite_or_none
from fsg.execution.software import refuse_other_software

if TYPE_CHECKING:
    from fsg.catalogue.data import DataSection
    from fsg.data import DataSplits
    from fsg.train.loop import EpochResult

STACKS = "stacks.txt"  # beside the checkpoint: what the threads of a worker that hung were doing


@functools.lru_cache(maxsize=1)
def _data(config: DataSection) -> DataSplits:
    """The images, once for all trials of a pack, and for the next one."""
    from fsg.data import load_data

    return load_data(config)


def training_device(device: str, gpus: float) -> str:
    """Where a trial trains: what its configuration names, and for ``auto`` what it was given.

    A trial that was given no GPU must not take one: it is counted as free for another.
    """
    return ("cuda" if gpus else "cpu") if device == "auto" else device


class TrialRun:
    """An attempt at what ``assignment`` describes, on so many CPU cores and GPUs.

    Everything slow or that can fail happens in ``epoch``: the driver knows by then who works on the trial, and where.
    """

    def __init__(
        self, assignment: TrialAssignment, cpus: float = 1, gpus: float = 0, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self.assignment, self.cpus, self.gpus, self.leaving = assignment, cpus, gpus, leaving
        self.trainer: Any = None
        self.resumed = False
        self.stacks: Stacks | None = None
        self.device: str | None = None

    def epoch(self) -> EpochReport | TrialEnd:
        """Train one. A resumed trial first reports its checkpoint's: the driver may have died before it heard of it.

        TrialPreempted where it was asked to leave; whatever else keeps it from training.
        """
        try:
            known = self.begin()
            return known or self.report(self.trainer.run_epoch(self.save, self.leaving))
        except TrialDiverged as error:
            return TrialEnd("diverged", str(error))

    def begin(self) -> EpochReport | None:
        """Make ready to train an epoch; the report of a resumed trial's checkpoint, if that is to be given first."""
        if self.leaving():
            raise TrialPreempted("asked to leave between two epochs.")
        if self.trainer is None:
            self._build()
        result = self.trainer.last_result if self.resumed else None
        self.resumed = False
        return self._reported(result) if result is not None else None

    def _build(self) -> None:
        assignment = self.assignment
        self.stacks = Stacks(assignment.checkpoint.with_name(STACKS))
        refuse_other_software(assignment.software)  # of a node that joined after the driver had asked all
        import torch

        from fsg.train import Trainer
        from fsg.train.checkpoint import CheckpointStore
        from fsg.train.fingerprint import fingerprint
        from fsg.train.memory import keep_memory, watch_memory

        keep_memory()
        torch.set_num_threads(max(1, math.floor(self.cpus)))
        trial = assignment.config
        device = training_device(trial.device, self.gpus)
        self.alone = self.gpus >= 1
        trainer = Trainer(trial.model_copy(update={"device": device}), _data(trial.images))
        better = assignment.best[1] if assignment.best else None
        self.checkpoints = CheckpointStore(assignment.checkpoint, better)
        state = self.checkpoints.load()
        self.fingerprint: dict[str, str] | None = None
        heard = assignment.heard
        self.until = trial.epochs if assignment.until is None else assignment.until
        if state is None:
            self.fingerprint = fingerprint(trainer)
        elif self.until == trial.epochs and not heard:
            trainer.load_state_dict(state)
        else:
            trainer.take_over(state)
        if trainer.epoch < heard:
            raise CheckpointCorrupt(f"{self.checkpoints.path}: the checkpoint of epoch {heard} is lost or damaged.")
        self.resumed = trainer.epoch > heard
        self.device = device_name(trainer.device)
        watch_memory(trainer.device)
        self.trainer = trainer

    def report(self, result: EpochResult) -> EpochReport:
        """Save what was trained, then say so."""
        best = self.assignment.best
        self.save(self.trainer.state_dict(), result.metrics.get(best[0]) if best else None)
        return self._reported(result)

    def _reported(self, result: EpochResult) -> EpochReport:
        from fsg.train.memory import peak_memory

        if self.trainer.finished:
            self.checkpoints.prune()
        fingerprint, self.fingerprint = self.fingerprint, None  # with the first epoch only
        device, self.device = self.device, None  # with the first of an attempt
        damaged, self.checkpoints.damaged = tuple((str(p), why) for p, why in self.checkpoints.damaged), []
        return EpochReport(
            result.epoch,
            finite_or_none(result.metrics),
            {name: finite_or_none(values) for name, values in result.layers.items()},
            self.checkpoints.path,
            "running" if result.epoch < self.until else "finished" if self.trainer.finished else "paused",
            peak_memory(self.trainer.device, self.alone),
            fingerprint,
            device,
            damaged,
        )

    def save(self, state: dict[str, Any], value: float | None = None) -> None:
        """Into the folder that was there when the trial began: one that is gone is not made again, as half a study."""
        folder = self.checkpoints.path.parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the trial's folder is gone", str(folder))
        self.checkpoints.save(state, value)

    def close(self) -> None:
        """Leave nothing open."""
        if self.stacks is not None:
            self.stacks.close()
