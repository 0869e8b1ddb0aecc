"""How long an epoch of a trial takes here: a few timed steps, for the plan of a study before it starts."""

from __future__ import annotations

import io
import time
from typing import NamedTuple

import torch

from fsg.config import TrialConfig
from fsg.data import DataSplits
from fsg.train.loop import Trainer


class Probe(NamedTuple):
    """Median ``seconds`` of one training step after the history has filled, ``steps`` of an epoch, and a checkpoint's size."""

    seconds: float
    steps: int
    checkpoint_bytes: int


def probe(config: TrialConfig, data: DataSplits, steps: int = 3) -> Probe:
    """Train a few steps here, and measure."""
    trainer = Trainer(config, data)
    batch = config.data.batch_size
    images = trainer.inputs(trainer.data.train.images[:batch])
    labels = trainer.data.train.labels[:batch]
    times = []
    for _ in range(getattr(config.gradient, "history_length", 1) + 2 + steps):
        start = time.perf_counter()
        trainer.step(images, labels).loss.item()
        times.append(time.perf_counter() - start)
    state = io.BytesIO()
    torch.save(trainer.state_dict(), state)
    return Probe(sorted(times[-steps:])[steps // 2], trainer.steps_per_epoch, state.getbuffer().nbytes)
