"""Base optimizers, the meta-optimizer, and the learning rate over training."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from fsg.config import OptimizerConfig, ScheduleConfig


def base_optimizer(config: OptimizerConfig, params: Iterable[torch.Tensor]) -> Optimizer:
    """The optimizer that a configuration names; pi of method.md is its step divided by its learning rate."""
    params = list(params)
    match config.name:
        case "sgd":
            return SGD(params, lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay, foreach=True)
        case "adam":
            return Adam(params, lr=config.lr, weight_decay=config.weight_decay, foreach=True)
        case "adamw":
            return AdamW(params, lr=config.lr, weight_decay=config.weight_decay, foreach=True)


def meta_optimizer(groups: list[dict[str, Any]]) -> Adam | None:
    """Adam over the hypernetworks' parameter groups; None where nothing is learnt."""
    return Adam(groups, foreach=True) if groups else None


def rate_factor(config: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The learning rate of epoch ``epoch`` (from 0) as a factor of its start, constant within the epoch.

    Warm-up climbs linearly to 1; then ``cosine`` and ``linear`` fall towards 0 and ``step`` divides.
    """
    if epoch < config.warmup_epochs:
        return (epoch + 1) / (config.warmup_epochs + 1)
    done = epoch - config.warmup_epochs
    share = done / max(1, epochs - config.warmup_epochs)
    match config.name:
        case "constant":
            return 1.0
        case "step":
            return config.step_factor ** (done // config.step_epochs)
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * share))
        case "linear":
            return 1 - share


class Rates:
    """Sets the learning rates of several optimizers to a factor of what they started with."""

    def __init__(self, optimizers: Iterable[Optimizer]) -> None:
        self._optimizers = list(optimizers)
        self._first = [[float(group["lr"]) for group in o.param_groups] for o in self._optimizers]

    def scale(self, factor: float) -> None:
        """Every group's rate becomes factor times its first."""
        for optimizer, first in zip(self._optimizers, self._first, strict=True):
            for group, lr in zip(optimizer.param_groups, first, strict=True):  # loading a state makes new groups
                group["lr"] = lr * factor
