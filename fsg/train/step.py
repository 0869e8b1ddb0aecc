"""One look-ahead training step: generate the direction, move, measure, learn.

    1. d from the gradients of the step before                   (nothing in the very first step)
    2. W <- W - eta pi(d)
    3. forward with q(p(W)), loss, backward: g = dLoss/dWq for the next step
    4. hypernetworks step along dLoss/dd = -c g; biases and BatchNorm step on their own gradients

The point the loss is measured at is the point that is kept, so the straight-through estimator in this loop is the ordinary
training loop with each weight update done at the start of the next step. method.md section 3. Proof: tests/train/test_step.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.config import OptimizerConfig
from fsg.gradients import GradientEstimator, Signal
from fsg.layers import QuantLayer, using
from fsg.train.optim import Rates, base_optimizer, meta_optimizer


@dataclass
class StepResult:
    """What a step saw, on the device: nothing here has been waited for.

    ``loss``, ``correct``, ``flips``: scalars; ``gain``, ``cosine``: (layers,) or None where nothing was generated yet.
    """

    loss: Tensor
    correct: Tensor
    flips: Tensor
    gain: Tensor | None
    cosine: Tensor | None


class LookAheadStep:
    """Trains a quantised network with a gradient estimator. Callable on one batch."""

    def __init__(
        self, model: nn.Module, layers: dict[str, QuantLayer], estimator: GradientEstimator, optimizer: OptimizerConfig
    ) -> None:
        self.model = model
        self.layers = list(layers.values())
        self.estimator = estimator
        self.latents = [layer.weight for layer in self.layers]
        latent = {id(p) for p in self.latents}
        floats = [p for p in model.parameters() if id(p) not in latent]
        self.latent_optimizer = base_optimizer(optimizer, self.latents)
        self.float_optimizer = base_optimizer(optimizer, floats)
        self.meta_optimizer = meta_optimizer(estimator.meta_groups())
        self.rates = Rates(self.optimizers().values())
        self.signal: Signal | None = None
        self.signs: Tensor | None = None

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimizers by what they step."""
        named = {"latent": self.latent_optimizer, "float": self.float_optimizer, "meta": self.meta_optimizer}
        return {name: o for name, o in named.items() if o is not None}

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """One step on normalised inputs (B, C, H, W) and labels (B,)."""
        direction = self.estimator(self.signal) if self.signal is not None else None
        if direction is not None:
            self._move(direction.value.detach())

        quantized = [layer.quantizer(layer.weight) for layer in self.layers]  # type: ignore[misc]
        weights = [q.value.requires_grad_() for q in quantized]
        self.model.zero_grad(set_to_none=True)
        with using(self.layers, weights):
            logits = self.model(inputs)
            loss = F.cross_entropy(logits, labels)
            loss.backward()

        self.signal = Signal(
            grad=torch.cat([w.grad.flatten() for w in weights]),  # type: ignore[union-attr]
            pre=torch.cat([q.pre.flatten() for q in quantized]),
            slope=torch.cat([q.slope.flatten() for q in quantized]),
        )
        if direction is not None and self.meta_optimizer is not None:
            self.meta_optimizer.zero_grad(set_to_none=True)
            direction.value.backward(-self.signal.slope * self.signal.grad)
            self.meta_optimizer.step()
        self.float_optimizer.step()
        return StepResult(
            loss=loss.detach(),
            correct=(logits.detach().argmax(1) == labels).sum(),
            flips=self._flips([w.detach() for w in weights]),
            gain=direction.gain.detach() if direction is not None else None,
            cosine=direction.cosine.detach() if direction is not None else None,
        )

    def _move(self, direction: Tensor) -> None:
        """W <- W - eta pi(d), by the base optimizer."""
        for weight, part in zip(self.latents, self.estimator.spans.split(direction), strict=True):
            weight.grad = part.view_as(weight)
        self.latent_optimizer.step()

    def _flips(self, weights: list[Tensor]) -> Tensor:
        """How many quantised weights changed sign since the step before."""
        signs = torch.cat([w.flatten() for w in weights]) > 0
        previous, self.signs = self.signs, signs
        if previous is None:
            return torch.zeros((), dtype=torch.int64, device=signs.device)
        return (signs != previous).sum()
