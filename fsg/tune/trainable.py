"""The trainer as Ray Tune sees it: one Tune iteration is one epoch, actors are reused from trial to trial.

What a trial may leave behind is its checkpoint alone; results travel to the driver, which is the one writer of the ledger.
A trial that diverges ends as an ordinary result that says so: the reason arrives whole and the actor lives on. Any other
end is an exception that names its cause, and the process is not used again. SIGTERM, as a machine sends it that is about
to be taken away, makes the trial save its state after the step under way and hand itself back.
Proof: ``tests/tune/test_trainable.py``.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ray import tune

from fsg.config import TrialConfig
from fsg.errors import CheckpointCorrupt, TrialDiverged, TrialPreempted
from fsg.tune.devices import device_name
from fsg.tune.nodes import refuse_other_software, software
from fsg.tune.retry import as_ended
from fsg.tune.worker import Leaving, Stacks, follow_raylet

# Keys of a result besides Ray's own.
METRICS, LAYERS, FAILED, CHECKPOINT, FINGERPRINT = "metrics", "layers", "failed", "checkpoint", "fingerprint"
DEVICE, DAMAGED, MEMORY, PAUSED = "device", "damaged", "memory", "paused"
BEST = "best"  # in a configuration: metric and mode by which the best checkpoint is kept, as JSON; none if absent
RESOURCES = "resources"  # in a configuration: what Ray is to set aside for the trial
STACKS = "stacks.txt"  # beside the checkpoint: what the threads of a worker that hung were doing


def tune_config(key: str, config: TrialConfig, checkpoint: Path) -> dict[str, Any]:
    """What Ray carries to a worker: text, because Ray rewrites nested dictionaries.

    Paths become absolute: they were written as seen from the driver's working directory, and a worker has its own.
    """
    data, model = config.data, config.model
    root = str(Path(data.root or "data").expanduser().absolute())
    pretrained = model.pretrained and str(Path(model.pretrained).expanduser().absolute())
    here = config.model_copy(
        update={
            "data": data.model_copy(update={"root": root}),
            "model": model.model_copy(update={"pretrained": pretrained}),
        }
    )
    return {
        "key": key,
        "trial": here.model_dump_json(),
        "checkpoint": str(checkpoint),
        "software": json.dumps(software()),
    }


def device_of(device: str, gpus: float) -> str:
    """Where a trial trains: what its configuration names, and for ``auto`` what Ray has given it.

    A trial that was given no GPU must not take one: Ray counts on it being free for another.
    """
    return ("cuda" if gpus else "cpu") if device == "auto" else device


class FsgTrainable(tune.Trainable):
    """Trains one trial, epoch by epoch, from its last checkpoint if it has one.

    Everything slow or that can fail happens in ``step``: the driver knows by then who works on the trial, and where.

    A member of a population is one of Ray's trials from each pause to the next: ``until`` is the epoch after which it waits,
    ``heard`` the last one that the driver knows; the checkpoint may be another member's.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Remember the trial. ``config`` comes from ``tune_config``."""
        self.trial_config = config
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
                return self._epoch()
            except TrialDiverged as error:
                return {"done": True, FAILED: f"diverged: {error}"}
            except Exception as error:
                raise as_ended(error) from error

    def _build(self) -> None:
        self.stacks = Stacks(Path(self.trial_config["checkpoint"]).with_name(STACKS))
        # Of a node that joined after the driver had asked all.
        refuse_other_software(json.loads(self.trial_config["software"]))
        import torch

        from fsg.train import Trainer
        from fsg.train.checkpoint import CheckpointStore
        from fsg.train.fingerprint import fingerprint
        from fsg.train.memory import watch_memory

        resources = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, math.floor(resources.get("CPU", 1))))
        trial = TrialConfig.model_validate_json(self.trial_config["trial"])
        device = device_of(trial.device, resources.get("GPU", 0))
        self.alone = resources.get("GPU", 0) >= 1
        trainer = Trainer(trial.model_copy(update={"device": device}))
        self.best_metric, better = json.loads(self.trial_config.get(BEST, "[null, null]"))
        self.checkpoints = CheckpointStore(Path(self.trial_config["checkpoint"]), better)
        state = self.checkpoints.load()
        self.fingerprint: dict[str, str] | None = None
        heard = self.trial_config.get("heard", 0)
        self.until = self.trial_config.get("until", trial.epochs)
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

    def _epoch(self) -> dict[str, Any]:
        from fsg.train.memory import peak_memory

        result = self.trainer.last_result if self.resumed else None
        self.resumed = False
        if result is None:
            result = self.trainer.run_epoch(self.checkpoints.save, self.leaving)
            self.checkpoints.save(self.trainer.state_dict(), result.metrics.get(self.best_metric))
        if self.trainer.finished:
            self.checkpoints.prune()
        fingerprint, self.fingerprint = self.fingerprint, None  # with the first epoch only
        device, self.device = self.device, None  # with the first of an attempt
        damaged, self.checkpoints.damaged = [(str(p), why) for p, why in self.checkpoints.damaged], []
        return {
            **({FINGERPRINT: json.dumps(fingerprint)} if fingerprint else {}),
            **({DEVICE: device} if device else {}),
            **({DAMAGED: json.dumps(damaged)} if damaged else {}),
            METRICS: json.dumps(finite(result.metrics)),
            LAYERS: json.dumps({name: finite(values) for name, values in result.layers.items()}),
            CHECKPOINT: str(self.checkpoints.path),
            MEMORY: json.dumps(peak_memory(self.trainer.device, self.alone)),
            "epoch": result.epoch,
            "done": result.epoch >= self.until,
            PAUSED: result.epoch >= self.until and not self.trainer.finished,
            # For the scheduler, which passes over a metric that is missing and stumbles over one that is null.
            **{name: value for name, value in result.metrics.items() if math.isfinite(value)},
        }

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


def finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON can hold them: what is not finite becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
