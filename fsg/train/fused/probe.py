"""How long a step of a pack takes, beside as many steps of trials apart: measured here, on images of the trial's shape."""

from __future__ import annotations

import time
from statistics import median

import torch

from fsg.config import TrialConfig
from fsg.data import stand_in
from fsg.parts import part_of
from fsg.train.fused.step import FusedStep
from fsg.train.fused.trainer import SETTLED, inputs_of
from fsg.train.loop import Trainer

ROUNDS = 3


def share_of_time(config: TrialConfig, members: int, threads: int) -> float:
    """The time of a fused step of ``members`` trials as a share of that of their steps apart; medians, measured in turns."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        return _measured(config, members)
    finally:
        torch.set_num_threads(before)


def _measured(config: TrialConfig, members: int) -> float:
    data = stand_in(config.data)
    alone = Trainer(config.model_copy(update={"fused": False}), data)
    pack = [Trainer(config.model_copy(update={"fused": True, "seed": config.seed + k}), data) for k in range(members)]
    fused = FusedStep(pack)
    fused.gather()
    index = torch.arange(config.data.batch_size).expand(members, -1)
    images, labels = inputs_of(pack, index), alone.data.train.labels[index.to(alone.device)]
    inputs = alone.inputs(alone.data.train.images[index[0].to(alone.device)])
    memory = part_of("gradient", config.gradient).fact("memory_steps", config.gradient)
    shares = []
    for _ in range(memory + SETTLED + ROUNDS):
        start = time.perf_counter()
        alone.step(inputs, labels[0]).loss.item()
        middle = time.perf_counter()
        fused(images, labels, [0.0] * members).loss.sum().item()
        shares.append((time.perf_counter() - middle) / (members * (middle - start)))
    return median(shares[-ROUNDS:])
