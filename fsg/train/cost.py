"""What an epoch of a trial costs: seconds here, or floating-point operations anywhere.

Operations are those of matrix products and convolutions, forward and backward, as torch counts them, and those of the
slow-net by formula, for torch sees neither a fused scan nor an LSTM. The elementwise work of quantisers, normalisation,
activations and optimizers is not counted. Proof: ``tests/train/test_cost.py``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import median

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from fsg.config import TrialConfig
from fsg.data import stand_in
from fsg.parts import part_of
from fsg.train.loop import Trainer

COUNTED_IMAGES = 2  # the network's share is linear in the batch, the estimator's does not depend on it


def epoch_seconds(configs: Mapping[str, TrialConfig], rounds: int = 9) -> dict[str, float]:
    """Seconds that the training steps of one epoch take here, the median over ``rounds``, all configurations in turn.

    In turn, so that other work on the machine slows all of them alike.
    """
    trainers = {name: _trainer(config, config.data.batch_size) for name, config in configs.items()}
    times: dict[str, list[float]] = {name: [] for name in configs}
    for _ in range(rounds):
        for name, (trainer, images, labels) in trainers.items():
            begun = time.perf_counter()
            trainer.step(images, labels).loss.item()
            times[name].append(time.perf_counter() - begun)
    return {name: median(times[name]) * trainer.steps_per_epoch for name, (trainer, _, _) in trainers.items()}


def epoch_flops(configs: Mapping[str, TrialConfig]) -> dict[str, float]:
    """Floating-point operations of one epoch's training steps: the same on every machine."""
    return {name: _flops(config) for name, config in configs.items()}


def _flops(config: TrialConfig) -> float:
    counted = part_of("gradient", config.gradient).fact("counted_as", config.gradient)
    trainer, images, labels = _trainer(config.model_copy(update={"gradient": counted, "device": "cpu"}), COUNTED_IMAGES)
    with FlopCounterMode(display=False) as network:
        F.cross_entropy(trainer.model(images), labels).backward()
    with FlopCounterMode(display=False) as step:
        trainer.step(images, labels)
    unseen = part_of("gradient", config.gradient).fact(
        "flops", config.gradient, trainer.spans.total, len(trainer.spans)
    )
    estimator = step.get_total_flops() - network.get_total_flops() + unseen
    batch = min(config.data.batch_size, len(trainer.data.train))
    return trainer.steps_per_epoch * (network.get_total_flops() * batch / COUNTED_IMAGES + estimator)


def _trainer(config: TrialConfig, images: int) -> tuple[Trainer, torch.Tensor, torch.Tensor]:
    """A trainer whose history has filled, and a batch of as many images."""
    trainer = Trainer(config, stand_in(config.data))
    batch, labels = trainer.inputs(trainer.data.train.images[:images]), trainer.data.train.labels[:images]
    for _ in range(part_of("gradient", config.gradient).fact("memory_steps", config.gradient) + 2):
        trainer.step(batch, labels)
    return trainer, batch, labels
