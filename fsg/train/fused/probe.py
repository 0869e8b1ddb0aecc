"""How long a step of a pack takes, beside as many steps of trials apart: measured here, on images of the trials' shape."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from statistics import median

import torch

from fsg.config import TrialConfig
from fsg.data import stand_in
from fsg.parts import part_of
from fsg.train.fused.group import SETTLED, kind_of
from fsg.train.fused.step import FusedStep
from fsg.train.fused.trainer import inputs_of
from fsg.train.loop import Trainer

ROUNDS = 3
LONG = 0.03  # seconds of a step by itself, from which on it is no longer what surrounds operations that takes the time


def share_of_time(configs: Sequence[TrialConfig], threads: int) -> float:
    """The time of a step of these trials as one program, as a share of that of their steps apart; medians, measured in turns.

    1 where a step apart is so long that a pack has nothing to save, and would take long to measure.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads))
    try:
        return _measured(configs)
    finally:
        torch.set_num_threads(before)


def _measured(configs: Sequence[TrialConfig]) -> float:
    data = stand_in(configs[0].data)
    pack = sorted((Trainer(config.model_copy(update={"fused": True}), data) for config in configs), key=kind_of)
    counts = Counter(map(kind_of, pack))
    others = {kind_of(trainer): trainer.config.model_copy(update={"fused": False}) for trainer in pack}
    apart = [(Trainer(config, data), counts[kind]) for kind, config in others.items()]
    index = torch.arange(configs[0].data.batch_size).expand(len(pack), -1).to(pack[0].device)
    images, labels = inputs_of(pack, index), data.train.labels[index.cpu()].to(pack[0].device)
    inputs = pack[0].inputs(pack[0].data.train.images[index[0]])

    def step_apart() -> float:
        """Seconds of a step of each trial; one of a kind stands for all of them."""
        seconds = 0.0
        for trainer, count in apart:
            start = time.perf_counter()
            trainer.step(inputs, labels[0]).loss.item()
            seconds += count * (time.perf_counter() - start)
        return seconds

    step_apart()
    if step_apart() > LONG * len(pack):
        return 1.0
    fused = FusedStep(pack)
    fused.gather()

    def step_fused() -> float:
        start = time.perf_counter()
        fused(images, labels, [0.0] * len(pack)).loss.sum().item()
        return time.perf_counter() - start

    memory = max(part_of("gradient", config.gradient).fact("memory_steps", config.gradient) for config in configs)
    shares = [step_fused() / step_apart() for _ in range(memory + SETTLED + ROUNDS)]
    return median(shares[-ROUNDS:])
