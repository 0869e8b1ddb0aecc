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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fsg.catalogue.optimizers import OptimizerSection
from fsg.gradients import GradientEstimator, Signal, Update
from fsg.layers import QuantLayer, clocks, join, using
from fsg.ops.spans import Spans
from fsg.quantizers import AllLayers, Quantized, Quantizer, to_latent
from fsg.train.bits import PerLayer
from fsg.train.curvature import backward_twice
from fsg.train.influence import Influence, influence
from fsg.train.optim import BaseOptimizer, Rates, base_optimizer, load_optimizer, meta_optimizer
from fsg.train.optimizers import Guest
from fsg.train.seeds import stream_seed


@dataclass
class StepResult:
    """What a step saw, on the device: nothing here has been waited for.

    ``loss``, ``correct``: scalars. ``flips``: (layers,) weights that changed sign. ``gain``, ``cosine``: (layers,), or None where
    nothing was generated yet. ``norms``: (2,) l2 and l1 of the whole gradient, c g of latent weights; None where nobody measured.
    """

    loss: Tensor
    correct: Tensor
    flips: Tensor
    gain: Tensor | None = None
    cosine: Tensor | None = None
    norms: Tensor | None = None


class TrainingStep(ABC):
    """What the trainer needs of a step: to take it, to set its rates, and to go on from its state."""

    spans: Spans
    layers: list[QuantLayer]
    latent: Tensor  # (N,) latent weights of all layers, end to end
    clocks: Sequence[Tensor] = ()  # where t / T is read on the device
    _progress: float = 0.0

    @property
    def progress(self) -> float:
        """t / T, the share of training done; the trainer sets it before each step."""
        return self._progress

    @progress.setter
    def progress(self, value: float) -> None:
        self._progress = value
        for clock in self.clocks:
            clock.fill_(value)

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

    def base_optimizers(self) -> list[BaseOptimizer]:
        """Those that ``optimizer`` of the configuration made; none where its options cannot change in flight."""
        return []

    @property
    def switches(self) -> bool:
        """Whether the weights are evaluated at another point than they are trained at."""
        return any(guest.switches for guest in self.guests())

    @contextmanager
    def at_evaluation_point(self) -> Iterator[None]:
        """Inside, weights and float parameters are where the optimizer has them evaluated; afterwards as they were."""
        with ExitStack() as stack:
            for guest in self.guests():
                stack.enter_context(guest.at_evaluation_point())
            yield

    def guests(self) -> list[Guest]:
        """Those base optimizers that come from another package."""
        return [o for o in self.base_optimizers() if isinstance(o, Guest)]

    def diagnose(self) -> dict[str, Tensor]:
        """What explains a result, each (layers,)."""
        return {}

    def influence(self) -> Influence | None:
        """What the estimator changes in the step that comes next; None where there is nothing to say."""
        return None

    def requantize(self) -> None:
        """Take the layers' quantisers again: they are others than they were."""
        return None


class FloatStep(TrainingStep):
    """The ordinary step of a float network (``quantizer: none``): nothing is generated."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: OptimizerSection,
        capturable: bool = False,
        seed: int = 0,
        steps: int | None = None,
        epoch: int | None = None,
    ) -> None:
        self.model = model
        self.clocks = clocks(model)
        self.layers = []
        self.latent = torch.zeros(0)
        self.spans = Spans([]).to(next(model.parameters()).device)
        draws = stream_seed(seed, "optimizer")
        self.optimizer = base_optimizer(
            optimizer, model.parameters(), capturable, seed=draws, steps=steps, epoch=epoch, output=output_weight(model)
        )
        self.rates = Rates([self.optimizer])

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """Forward, backward, step."""
        self.model.zero_grad(set_to_none=True)
        logits = self.model(inputs)
        loss = F.cross_entropy(logits.to(inputs.dtype), labels)
        guest, params = self.optimizer if isinstance(self.optimizer, Guest) else None, list(self.model.parameters())
        diagonal = None
        if asks(guest, "hutchinson"):
            diagonal = backward_twice(loss, params, guest.noise())
        else:
            loss.backward()
        if asks(guest, "squared_gradient"):
            diagonal = [torch.zeros_like(p) if p.grad is None else p.grad**2 for p in params]
        if guest is not None:
            guest.see(loss, diagonal)
        norms = norms_of([p.grad for p in params if p.grad is not None])
        self.optimizer.step()
        correct = correct_of(logits, labels)
        return StepResult(loss.detach(), correct, torch.zeros(0, device=inputs.device), norms=norms)

    def set_rates(self, base: float, meta: float) -> None:
        """The one optimizer's."""
        self.rates.scale(base)

    def base_optimizers(self) -> list[BaseOptimizer]:
        """The one optimizer."""
        return [self.optimizer]

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The optimizer's."""
        load_optimizer(self.optimizer, state["optimizer"])


class LookAheadStep(TrainingStep):
    """Trains a quantised network with a gradient estimator.

    All latent weights are views of one flat vector, and so are their gradients: whatever is done layer by layer elsewhere is one
    call here. The base optimizer still sees each layer, as some read its shape. ``seed``: the trial's; ``steps``: of the
    whole training.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, QuantLayer],
        estimator: GradientEstimator,
        optimizer: OptimizerSection,
        capturable: bool = False,
        seed: int = 0,
        steps: int | None = None,
        epoch: int | None = None,
    ) -> None:
        self.model = model
        self.layers = list(layers.values())
        self.estimator = estimator
        self.spans = estimator.spans
        self.quantizer = quantizer_of(self.layers)
        latents = [layer.weight for layer in self.layers]
        self.shapes = [weight.shape for weight in latents]
        self.latent = join(latents)
        self.scope = AllLayers(self.shapes).to(self.latent.device)
        self.scope.progress = self.latent.new_zeros(())
        self.clocks = [self.scope.progress, *clocks(model)]
        self.grad = torch.zeros_like(self.latent)
        for weight, part in zip(latents, self.parts(self.grad), strict=True):
            weight.grad = part
        latent = {id(p) for p in latents}
        others = [p for p in model.parameters() if id(p) not in latent]
        self.others = others or [nn.Parameter(self.latent.new_zeros(1))]  # torch's optimizers refuse to have none
        whole: dict[str, Any] = {"steps": steps, "epoch": epoch, "output": output_weight(model)}
        draws = stream_seed(seed, "optimizer")
        self.latent_optimizer = base_optimizer(optimizer, latents, capturable, seed=draws, **whole)
        draws = stream_seed(seed, "float_optimizer")
        self.float_optimizer = base_optimizer(
            optimizer.float or optimizer, self.others, capturable, seed=draws, **whole
        )
        self.meta_optimizer = meta_optimizer(estimator.meta_groups(), capturable)
        self.base_rates = Rates([self.latent_optimizer, self.float_optimizer])
        self.meta_rates = Rates([self.meta_optimizer] if self.meta_optimizer else [])
        self.signal: Signal | None = None
        self.flips = Flips(self.spans)

    def parts(self, flat: Tensor) -> list[Tensor]:
        """Views of a (N,) tensor in the shapes of the layers' weights."""
        return [part.view(shape) for part, shape in zip(self.spans.split(flat), self.shapes, strict=True)]

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """Generate and move (but for the first step), measure, learn."""
        direction = None
        if self.signal is not None:
            direction = self.estimator(self.signal)
            self._move(direction.value.detach(), self.signal)

        quantized = self.quantizer(self.latent, self.scope)
        weights = quantized.value.requires_grad_()
        self.float_optimizer.zero_grad(set_to_none=True)
        with using(self.layers, self.parts(weights)):
            logits = self.model(inputs)
            loss = F.cross_entropy(logits.to(inputs.dtype), labels)
            self._backward(loss, weights, quantized)

        measured = self._measured(weights, quantized)
        if direction is not None and self.meta_optimizer is not None:
            self.meta_optimizer.zero_grad(set_to_none=True)
            if self.estimator.learn(direction, measured):
                self.meta_optimizer.step()
        self._remember(measured)
        own = [p.grad for p in self.others if p.grad is not None]
        norms = norms_of([self.estimator.slope(measured) * measured.grad, *own])
        self.float_optimizer.step()
        signs = weights.detach() if quantized.at is None else quantized.at  # with an offset both values may be positive
        result = StepResult(loss.detach(), correct_of(logits, labels), self.flips(signs), norms=norms)
        if direction is not None:
            result.gain, result.cosine = direction.gain.detach(), direction.cosine.detach()
        return result

    def _measured(self, weights: Tensor, quantized: Quantized) -> Signal:
        """What the backward pass has left at the quantised ``weights``, as far as the estimator reads it."""
        assert weights.grad is not None
        signal = Signal(weights.grad, quantized.pre, quantized.slope, self.scope.progress.clone())
        if not self.estimator.reads_sign:
            return signal
        assert quantized.scale is not None  # the configuration has asked the quantiser's fact ``sign``
        return signal._replace(
            at=quantized.at, scale=quantized.scale.contiguous(), calibration=quantized.calibration.contiguous()
        )

    def _backward(self, loss: Tensor, weights: Tensor, quantized: Quantized) -> None:
        """Gradients of the loss; and to the optimizers what else they ask for of the point it is measured at.

        The curvature along a latent weight is c^2 times that along its quantised weight, as its gradient is c g.
        """
        latent, rest = (o if isinstance(o, Guest) else None for o in self.base_optimizers())
        leaves: list[Tensor] = []
        noise: list[Tensor] = []
        if asks(latent, "hutchinson"):
            leaves, noise = [weights], [torch.cat([z.flatten() for z in latent.noise()])]
        if asks(rest, "hutchinson"):
            leaves, noise = [*leaves, *self.others], noise + rest.noise()
        if leaves:
            known = {id(leaf) for leaf in leaves}
            others = [leaf for leaf in (weights, *self.others) if id(leaf) not in known]
            found = backward_twice(loss, leaves, noise, others)
        else:
            loss.backward()
            found = []
        diagonal: Tensor | None = None
        if asks(latent, "hutchinson"):
            diagonal = found.pop(0)
        elif asks(latent, "squared_gradient") and weights.grad is not None:
            diagonal = weights.grad**2
        if latent is not None:
            if diagonal is not None:
                diagonal = self.estimator.slope(self._measured(weights, quantized)) ** 2 * diagonal
            latent.see(loss, None if diagonal is None else self.parts(diagonal))
        if asks(rest, "squared_gradient"):
            found = [torch.zeros_like(p) if p.grad is None else p.grad**2 for p in self.others]
        if rest is not None:
            rest.see(loss, found or None)

    def _remember(self, measured: Signal) -> None:
        """For the next step, in place: what a step reads stays where it is, as a CUDA graph needs it."""
        if self.signal is None:
            self.signal = measured
        else:
            kept, new = ([part for part in signal if part is not None] for signal in (self.signal, measured))
            torch._foreach_copy_(kept, new)

    @torch.no_grad()
    def _move(self, direction: Tensor, signal: Signal) -> None:
        """W <- W - eta pi(d) by the base optimizer, then back by what the gate holds of it."""
        self.grad.copy_(to_latent(self.quantizer, direction, signal.pre, self.scope))
        if not self.estimator.gates:
            self.latent_optimizer.step()
            return
        before = self.latent.clone()
        self.latent_optimizer.step()
        step = before - self.latent
        self.latent.copy_(before - self.estimator.gate(Update(before, step, self.progress), signal) * step)

    def set_rates(self, base: float, meta: float) -> None:
        """Base optimizers and meta-optimizer."""
        self.base_rates.scale(base)
        self.meta_rates.scale(meta)

    def requantize(self) -> None:
        """Each layer's, or their common one."""
        self.quantizer = quantizer_of(self.layers)

    def base_optimizers(self) -> list[BaseOptimizer]:
        """Of the latent weights, and of all the rest."""
        return [self.latent_optimizer, self.float_optimizer]

    def diagnose(self) -> dict[str, Tensor]:
        """The estimator's."""
        return self.estimator.diagnose(self.signal) if self.signal is not None else {}

    def influence(self) -> Influence | None:
        """The estimator's, on copies."""
        return influence(self)

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
        device = self.latent.device
        self.estimator.load_state_dict(state["estimator"])
        load_optimizer(self.latent_optimizer, state["latent_optimizer"])
        load_optimizer(self.float_optimizer, state["float_optimizer"])
        if self.meta_optimizer:
            load_optimizer(self.meta_optimizer, state["meta_optimizer"])
        signal = state["signal"]
        kept = {name: value.to(device).clone() for name, value in (signal or {}).items() if value is not None}
        # A state of 0.1 has no progress: nothing that it trains reads it.
        self.signal = Signal(**{"progress": self.latent.new_zeros(()), **kept}) if kept else None
        self.flips.signs = state["signs"].to(device).clone() if state["signs"] is not None else None


def asks(guest: Guest | None, source: str) -> TypeGuard[Guest]:
    """Whether the next step of an optimizer takes the Hessian's diagonal, from this source."""
    return guest is not None and guest.asks_curvature and guest.source == source


class Flips:
    """Counts, layer by layer, the quantised weights whose sign is not what it was at the last call."""

    def __init__(self, spans: Spans) -> None:
        self.spans = spans
        self.signs: Tensor | None = None

    def __call__(self, weights: Tensor) -> Tensor:
        """(N,) -> (layers,) counts, exact up to 2^24 weights a layer; zeros at the first call."""
        signs = weights > 0
        if self.signs is None:
            self.signs = signs
        flips = self.spans.sum((signs != self.signs).float())
        self.signs.copy_(signs)
        return flips


def quantizer_of(layers: Sequence[QuantLayer]) -> Quantizer:
    """What quantises the latent weights of a network's layers, end to end: their one quantiser, or each layer's own."""
    own = [layer.quantizer for layer in layers if layer.quantizer is not None]
    return own[0] if all(other == own[0] for other in own) else PerLayer(own, [layer.weight.shape for layer in layers])


def output_weight(model: nn.Module) -> Tensor | None:
    """The weight of a network's last layer, None in one without matrices."""
    return next((p for p in reversed(list(model.parameters())) if p.ndim >= 2), None)


def norms_of(gradients: list[Tensor]) -> Tensor:
    """(2,) the l2 and the l1 norm of tensors as of one vector, on their device."""
    if not gradients:
        return torch.zeros(2)
    euclidean = torch.stack(torch._foreach_norm(gradients)).norm()
    return torch.stack([euclidean, torch.stack(torch._foreach_norm(gradients, 1)).sum()]).detach()


def correct_of(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of a batch are classified right, a scalar on the device."""
    return (logits.detach().argmax(1) == labels).sum()
