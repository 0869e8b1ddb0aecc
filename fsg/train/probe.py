"""How long an epoch of a trial takes here: a few timed steps, for the plan of a study before it starts."""

from __future__ import annotations

import time

from fsg.config import TrialConfig
from fsg.data import DataSplits
from fsg.train.loop import Trainer


def seconds_per_step(config: TrialConfig, data: DataSplits, steps: int = 3) -> tuple[float, int]:
    """Median time of one training step in seconds, after the history has filled, and the steps of an epoch."""
    trainer = Trainer(config, data)
    batch = config.data.batch_size
    images = trainer.inputs(trainer.data.train.images[:batch])
    labels = trainer.data.train.labels[:batch]
    times = []
    for _ in range(getattr(config.gradient, "history_length", 1) + 2 + steps):
        start = time.perf_counter()
        trainer.step(images, labels).loss.item()
        times.append(time.perf_counter() - start)
    return sorted(times[-steps:])[steps // 2], max(1, len(trainer.data.train.labels) // batch)
