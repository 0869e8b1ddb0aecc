"""One look-ahead training step: generate the direction, move, measure, learn.

    1. d from the gradients of the step before                   (nothing in the very first step)
    2. W <- W - eta pi(d), or W - k eta pi(d) where the estimator gates
    3. forward with q(p(W)), loss, backward: g = dLoss/dWq for the next step
    4. hypernetworks step along dLoss/dd = -c g; biases and BatchNorm step on their own gradients

The point the loss is measured at is the point that is kept, so the straight-through estimator in this loop is the ordinary
training loop with each weight update done at the start of the next step. method.md section 3. Proof: tests/train/test_step.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.config import OptimizerConfig
from fsg.gradients import GradientEstimator, Signal, Update
from fsg.layers import QuantLayer, using
from fsg.ops.spans import Spans
from fsg.train.optim import Rates, base_optimizer, meta_optimizer


@dataclass
class StepResult:
    """What a step saw, on the device: nothing here has been waited for.

    ``loss``, ``correct``: scalars. ``flips``: (layers,) weights that changed sign. ``gain``, ``cosine``: (layers,), or None where
    nothing was generated yet.
    """

    loss: Tensor
    correct: Tensor
    flips: Tensor
    gain: Tensor | None = None
    cosine: Tensor | None = None


class TrainingStep(ABC):
    """What the trainer needs of a step: to take it, to set its rates, and to go on from its state."""

    spans: Spans
    layers: list[QuantLayer]
    progress: float = 0.0  # t / T, set by the trainer

    @abstractmethod
    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """One step on normalised inputs (B, C, H, W) and labels (B,)."""

    @abstractmethod
    def set_rates(self, base: float, meta: float) -> None:
        """Factors of the base and the meta learning rates at the start."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, beside the model."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``."""

    def diagnose(self) -> dict[str, Tensor]:
        """What explains a result, each (layers,)."""
        return {}


class FloatStep(TrainingStep):
    """The ordinary step of a float network (``quantizer: none``): nothing is generated."""

    def __init__(self, model: nn.Module, optimizer: OptimizerConfig) -> None:
        self.model = model
        self.layers = []
        self.spans = Spans([]).to(next(model.parameters()).device)
        self.optimizer = base_optimizer(optimizer, model.parameters())
        self.rates = Rates([self.optimizer])

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """Forward, backward, step."""
        self.model.zero_grad(set_to_none=True)
        logits = self.model(inputs)
        loss = F.cross_entropy(logits.to(inputs.dtype), labels)
        loss.backward()
        self.optimizer.step()
        return StepResult(loss.detach(), correct_of(logits, labels), torch.zeros(0, device=inputs.device))

    def set_rates(self, base: float, meta: float) -> None:
        """The one optimizer's."""
        self.rates.scale(base)

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The optimizer's."""
        self.optimizer.load_state_dict(state["optimizer"])


class LookAheadStep(TrainingStep):
    """Trains a quantised network with a gradient estimator."""

    def __init__(
        self, model: nn.Module, layers: dict[str, QuantLayer], estimator: GradientEstimator, optimizer: OptimizerConfig
    ) -> None:
        self.model = model
        self.layers = list(layers.values())
        self.estimator = estimator
        self.spans = estimator.spans
        self.latents = [layer.weight for layer in self.layers]
        latent = {id(p) for p in self.latents}
        self.latent_optimizer = base_optimizer(optimizer, self.latents)
        self.float_optimizer = base_optimizer(optimizer, [p for p in model.parameters() if id(p) not in latent])
        self.meta_optimizer = meta_optimizer(estimator.meta_groups())
        self.base_rates = Rates([self.latent_optimizer, self.float_optimizer])
        self.meta_rates = Rates([self.meta_optimizer] if self.meta_optimizer else [])
        self.signal: Signal | None = None
        self.flips = Flips(self.spans)

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """Generate and move (but for the first step), measure, learn."""
        direction = None
        if self.signal is not None:
            direction = self.estimator(self.signal)
            self._move(direction.value.detach(), self.signal)

        quantized = [layer.quantizer(layer.weight) for layer in self.layers]  # type: ignore[misc]
        weights = [q.value.requires_grad_() for q in quantized]
        self.model.zero_grad(set_to_none=True)
        with using(self.layers, weights):
            logits = self.model(inputs)
            loss = F.cross_entropy(logits.to(inputs.dtype), labels)
            loss.backward()

        self.signal = Signal(
            grad=torch.cat([w.grad.flatten() for w in weights]),  # type: ignore[union-attr]
            pre=torch.cat([q.pre.flatten() for q in quantized]),
            slope=torch.cat([q.slope.flatten() for q in quantized]),
        )
        if direction is not None and self.meta_optimizer is not None:
            self.meta_optimizer.zero_grad(set_to_none=True)
            if self.estimator.learn(direction, self.signal):
                self.meta_optimizer.step()
        self.float_optimizer.step()
        flips = self.flips([w.detach() for w in weights])
        result = StepResult(loss.detach(), correct_of(logits, labels), flips)
        if direction is not None:
            result.gain, result.cosine = direction.gain.detach(), direction.cosine.detach()
        return result

    def _move(self, direction: Tensor, signal: Signal) -> None:
        """W <- W - eta pi(d) by the base optimizer, then back by what the gate holds of it."""
        before = flat(self.latents) if self.estimator.gates else None
        for weight, part in zip(self.latents, self.spans.split(direction), strict=True):
            weight.grad = part.view_as(weight)
        self.latent_optimizer.step()
        if before is not None:
            step = before - flat(self.latents)
            k = self.estimator.gate(Update(before, step, self.progress), signal)
            with torch.no_grad():
                for weight, part in zip(self.latents, self.spans.split(before - k * step), strict=True):
                    weight.copy_(part.view_as(weight))

    def set_rates(self, base: float, meta: float) -> None:
        """Base optimizers and meta-optimizer."""
        self.base_rates.scale(base)
        self.meta_rates.scale(meta)

    def diagnose(self) -> dict[str, Tensor]:
        """The estimator's."""
        return self.estimator.diagnose(self.signal) if self.signal is not None else {}

    def state_dict(self) -> dict[str, Any]:
        """Hypernetworks, history, optimizers, and the signal that the next step starts from."""
        return {
            "estimator": self.estimator.state_dict(),
            "latent_optimizer": self.latent_optimizer.state_dict(),
            "float_optimizer": self.float_optimizer.state_dict(),
            "meta_optimizer": self.meta_optimizer.state_dict() if self.meta_optimizer else None,
            "signal": self.signal._asdict() if self.signal is not None else None,
            "signs": self.flips.signs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As it was, on this model's device."""
        device = self.latents[0].device
        self.estimator.load_state_dict(state["estimator"])
        self.latent_optimizer.load_state_dict(state["latent_optimizer"])
        self.float_optimizer.load_state_dict(state["float_optimizer"])
        if self.meta_optimizer:
            self.meta_optimizer.load_state_dict(state["meta_optimizer"])
        signal = state["signal"]
        self.signal = Signal(**{name: value.to(device) for name, value in signal.items()}) if signal else None
        self.flips.signs = state["signs"].to(device) if state["signs"] is not None else None


class Flips:
    """Counts, layer by layer, the quantised weights whose sign is not what it was at the last call."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.signs: Tensor | None = None

    def __call__(self, weights: list[Tensor]) -> Tensor:
        """(layers,) counts; zeros at the first call."""
        signs = torch.cat([w.flatten() for w in weights]) > 0
        previous, self.signs = self.signs, signs
        if previous is None:
            return torch.zeros(len(self.spans), dtype=torch.int64, device=signs.device)
        return torch.stack([part.sum() for part in self.spans.split(signs != previous)])


def correct_of(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of a batch are classified right, a scalar on the device."""
    return (logits.detach().argmax(1) == labels).sum()


def flat(tensors: list[Tensor] | list[nn.Parameter]) -> Tensor:
    """All end to end, without a graph."""
    return torch.cat([t.detach().flatten() for t in tensors])
