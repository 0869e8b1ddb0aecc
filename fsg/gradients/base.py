"""What a gradient estimator is: from what the last step measured, the direction that moves the latent weights now.

An estimator implements ``generate``: m, in place of g. Everything else is the same for all of them:

    d = gain(c m)         c: the quantiser's straight-through slope; c g is the straight-through estimator's own direction
    meta-gradient         dLoss/dd = -c' g', from the step taken along d; the factor eta is folded out

``gain: bounded`` keeps each layer's RMS ratio of d to c g within [1/4, 4]; ``locked`` makes it 1; ``free`` leaves it. Why: the
meta-objective is linear in the scale of d, so an unbounded net learns a step size and little else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fsg.catalogue.gradients import Gain
from fsg.ops.spans import Spans, unit

GAIN_LIMIT = 4.0


class Signal(NamedTuple):
    """What one training step leaves behind for the next, all quantised layers end to end: (N,) tensors.

    The last three are there for estimators that ``reads_sign``, whose quantiser is Wq = offset + scale sign(at).
    """

    grad: Tensor  # g = dLoss/dWq
    pre: Tensor  # W~
    slope: Tensor  # c, the straight-through slope dWq/dW
    progress: Tensor = torch.zeros(())  # t / T of that step, the share of training done, 0-dimensional
    at: Tensor | None = None  # x, what the sign is taken of
    scale: Tensor | None = None  # alpha of the weight's layer or channel
    calibration: Tensor | None = None  # dx/dW


class Direction(NamedTuple):
    """The generated direction, and how it differs from the straight-through estimator's."""

    value: Tensor  # (N,) d, with a graph to the hypernetworks where there are any
    gain: Tensor  # (layers,) RMS of d over RMS of c g
    cosine: Tensor  # (layers,) cosine of d with c g


class Update(NamedTuple):
    """The move that the base optimizer is about to make, all quantised layers end to end."""

    weight: Tensor  # (N,) latent weights before it
    step: Tensor  # (N,) eta pi(d): W <- W - step
    progress: float  # t / T, the share of training done, from 0 to 1


class GradientEstimator(nn.Module, ABC):
    """Base of all estimators. Parameters are hypernetwork weights, buffers are memory; both are checkpointed."""

    gain: Gain = "free"
    gates = False  # whether ``gate`` rescales the base optimizer's step
    # whether it needs ``Signal.at``, ``scale`` and ``calibration``: only quantisers of a sign have them
    reads_sign = False

    def __init__(self, spans: Spans) -> None:
        super().__init__()
        self.spans = spans

    @abstractmethod
    def generate(self, signal: Signal) -> Tensor:
        """m, (N,), in place of g; called once per step, in order."""

    def slope(self, signal: Signal) -> Tensor:
        """c, (N,): what stands for dWq/dW; the quantiser's own, unless a curve takes its place."""
        return signal.slope

    def meta_groups(self) -> list[dict[str, Any]]:
        """Parameter groups of the meta-optimizer, each with its rate; empty where nothing is learnt."""
        return []

    def gate(self, update: Update, signal: Signal) -> Tensor:
        """k, (N,): the share of its step that each weight takes, W <- W - k step. Asked only where ``gates``."""
        raise NotImplementedError

    def learn(self, direction: Direction, measured: Signal) -> bool:
        """Give the hypernetworks their gradients, once a step along ``direction`` has been measured; False for none."""
        if not direction.value.requires_grad:
            return False
        direction.value.backward(-self.slope(measured) * measured.grad)
        return True

    @torch.no_grad()
    def diagnose(self, signal: Signal) -> dict[str, Tensor]:
        """What explains a result, each (layers,); looked at once an epoch, changes nothing."""
        return {}

    @torch.no_grad()
    def without(self, signal: Signal) -> dict[str, Tensor]:
        """m, (N,), with one component held at its neutral value, by the option that switches it.

        Asked once ``generate`` has seen this signal; changes nothing. Empty where there is nothing to tell apart.
        """
        return {}

    def forward(self, signal: Signal) -> Direction:
        """The direction along which this step moves the latent weights."""
        return self.direction(signal, self.generate(signal))

    def direction(self, signal: Signal, generated: Tensor) -> Direction:
        """d of ``generated``, which is m: calibrated, its gain kept."""
        plain = signal.slope * signal.grad
        value = self.slope(signal) * generated
        plain_norm = self.spans.norm(plain)
        value_norm = self.spans.norm(value)
        if self.gain != "free":
            ratio = value_norm / unit(plain_norm)
            target = torch.ones_like(ratio) if self.gain == "locked" else ratio.clamp(1 / GAIN_LIMIT, GAIN_LIMIT)
            # Inside the bounds the factor is ratio / ratio, exactly 1; a layer without gradient keeps its zeros.
            factor = torch.where(ratio > 0, target / unit(ratio), torch.ones_like(ratio))
            value = value * self.spans.expand(factor)
            value_norm = value_norm * factor
        with torch.no_grad():
            gain = value_norm / unit(plain_norm)
            cosine = self.spans.dot(value, plain) / unit(value_norm * plain_norm)
        return Direction(value, gain, cosine)
