"""The trainer as Ray Tune sees it: one Tune iteration is one epoch, actors are reused from trial to trial.

What a trial may leave behind is its checkpoint alone; results travel to the driver, which is the one writer of the ledger.
A trial that diverges ends as an ordinary result that says so: the reason arrives whole and the actor lives on.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ray import tune

from fsg.config import TrialConfig
from fsg.errors import CheckpointCorrupt, TrialDiverged
from fsg.tune.nodes import refuse_other_software, software

# Keys of a result besides Ray's own.
METRICS, LAYERS, FAILED, CHECKPOINT, FINGERPRINT = "metrics", "layers", "failed", "checkpoint", "fingerprint"
PAUSED = "paused"


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

    A member of a population is one of Ray's trials from each pause to the next: ``until`` is the epoch after which it waits,
    ``heard`` the last one that the driver knows; the checkpoint may be another member's.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Build the trainer. ``config`` comes from ``tune_config``."""
        refuse_other_software(json.loads(config["software"]))  # of a node that joined after the driver had asked all
        import torch

        from fsg.train import Trainer
        from fsg.train.checkpoint import CheckpointStore
        from fsg.train.fingerprint import fingerprint

        resources = self.trial_resources.required_resources if self.trial_resources else {}
        torch.set_num_threads(max(1, math.floor(resources.get("CPU", 1))))
        trial = TrialConfig.model_validate_json(config["trial"])
        device = device_of(trial.device, resources.get("GPU", 0))
        self.trainer = Trainer(trial.model_copy(update={"device": device}))
        self.checkpoints = CheckpointStore(Path(config["checkpoint"]))
        state = self.checkpoints.load()
        self.fingerprint: dict[str, str] | None = None
        heard, self.until = config.get("heard", 0), config.get("until", trial.epochs)
        if state is None:
            self.fingerprint = fingerprint(self.trainer)
        elif self.until == trial.epochs and not heard:
            self.trainer.load_state_dict(state)
        else:
            self.trainer.take_over(state)
        if self.trainer.epoch < heard:
            raise CheckpointCorrupt(f"{self.checkpoints.path}: the checkpoint of epoch {heard} is lost or damaged.")
        self.resumed = self.trainer.epoch > heard

    def step(self) -> dict[str, Any]:
        """One epoch. A resumed trial first reports its checkpoint's: the driver may have died before it heard of it."""
        result = self.trainer.last_result if self.resumed else None
        self.resumed = False
        if result is None:
            try:
                result = self.trainer.run_epoch(self.checkpoints.save)
            except TrialDiverged as error:
                return {"done": True, FAILED: f"diverged: {error}"}
            self.checkpoints.save(self.trainer.state_dict())
        fingerprint, self.fingerprint = self.fingerprint, None  # with the first epoch only
        return {
            **({FINGERPRINT: json.dumps(fingerprint)} if fingerprint else {}),
            METRICS: json.dumps(finite(result.metrics)),
            LAYERS: json.dumps({name: finite(values) for name, values in result.layers.items()}),
            CHECKPOINT: str(self.checkpoints.path),
            "epoch": result.epoch,
            "done": result.epoch >= self.until,
            PAUSED: result.epoch >= self.until and not self.trainer.finished,
            # For the scheduler, which passes over a metric that is missing and stumbles over one that is null.
            **{name: value for name, value in result.metrics.items() if math.isfinite(value)},
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Start another trial in this process."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing: checkpoints are the study's own."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Nothing: ``setup`` has loaded the study's own checkpoint."""


def finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """Metrics as JSON can hold them: what is not finite becomes null."""
    return {name: value if math.isfinite(value) else None for name, value in metrics.items()}
