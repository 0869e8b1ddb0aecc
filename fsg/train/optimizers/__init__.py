"""Base optimizers by name beside torch's SGD, Adam and AdamW: each works as its authors mean it, or is refused with the reason.

docs/optimizers.md lists them by what they need; ``python -m fsg.train.optimizers`` makes that page.
Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from fsg.catalogue.optimizers import BUILT_IN, FloatOptimizer, OptimizerSection
from fsg.config import TrialConfig
from fsg.errors import BackendUnavailable, ConfigError
from fsg.formats import FIRST
from fsg.nearest import did_you_mean
from fsg.optimizer_names import unfit
from fsg.parts import find_part, has_part, part_of
from fsg.train.optimizers.facts import Facts, facts_of
from fsg.train.optimizers.guest import Guest, GuestKind

__all__ = ["PAGE", "Facts", "Guest", "check", "facts", "facts_for", "known", "make", "notes"]

PAGE = "docs/optimizers.md"
OF_TORCH = ("adagrad", "nadam", "rmsprop", "rprop")  # the package has nothing else under these names
_log = logging.getLogger("fsg")
FAR = 10  # times the rate that an optimizer comes with, or that part of it
REMARKS = {
    "muonclip": "clips the logits of attention, of which these networks have none: it is Muon with another scale of its steps",
    "vsgd": "is Variational SGD; the vSGD of Schaul and LeCun, a rate for each coordinate, is another method: vsgd_schaul",
}


def known() -> dict[str, Any]:
    """Every optimizer that has a name here, BUILT_IN left out. BackendUnavailable where the package is not installed."""
    try:
        from pytorch_optimizer import get_supported_optimizers, load_optimizer
    except ImportError:
        raise BackendUnavailable(
            f"built in are {', '.join(BUILT_IN + OF_TORCH)}. For the others: pip install 'fsg[optimizers]'"
        ) from None
    found = {name: load_optimizer(name) for name in get_supported_optimizers()}
    found |= {name: kind for name, kind in _of_torch().items() if name not in found}
    return {name: kind for name, kind in found.items() if name not in BUILT_IN}


def facts(name: str, dtype: torch.dtype = torch.float32) -> Facts:
    """What is known of an optimizer that is not built in.

    ConfigError for a name that there is none of, or one that cannot train here; BackendUnavailable where its package is missing.
    """
    problem = unfit(name)
    if problem:
        raise ConfigError(problem)
    kind: Any
    if name in OF_TORCH:
        kind = _of_torch()[name]
    else:
        try:
            kinds = known()
        except BackendUnavailable as error:
            raise BackendUnavailable(f'optimizer.name is "{name}"; {error}') from None
        if name not in kinds:
            hint = did_you_mean(name, [*BUILT_IN, *kinds])
            raise ConfigError(f'optimizer.name is "{name}", which is no optimizer.{hint}')
        kind = kinds[name]
    found = facts_of(name, kind, dtype)
    if found.refused:
        raise ConfigError(f'optimizer.name is "{name}", which {found.refused}. What can train is listed in {PAGE}.')
    return found


def sections(config: TrialConfig) -> list[FloatOptimizer | OptimizerSection]:
    """The sections of a trial that name an optimizer: of all parameters, or of latent weights and of the rest."""
    return [config.optimizer] if config.optimizer.float is None else [config.optimizer, config.optimizer.float]


def facts_for(config: TrialConfig) -> list[tuple[FloatOptimizer | OptimizerSection, Facts]]:
    """``facts`` of a trial's optimizers that have no section of their own, in its dtype."""
    dtype = getattr(torch, config.dtype)
    return [(each, facts(each.name, dtype)) for each in sections(config) if not has_part("optimizer", each.name)]


def make(
    config: FloatOptimizer | OptimizerSection,
    params: Sequence[Tensor],
    *,
    seed: int = 0,
    steps: int | None = None,
    epoch: int | None = None,
    output: Tensor | None = None,
) -> Guest:
    """The optimizer that ``config`` names; ``seed``, ``steps``, ``epoch`` and ``output`` as ``Guest`` takes them.

    Errors as of ``facts``.
    """
    if has_part("optimizer", config.name):
        made: GuestKind = find_part("optimizer", config.name).make(config)
    else:
        found = facts(config.name, params[0].dtype)
        made = GuestKind(found.kind, {}, found.uses_loss)
    return Guest(
        made.kind,
        params,
        config.lr,
        getattr(config, "weight_decay", 0.0),
        seed=seed,
        steps=steps,
        epoch=epoch,
        output=output,
        uses_loss=made.uses_loss,
        curvature=getattr(config, "curvature", None),
        options=made.options,
    )


def check(config: TrialConfig, searched: Collection[str] = ()) -> None:
    """Refuse an optimizer that cannot train this trial, with errors as of ``facts``; say once what is to be known of another.

    ``searched``: paths whose values are not chosen but tried. A trial of fsg 0.1, which asked less, is told what a new one is
    refused for, and goes on as it began.
    """
    for section, found in facts_for(config):
        for problem in _problems(section, found, config):
            if config.format > FIRST:
                raise ConfigError(problem)
            _say(problem)
        for note in notes(found, config, searched, section):
            _say(note)


def _problems(section: Any, found: Facts, config: TrialConfig) -> Iterator[str]:
    """What this trial asks of an optimizer that can train others."""
    of_latents = section is config.optimizer
    where = "optimizer" if of_latents else "optimizer.float"
    if section.weight_decay and not found.decays:
        yield (
            f"{where}.weight_decay is {section.weight_decay:g}, but {found.name} has none; leave it out or use "
            "another optimizer."
        )
    if getattr(section, "curvature", None) is not None and not found.curvature:
        yield (
            f"optimizer.curvature is given, but {found.name} does not step by it; leave it out or use adahessian, sophiah, "
            "vsgd_schaul or gns."
        )
    if of_latents and part_of("gradient", config.gradient).fact("gates") and (found.remembers or found.switches):
        yield (
            f'optimizer.name is "{found.name}", which steps from a point of its own, and gradient {config.gradient.name} takes '
            "back a part of each step, which it would not hear of. Use another optimizer, or a gradient without gates."
        )


@cache
def _say(note: str) -> None:
    _log.warning(note)


def notes(
    found: Facts,
    config: TrialConfig,
    searched: Collection[str] = (),
    section: FloatOptimizer | OptimizerSection | None = None,
) -> Iterator[str]:
    """What a reader should know of an optimizer in this trial, a sentence each. ``section``: the one that names it."""
    section = section or config.optimizer
    where = "optimizer.lr" if section is config.optimizer else "optimizer.float.lr"
    name, lr, rate = found.name, section.lr, found.rate
    if rate and where not in searched and not rate / FAR <= lr <= rate * FAR:
        far = f"more than {FAR} times that: it may diverge" if lr > rate else "less than a tenth: it may learn nothing"
        yield f"{name} comes with a rate of {rate:g}, and {where} is {far}."
    if name in REMARKS:
        yield f"{name} {REMARKS[name]}."
    if found.orthogonal:
        yield (
            f"{name} steps matrices; biases, BatchNorm and the last layer take its AdamW, whose rate is {found.second_rate:g} "
            "whatever optimizer.lr is."
        )
    if found.counts_steps:
        yield f"{name} has a warm-up and a decay of its own, beside schedule {config.schedule.name}."
    if found.warms_up:
        yield f"{name} warms up at rates of its own, which schedule {config.schedule.name} does not change."
    if found.switches:
        yield f"{name} is evaluated at the average of its points; what the loss is measured at is another point."
        if config.evaluate.batchnorm == "running":
            yield f"BatchNorm's running statistics are not those of {name}'s average; use evaluate.batchnorm: reestimated."
    if name.startswith("schedulefree") and config.schedule.name != "constant":
        yield f"{name} takes the place of a schedule, and this trial has {config.schedule.name}; use schedule: constant."


def _of_torch() -> dict[str, Any]:
    kinds = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return {name: kinds[name] for name in OF_TORCH}
