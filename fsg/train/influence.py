"""What an estimator's components change in the step that comes next: looked at a few times a trial, on copies.

    moved_by_X     |d - s d'| / |d|       d' the direction without X, an option that switches a component of the estimator
    moved          |d - s c g| / |d|      the whole estimator against the straight-through one; of a gate, its step
    flips_other    |A ^ B| / |A u B|      A the weights that the step flips, B those that a step along c g would flip

Norms are each layer's own. s makes both sides equally long under Adam and AdamW, whose step hardly knows a layer's scale, and is
1 under others. Training sees none of it. A component that moves the direction by nothing can change no accuracy, whatever a table
of arms says: ``fsg/stats/exercised.py`` judges. Proof: ``tests/train/test_influence.py``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW

from fsg.gradients.base import Signal, Update
from fsg.metrics import MOVED, MOVED_BY
from fsg.ops.spans import Spans, unit
from fsg.quantizers import to_latent
from fsg.train.eager import eager
from fsg.train.flat_adam import flat

if TYPE_CHECKING:
    from fsg.train.step import LookAheadStep

LOOKS = 5  # a trial: one takes as long as two or three steps
# Whose copies step on their own.
KNOWN = {eager(SGD), *(make(kind) for make in (eager, flat) for kind in (Adam, AdamW))}


class Influence(NamedTuple):
    """``moved``: (layers,) by name. ``flips_other``: of the whole network; None where nothing flips or cannot be told."""

    moved: dict[str, Tensor]
    flips_other: float | None


def due(epoch: int, epochs: int) -> bool:
    """Whether an epoch, from 1, is one of the LOOKS that are spread evenly over training; the last one is."""
    return epoch * LOOKS // epochs > (epoch - 1) * LOOKS // epochs


@torch.no_grad()
def influence(step: LookAheadStep) -> Influence | None:
    """Of the step that ``step`` would take now; None before the first one, and where the estimator cannot be copied."""
    signal = step.signal
    if signal is None:
        return None
    try:
        estimator = copy.deepcopy(step.estimator)
    except (RuntimeError, TypeError):  # a guest that keeps what cannot be copied, a graph for one
        return None
    known, scale_free = type(step.latent_optimizer) in KNOWN, isinstance(step.latent_optimizer, Adam)
    with torch.random.fork_rng([signal.grad.device] if signal.grad.is_cuda else []):  # a guest may draw
        value, plain = estimator(signal).value, signal.slope * signal.grad
        others = {
            MOVED_BY + name: estimator.direction(signal, generated).value
            for name, generated in estimator.without(signal).items()
        }
        moved = {name: _change(step.spans, value, other, scale_free) for name, other in others.items()}
        if not known:  # others may draw, count, or keep what a copy would share
            own = {} if estimator.gates else {MOVED: _change(step.spans, value, plain, scale_free)}
            return Influence(own | moved, None)
        straight = taken = _after(step, plain, signal)
        if estimator.gates:
            whole = step.latent - straight
            held = estimator.gate(Update(step.latent.clone(), whole, step.progress), signal) * whole
            taken, own = step.latent - held, {MOVED: _change(step.spans, held, whole, False)}
        else:
            own = {MOVED: _change(step.spans, value, plain, scale_free)}
            taken = straight if torch.equal(value, plain) else _after(step, value, signal)
    return Influence(own | moved, _other_flips(step, taken, straight))


def _change(spans: Spans, value: Tensor, other: Tensor, scale_free: bool) -> Tensor:
    """(layers,): the distance of two (N,) directions, relative to the first."""
    norm = spans.norm(value)
    if scale_free:
        other = other * spans.expand(norm / unit(spans.norm(other)))
    return spans.norm(value - other) / unit(norm)


def _after(step: LookAheadStep, direction: Tensor, signal: Signal) -> Tensor:
    """(N,) latent weights after a step along ``direction`` of a copy of the base optimizer."""
    optimizer = copy.deepcopy(step.latent_optimizer)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    along = to_latent(step.quantizer, direction, signal.pre, step.scope)
    for weight, part in zip(weights, step.parts(along), strict=True):
        weight.grad = part.clone()
    optimizer.step()
    return torch.cat([weight.flatten() for weight in weights])


def _other_flips(step: LookAheadStep, taken: Tensor, straight: Tensor) -> float | None:
    """The share of the flips of either step that the other one does not make."""
    now, ours, theirs = (_signs(step, latent) for latent in (step.latent, taken, straight))
    either = ((ours != now) | (theirs != now)).sum().item()
    return (ours != theirs).sum().item() / either if either else None


def _signs(step: LookAheadStep, latent: Tensor) -> Tensor:
    quantized = step.quantizer(latent, step.scope)
    return (quantized.value if quantized.at is None else quantized.at) > 0
