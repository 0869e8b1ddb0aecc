"""What a few steps of a trial tell of it, for the plan of a study before it starts: how long they take, and what acts in them."""

from __future__ import annotations

import io
import time
from contextlib import suppress
from typing import NamedTuple

import torch

from fsg.config import TrialConfig
from fsg.data import DataSplits
from fsg.errors import TrialDiverged, TrialPreempted
from fsg.metrics import MOVED_BY
from fsg.train.loop import Trainer

TRIED, FEWEST = 200, 100  # steps after which a component is looked at: those aimed for, and those needed
TRIED_SECONDS = 20.0


class Probe(NamedTuple):
    """Median ``seconds`` of one training step after the history has filled, ``steps`` of an epoch, and a checkpoint's size."""

    seconds: float
    steps: int
    checkpoint_bytes: int


class Tried(NamedTuple):
    """After so many ``steps`` of ``whole``: by how much the direction changes without each component, mean over layers."""

    steps: int
    whole: int
    changes: dict[str, float]


def tried(config: TrialConfig, data: DataSplits) -> Tried | None:
    """Train TRIED steps here, or what there is, and look; None where that takes too long, diverges, or has nothing to tell."""
    trainer = Trainer(config, data)
    whole, since, taken = trainer.steps_per_epoch * config.epochs, time.monotonic(), 0

    def enough() -> bool:
        nonlocal taken
        taken += 1
        return taken >= min(TRIED, whole) or time.monotonic() - since > TRIED_SECONDS

    with suppress(TrialPreempted):
        try:
            while not trainer.finished:
                trainer.run_epoch(leaving=enough)
        except TrialDiverged:
            return None
    found = trainer.step.influence()
    if found is None or taken < min(FEWEST, whole):
        return None
    changes = {n.removeprefix(MOVED_BY): v.mean().item() for n, v in found.moved.items() if n.startswith(MOVED_BY)}
    return Tried(taken, whole, changes) if changes else None


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
