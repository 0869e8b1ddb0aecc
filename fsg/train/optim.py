"""Base optimizers, the meta-optimizer, and the learning rates over training."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from fsg.catalogue.optimizers import FloatOptimizer, OptimizerSection
from fsg.catalogue.schedules import ScheduleConfig
from fsg.errors import ConfigError
from fsg.parts import Part, guest_part, part_of
from fsg.train.eager import eager
from fsg.train.flat_adam import flat
from fsg.train.optimizers import Guest, make

BaseOptimizer = Optimizer | Guest
_OF_THE_MACHINE = ("foreach", "fused", "capturable")  # options of how an optimizer computes, not of what


def base_optimizer(
    config: FloatOptimizer | OptimizerSection,
    params: Iterable[torch.Tensor],
    capturable: bool = False,
    *,
    seed: int = 0,
    steps: int | None = None,
    epoch: int | None = None,
    output: torch.Tensor | None = None,
) -> BaseOptimizer:
    """The optimizer that a configuration names; pi of method.md is its step divided by its learning rate.

    ``capturable``: for a CUDA graph, those of BUILT_IN. For the others ``seed`` is that of their draws, ``steps`` and ``epoch``
    are the lengths of training and of an epoch, ``output`` is the last layer's weight. ConfigError for a name that cannot train,
    BackendUnavailable for one whose package is not installed.
    """
    params = list(params)
    if (guest := guest_part("optimizer", config.name)) is not None:
        return _of_guest(guest, config, params)
    if not isinstance(config, FloatOptimizer):
        return make(config, params, seed=seed, steps=steps, epoch=epoch, output=output)
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay, "foreach": True}
    if capturable:
        options["lr"] = torch.tensor(config.lr, device=params[0].device)
    match config.name:
        case "sgd":
            if capturable:  # the other implementations take their rate to the host
                options |= {"foreach": False, "fused": True}
            return eager(SGD)(params, momentum=config.momentum, **options)
        case "adam":
            return _adam(Adam, params, capturable, options)
        case "adamw":
            return _adam(AdamW, params, capturable, options)
    return make(config, params, seed=seed, steps=steps, epoch=epoch, output=output)


def _of_guest(guest: Part, config: FloatOptimizer | OptimizerSection, params: list[torch.Tensor]) -> Optimizer:
    optimizer = guest.make(config, params)
    if not isinstance(optimizer, Optimizer):
        raise ConfigError(
            f'{guest.origin}: the optimizer "{guest.name}" was built as {type(optimizer).__name__}, '
            "expected a torch.optim.Optimizer."
        )
    return optimizer


def load_optimizer(optimizer: BaseOptimizer, state: dict[str, Any]) -> None:
    """Go on from ``state``, computed as ``optimizer`` was made to compute: a trial captured on a GPU goes on on a CPU.

    torch loads an optimizer's options with its moments, those of the machine too, and a CPU refuses a step with capturable=True
    (torch 2.15). Set before loading, as they decide on which device the count of steps is kept. ``state`` is copied: torch keeps
    the very tensors that it is given, and steps them in place.
    """
    if isinstance(optimizer, Guest):
        optimizer.load_state_dict(state)
        return
    groups = [
        {**stored, **{name: own[name] for name in _OF_THE_MACHINE if name in own}}
        for stored, own in zip(state["param_groups"], optimizer.param_groups, strict=True)
    ]
    optimizer.load_state_dict(deepcopy({**state, "param_groups": groups}))


def set_options(optimizer: BaseOptimizer, config: FloatOptimizer | OptimizerSection) -> None:
    """A configuration's options in place of those that a loaded state brought; rates are set every epoch anyway."""
    wanted = ("weight_decay", "momentum") if config.name == "sgd" else ("weight_decay",)
    options = {name: getattr(config, name) for name in wanted if hasattr(config, name)}
    for group in optimizer.param_groups:
        group |= {name: value for name, value in options.items() if name in group}


def meta_optimizer(groups: list[dict[str, Any]], capturable: bool = False) -> Adam | None:
    """Adam over the hypernetworks' parameter groups; None where nothing is learnt. ``capturable``: for a CUDA graph."""
    if capturable:
        groups = [{**g, "lr": torch.tensor(g["lr"], device=g["params"][0].device)} for g in groups]
    return _adam(Adam, groups, capturable, {"foreach": True}) if groups else None


def _adam(kind: Any, params: list[Any], capturable: bool, options: dict[str, Any]) -> Adam:
    """Over vectors on a CPU, where each tensor is a call; a GPU takes them together anyway."""
    first = params[0]["params"][0] if isinstance(params[0], dict) else params[0]
    made = flat(kind) if first.device.type == "cpu" else eager(kind)
    optimizer: Adam = made(params, capturable=capturable, **options)
    return optimizer


def rate_factor(config: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The learning rate of epoch ``epoch`` (from 0) as a factor of its start, constant within the epoch.

    Warm-up climbs linearly to 1; then ``cosine`` and ``linear`` fall towards 0 and ``step`` divides.
    """
    warmup = getattr(config, "warmup_epochs", 0)
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    factor: float = part_of("schedule", config).make(config, epoch - warmup, max(1, epochs - warmup))
    return factor


def meta_schedule(base: ScheduleConfig, name: str) -> ScheduleConfig:
    """The schedule of the meta-optimizer: the base one, or another kind with its settings."""
    if name == "base":
        return base
    if isinstance(base, ScheduleConfig):
        return base.model_copy(update={"name": name})
    return ScheduleConfig(name=name, warmup_epochs=getattr(base, "warmup_epochs", 0))


class Rates:
    """Sets the learning rates of several optimizers to a factor of what they started with."""

    def __init__(self, optimizers: Iterable[BaseOptimizer]) -> None:
        self._optimizers = list(optimizers)
        self._rates = [[group["lr"] for group in o.param_groups] for o in self._optimizers]
        self._first = [[float(lr) for lr in rates] for rates in self._rates]

    def scale(self, factor: float) -> None:
        """Every group's rate becomes factor times its first; one that is a tensor stays where it is."""
        for optimizer, rates, first in zip(self._optimizers, self._rates, self._first, strict=True):
            for group, rate, lr in zip(optimizer.param_groups, rates, first, strict=True):  # loading makes new groups
                group["lr"] = rate.fill_(lr * factor) if isinstance(rate, torch.Tensor) else lr * factor
