"""The look-ahead step of K trials at once: ``fsg/train/step.py`` over rows.

Letters: K trials, N latent weights, M float parameters, B images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from fsg.gradients import Direction, Signal
from fsg.ops.spans import RowSpans
from fsg.parts import part_of, resolved
from fsg.train.fused.group import groups_of, look_ahead
from fsg.train.fused.network import put, side_by_side
from fsg.train.fused.optim import OptimizerRows
from fsg.train.loop import Trainer
from fsg.train.step import StepResult


class RowScope:
    """Which weights share a scale in K flat vectors end to end, (K N,): those of one layer of one trial."""

    def __init__(self, spans: RowSpans, shapes: Sequence[torch.Size]) -> None:
        self.spans, self.shapes = spans, shapes
        self.progress = torch.ones(())  # each trial has its own, so a quantiser that reads it is not fusable

    def largest(self, magnitude: Tensor) -> Tensor:
        """(K N,)."""
        return self.spans.expand(self.spans.largest(self._rows(magnitude))).flatten()

    def mean(self, magnitude: Tensor) -> Tensor:
        """(K N,)."""
        return self.spans.expand(self.spans.mean(self._rows(magnitude))).flatten()

    def channel_mean(self, magnitude: Tensor) -> Tensor:
        """(K N,)."""
        parts = zip(self.spans.split(self._rows(magnitude)), self.shapes, strict=True)
        channels = [part.reshape(len(part), shape[0], -1) for part, shape in parts]
        return torch.cat([c.mean(2, keepdim=True).expand_as(c).flatten(1) for c in channels], dim=1).flatten()

    def channel_median(self, magnitude: Tensor) -> Tensor:
        """No quantiser that is fusable asks."""
        raise NotImplementedError

    def channel_size(self, weight: Tensor) -> Tensor:
        """No quantiser that is fusable asks."""
        raise NotImplementedError

    def _rows(self, magnitude: Tensor) -> Tensor:
        return magnitude.view(-1, self.spans.total)


class FusedStep:
    """Steps the trials of ``trainers``, of which several may be the same one: a trial alone is trained as two.

    Networks are side by side, estimators in groups of equal ones (``group.py``): those that are to be one are neighbours.
    ``gather`` stacks what the trainers have, ``scatter`` gives it back; in between they are not to be used. Results of a
    step have a row for each trial.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        steps = [look_ahead(trainer) for trainer in trainers]
        first, config = steps[0], trainers[0].config
        self.trainers, self.steps = list(trainers), steps
        self.device, self.dtype = first.latent.device, first.latent.dtype
        self.spans = RowSpans(first.spans.sizes).to(self.device)
        self.scope = RowScope(self.spans, first.shapes)
        self.quantizer = first.quantizer
        self.network = side_by_side(first.model)
        names = {id(p): name for name, p in first.model.named_parameters()}
        self.latent_names = [names[id(layer.weight)] for layer in first.layers]
        self.other_names = [name for name in names.values() if name not in self.latent_names]
        self.others = [dict(step.model.named_parameters()) for step in steps]
        self.statistics = [
            name for name, _ in first.model.named_buffers() if name.rpartition(".")[2].startswith("running")
        ]
        self.groups = groups_of(trainers, self.spans)
        rows = resolved(part_of("optimizer", config.optimizer).fact("fusable", config.optimizer))
        self.latent_optimizer: OptimizerRows = rows([step.latent_optimizer for step in steps])
        self.float_optimizer: OptimizerRows = rows([step.float_optimizer for step in steps])

    def __len__(self) -> int:
        return len(self.steps)

    @torch.no_grad()
    def gather(self) -> None:
        """Stack the trials' tensors."""
        self.latent = torch.stack([step.latent for step in self.steps])
        float_rows = [[own[name].flatten() for name in self.other_names] for own in self.others]
        self.floats = torch.stack([torch.cat(row) if row else self.latent.new_zeros(1) for row in float_rows])
        buffers = [dict(step.model.named_buffers()) for step in self.steps]
        self.running = {name: torch.stack([own[name] for own in buffers]) for name in self.statistics}
        put(self.network, self.running)
        signals = [step.signal for step in self.steps]
        known = [signal for signal in signals if signal is not None]
        self.signal = Signal(*map(_stacked, zip(*known, strict=True))) if known else None  # type: ignore[arg-type]
        signs = [step.flips.signs for step in self.steps]
        self.signs = torch.stack([each for each in signs if each is not None]) if known else None
        averaged = [trainer.averaged for trainer in self.trainers if trainer.averaged is not None]
        self.averaged = torch.stack(averaged) if averaged else None
        for group in self.groups:
            group.gather()
        for rows in (self.latent_optimizer, self.float_optimizer):
            rows.gather()
        self.taken = 0

    @torch.no_grad()
    def scatter(self, count: int) -> None:
        """Give the first ``count`` trials their own back."""
        sizes = [self.others[0][name].numel() for name in self.other_names]
        for k, (trainer, step) in enumerate(zip(self.trainers[:count], self.steps, strict=False)):
            step.latent.copy_(self.latent[k])
            for name, part in zip(self.other_names, self.floats[k].split(sizes) if sizes else (), strict=True):
                own = self.others[k][name]
                own.copy_(part.view_as(own))
            for name, value in step.model.named_buffers():
                if name in self.running:
                    value.copy_(self.running[name][k])
                elif name.rpartition(".")[2] == "num_batches_tracked":
                    value += self.taken
            if self.signal is not None:
                step.signal = Signal(*(None if part is None else part[k].clone() for part in self.signal))  # type: ignore[arg-type]
            step.flips.signs = self.signs[k].clone() if self.signs is not None else None
            trainer.averaged = self.averaged[k].clone() if self.averaged is not None else None
        for group in self.groups:
            group.scatter()
        for rows in (self.latent_optimizer, self.float_optimizer):
            rows.scatter(count)
        self.taken = 0

    def __call__(self, inputs: Tensor, labels: Tensor, progress: Sequence[float]) -> StepResult:
        """One step on inputs (B, K C, H, W) and labels (K, B); ``progress``: t / T of each trial."""
        direction = None
        if self.signal is not None:
            parts = zip(*(group.generate(self.signal) for group in self.groups), strict=True)
            direction = Direction(*map(torch.cat, parts))
            self._move(direction.value, self.signal, progress)

        quantized = self.quantizer(self.latent.view(-1), self.scope)
        weights = quantized.value.view_as(self.latent).requires_grad_()
        floats = self.floats.detach().requires_grad_()
        self._put(weights, floats)
        members = len(self)
        logits = self.network(inputs).view(len(inputs), members, -1).transpose(0, 1)
        each = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), reduction="none")
        loss = each.view(members, -1).mean(1)
        gradient, float_gradient = torch.autograd.grad(loss.sum(), [weights, floats], allow_unused=True)

        pre, slope = (part.view_as(self.latent) for part in (quantized.pre, quantized.slope))
        measured = Signal(gradient, pre, slope, self.latent.new_tensor(progress))
        for group in self.groups:
            group.learn(measured)
        self.signal = measured
        if float_gradient is not None:
            self.float_optimizer.step(self.floats, float_gradient)
        self._average()
        self.taken += 1
        correct = (logits.detach().argmax(2) == labels).sum(1)
        norms = _norms([slope * gradient, *([] if float_gradient is None else [float_gradient])])
        result = StepResult(loss.detach(), correct, self._flips(weights.detach()), norms=norms)
        if direction is not None:
            result.gain, result.cosine = direction.gain, direction.cosine
        return result

    def diagnose(self) -> list[dict[str, Tensor]]:
        """What each trial's estimator says of itself, by name, (layers,)."""
        signal = self.signal
        return (
            [own for group in self.groups for own in group.diagnose(signal)] if signal is not None else [{}] * len(self)
        )

    def seconds(self) -> list[float]:
        """What each trial's estimator alone took since ``gather`` or ``scatter``."""
        return [group.seconds / len(group) for group in self.groups for _ in range(len(group))]

    def put_rows(self, latent: Tensor, rows: Tensor, statistics: Mapping[str, Tensor]) -> None:
        """The quantised ``latent`` weights, (R, N), into the network, with the float parameters of ``rows``, (R,)."""
        self._put(self.quantizer(latent.flatten(), self.scope).value.view_as(latent), self.floats[rows])
        put(self.network, statistics)

    def _put(self, weights: Tensor, floats: Tensor) -> None:
        """Weights as the network reads them, and float parameters, with a graph to both."""
        shapes = [*self.scope.shapes, *(self.others[0][name].shape for name in self.other_names)]
        parts = list(self.spans.split(weights))
        if self.other_names:
            parts += floats.split([self.others[0][name].numel() for name in self.other_names], dim=1)
        names = [*self.latent_names, *self.other_names]
        put(self.network, {n: p.reshape(-1, *s) for n, p, s in zip(names, parts, shapes, strict=True)})

    @torch.no_grad()
    def _move(self, direction: Tensor, signal: Signal, progress: Sequence[float]) -> None:
        gating = [group for group in self.groups if group.gates]
        before = self.latent.clone() if gating else self.latent
        self.latent_optimizer.step(self.latent, direction)
        for group in gating:
            group.hold(before, self.latent, signal, self.latent.new_tensor(progress))

    def _average(self) -> None:
        decay = self.trainers[0].config.evaluate.ema_weights
        if not decay:
            return
        if self.averaged is None:
            self.averaged = self.latent.clone()
        else:
            torch.lerp(self.latent, self.averaged, decay, out=self.averaged)

    def _flips(self, weights: Tensor) -> Tensor:
        signs = weights > 0
        if self.signs is None:
            self.signs = signs
        flips = self.spans.sum((signs != self.signs).to(torch.float32))
        self.signs = signs
        return flips


def _stacked(parts: Sequence[Tensor | None]) -> Tensor | None:
    """A row of each; None where the quantiser states none."""
    known = [part for part in parts if part is not None]
    return torch.stack(known) if known else None


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    """(K, 2): of each trial the l2 and the l1 norm of (K, n) gradients as of one vector."""
    euclidean = torch.stack([gradient.norm(dim=1) for gradient in gradients]).norm(dim=0)
    return torch.stack([euclidean, sum(gradient.abs().sum(1) for gradient in gradients)], dim=1)  # type: ignore[list-item]
