"""How long a step of a pack takes, beside as many steps of trials apart: measured here, on images of the trials' shape.

Time is the processor's, of all threads: what else the machine does counts less.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from statistics import median

import torch

from fsg.config import TrialConfig
from fsg.data import stand_in
from fsg.fusing import estimator_shape
from fsg.train.fused.group import SETTLED, kind_of
from fsg.train.fused.step import FusedStep
from fsg.train.fused.trainer import batch_of
from fsg.train.loop import Trainer
from fsg.train.step import StepResult

ROUNDS = 3
LONG = 0.03  # seconds of a step by itself, from which on it is no longer what surrounds operations that takes the time


def share_of_time(configs: Sequence[TrialConfig], threads: int) -> float:
    """The time of a step of these trials as one program, as a share of that of their steps apart; median, measured in turns.

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
    index = torch.arange(configs[0].data.batch_size)
    others = {estimator_shape(config): Trainer(config.model_copy(update={"fused": False}), data) for config in configs}
    counts = Counter(map(estimator_shape, configs))
    first = next(iter(others.values()))
    images, labels = first.data.train.images[index], first.data.train.labels[index]
    inputs = first.inputs(images)

    def seconds(step: Callable[[], StepResult]) -> float:
        start = time.process_time()
        step().loss.sum().item()
        return time.process_time() - start

    def apart(trainer: Trainer) -> float:
        return seconds(lambda: trainer.step(inputs, labels))

    if min(apart(first) for _ in range(SETTLED + 1)) > LONG:
        return 1.0
    pack = sorted((Trainer(config.model_copy(update={"fused": True}), data) for config in configs), key=kind_of)
    fused = FusedStep(pack)
    fused.gather()
    many, members = index.expand(len(pack), -1), len(pack)
    all_inputs, all_labels = batch_of(pack, many)
    shares = []
    for _ in range(SETTLED + ROUNDS):
        alone = sum(counts[shape] * apart(trainer) for shape, trainer in others.items())
        shares.append(seconds(lambda: fused(all_inputs, all_labels, [0.0] * members)) / alone)
    return median(shares[-ROUNDS:])
