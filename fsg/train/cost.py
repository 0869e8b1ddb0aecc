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

from fsg.config import Fsg, Gate, TrialConfig
from fsg.data import stand_in
from fsg.gradients.gate import DELAY
from fsg.ops.slow_scan.operations import flops, operations
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
    fused = config
    if isinstance(config.gradient, Fsg) and config.gradient.slow_net == "mamba":
        slow = config.gradient.slow.model_copy(update={"backend": "cpu"})  # which torch sees nothing of
        fused = config.model_copy(update={"gradient": config.gradient.model_copy(update={"slow": slow})})
    trainer, images, labels = _trainer(fused.model_copy(update={"device": "cpu"}), COUNTED_IMAGES)
    with FlopCounterMode(display=False) as network:
        F.cross_entropy(trainer.model(images), labels).backward()
    with FlopCounterMode(display=False) as step:
        trainer.step(images, labels)
    estimator = step.get_total_flops() - network.get_total_flops() + _slow_net_flops(config, trainer)
    batch = min(config.data.batch_size, len(trainer.data.train))
    return trainer.steps_per_epoch * (network.get_total_flops() * batch / COUNTED_IMAGES + estimator)


def _slow_net_flops(config: TrialConfig, trainer: Trainer) -> float:
    """A step's forward and backward pass of the slow-net over all weights; 0 for an estimator without one."""
    gradient = config.gradient
    if not isinstance(gradient, Fsg):
        return 0.0
    weights, layers = trainer.spans.total, len(trainer.spans)
    embedded = gradient.lre_size if gradient.lre else 0
    per_weight = gradient.layout == "per_weight"
    sequences = weights if per_weight else layers
    tokens = weights * gradient.history_length + sequences * embedded
    slow = gradient.slow
    if gradient.slow_net == "mamba":
        recurrent = tokens - sequences if per_weight else tokens
        return flops(operations(tokens, recurrent, weights, slow.d_inner, slow.d_state, slow.d_conv))
    if gradient.slow_net == "lstm":  # four gates of input and state; backward twice forward
        return 6.0 * tokens * 4 * slow.d_inner * (1 + slow.d_inner)
    return 4.0 * tokens  # a filter: one multiply-add forward, one for its taps


def _trainer(config: TrialConfig, images: int) -> tuple[Trainer, torch.Tensor, torch.Tensor]:
    """A trainer whose history has filled, and a batch of as many images."""
    trainer = Trainer(config, stand_in(config.data))
    batch, labels = trainer.inputs(trainer.data.train.images[:images]), trainer.data.train.labels[:images]
    past = 2 * DELAY if isinstance(config.gradient, Gate) else getattr(config.gradient, "history_length", 1)
    for _ in range(past + 2):
        trainer.step(batch, labels)
    return trainer, batch, labels
