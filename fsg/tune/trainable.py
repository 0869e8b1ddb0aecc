"""The trainer as Ray Tune sees it: one Tune iteration is one epoch, actors are reused from trial to trial.

What a trial may leave behind is its checkpoint alone; results travel to the driver, which is the one writer of the ledger.
A trial that diverges ends as an ordinary result that says so: the reason arrives whole and the actor lives on. Any other
end is an exception that names its cause, and the process is not used again. SIGTERM, as a machine sends it that is about
to be taken away, makes the trial save its state after the step under way and hand itself back.
Proof: ``tests/tune/test_trainable.py``.
"""

from __future__ import annotations

import errno
import math
from typing import Any

from ray import tune

from fsg.errors import CheckpointCorrupt, TrialDiverged, TrialPreempted
from fsg.tune.devices import device_name
from fsg.tune.nodes import refuse_other_software
from fsg.tune.reports import ASSIGNMENT, EpochReport, TrialAssignment, TrialEnd, as_result, finite_or_none
from fsg.tune.retry import as_ended
from fsg.tune.worker import Leaving, Stacks, follow_raylet

STACKS = "stacks.txt"  # beside the checkpoint: what the threads of a worker that hung were doing


def device_of(device: str, gpus: float) -> str:
    """Where a trial trains: what its configuration names, and for ``auto`` what Ray has given it.

    A trial that was given no GPU must not take one: Ray counts on it being free for another.
    """
    return ("cuda" if gpus else "cpu") if device == "auto" else device


class FsgTrainable(tune.Trainable):
    """Trains one trial, epoch by epoch, from its last checkpoint if it has one.

    Everything slow or that can fail happens in ``step``: the driver knows by then who works on the trial, and where.

    A member of a population is one of Ray's trials from each pause to the next; its checkpoint may be another member's.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the trial. ``config`` holds its assignment."""
        self.assignment: TrialAssignment = config[ASSIGNMENT]
        self.trainer: Any = None
        self.stacks: Stacks | None = None
        self.device: str | None = None
        if not hasattr(self, "leaving"):  # one for all trials of this process
            self.leaving = Leaving()
            follow_raylet(self.leaving)

    def step(self) -> dict[str, Any]:
        """One epoch. A resumed trial first reports its checkpoint's: the driver may have died before it heard of it."""
        with self.leaving:
            try:
                if self.leaving():
                    raise TrialPreempted("asked to leave between two epochs.")
                if self.trainer is None:
                    self._build()
                return as_result(self._epoch())
            except TrialDiverged as error:
                return as_result(TrialEnd("diverged", str(error)))
            except Exception as error:
                raise as_ended(error) from error

    def _build(self) -> None:
        assignment = self.assignment
        self.stacks = Stacks(assignment.checkpoint.with_name(STACKS))
        refuse_other_software(assignment.software)  # of a node that joined after the driver had asked all
        import torch

        from fsg.train import Trainer
        from fsg.train.checkpoint import CheckpointStore
        from fsg.train.fingerprint import fingerprint
        from fsg.train.memory import watch_memory

        resources = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, math.floor(resources.get("CPU", 1))))
        trial = assignment.config
        device = device_of(trial.device, resources.get("GPU", 0))
        self.alone = resources.get("GPU", 0) >= 1
        trainer = Trainer(trial.model_copy(update={"device": device}))
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

    def _epoch(self) -> EpochReport:
        from fsg.train.memory import peak_memory

        result = self.trainer.last_result if self.resumed else None
        self.resumed = False
        if result is None:
            result = self.trainer.run_epoch(self._save, self.leaving)
            best = self.assignment.best
            self._save(self.trainer.state_dict(), result.metrics.get(best[0]) if best else None)
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

    def _save(self, state: dict[str, Any], value: float | None = None) -> None:
        """Into the folder that was there when the trial began: one that is gone is not made again, as half a study."""
        folder = self.checkpoints.path.parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the trial's folder is gone", str(folder))
        self.checkpoints.save(state, value)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Leave nothing open."""
        if self.stacks is not None:
            self.stacks.close()

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are the study's own."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: ``setup`` has loaded the study's own checkpoint."""
