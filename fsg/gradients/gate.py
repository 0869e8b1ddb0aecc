"""Gates: each weight takes a share k of the base optimizer's step, W <- W - k eta pi(d), with mean 1 in every layer.

    gate            k = 2 sigmoid(MLP(features)), starts at 1; features are what a weight's past and place tell (below)
    gate_permuted   the sham: the same gate, its values permuted within the layer
    hand_gate       nothing learnt: k ~ exp(-3 |W| / RMS W) where step and gradient agree, 0 where they do not

Why: the one-step meta-objective sees only the gradient after a flip and pays for movement that flips nothing. The gate's
own loss looks DELAY steps ahead and at signs alone, smoothed over three typical steps:

    20 mean[ H / RMS H  tanh((W - k s) / (3 RMS s)) ],   H = mean g of the window before + mean g of the DELAY steps after

s the step taken. It is evaluated when its future is known, so the gate learns from moves that lie DELAY steps back.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fsg.catalogue.gradients import Gate, HandGate
from fsg.gradients.base import Direction, GradientEstimator, Signal, Update
from fsg.hypernetworks.history import GradientHistory
from fsg.ops.spans import Spans, unit

DELAY = 5  # optimizer steps of future gradients that a move is judged by
LIMIT = 4.0  # a gate's largest value
META_SCALE = 20.0


class _Gated(GradientEstimator):
    """The direction is the straight-through estimator's; the gate acts after pi."""

    gates = True

    def generate(self, signal: Signal) -> Tensor:
        """g itself."""
        return signal.grad

    def layer_mean_one(self, k: Tensor) -> Tensor:
        """Gates scaled to mean 1 in each layer, then cut at LIMIT; a layer of zeros becomes ones."""
        means = self.spans.mean(k)
        scaled = k / self.spans.expand(unit(means))
        return torch.where(self.spans.expand(means) > 0, scaled, torch.ones_like(k)).clamp(max=LIMIT)


class HandGateEstimator(_Gated):
    """The untrained gate."""

    def gate(self, update: Update, signal: Signal) -> Tensor:
        """Steps go to the weights that are close to flipping, where momentum and gradient point the same way."""
        near = torch.exp(-3 * update.weight.abs() / self.spans.expand(unit(self.spans.rms(update.weight))))
        return self.layer_mean_one(
            torch.where(update.step * signal.slope * signal.grad > 0, near, torch.zeros_like(near))
        )


class GateEstimator(_Gated):
    """The learned gate, and with ``permuted`` its sham. Remembers the last DELAY moves, to judge them when they are old."""

    permutation: Tensor

    def __init__(self, config: Gate, spans: Spans) -> None:
        super().__init__(spans)
        self.rate = config.lr
        self.permuted = config.name == "gate_permuted"
        self.history = GradientHistory(config.length, spans.total)
        features = 2 * config.length + 6
        self.length = config.length
        self.inner = nn.Linear(features, config.hidden)
        self.outer = nn.Linear(config.hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        # Rows of a move: weight, step, mean gradient before, then its features, so that its gate can be made again.
        self.past_moves = GradientHistory(DELAY, (3 + features) * spans.total)
        self.after = GradientHistory(DELAY, spans.total)
        order = torch.cat([torch.randperm(n) + start for n, start in zip(spans.sizes, spans.starts, strict=True)])
        self.register_buffer("permutation", order)

    def meta_groups(self) -> list[dict[str, Any]]:
        """The gate's MLP."""
        return [{"params": list(self.parameters()), "lr": self.rate}]

    @torch.no_grad()
    def gate(self, update: Update, signal: Signal) -> Tensor:
        """The gates of this move, which is remembered with its features."""
        window = self.history.append(signal.grad)
        features = self.features(update, window)
        record = torch.cat([update.weight[None], update.step[None], window.mean(0)[None], features.T])
        self.past_moves.append(record.flatten())
        return self.k(features)

    def k(self, features: Tensor) -> Tensor:
        """(N, features) -> (N,) gates, mean 1 in each layer."""
        k = self.layer_mean_one(2 * torch.sigmoid(self.outer(torch.tanh(self.inner(features)))[:, 0]))
        return k[self.permutation] if self.permuted else k

    def features(self, update: Update, window: Tensor) -> Tensor:
        """What is known of each weight before its move, (N, 2 length + 6), all of size about 1.

        Past gradients against the step: sign and size; their signal-to-noise and share of alternations; then
        tanh(W / RMS W) sign(s), |W| / RMS W, |s| / RMS s, t / T. Gradients from before the first step count as 0.
        """
        empty = window.new_zeros(self.length - len(window), window.shape[1])
        window = torch.cat([empty, window])
        against = window * torch.sign(update.step)
        size = against.abs() / self.spans.expand(unit(self.spans.rms(window)))
        noise = window.std(0) + 1e-12 * window.abs().amax()
        signal_to_noise = torch.tanh(window.mean(0).abs() / torch.where(noise > 0, noise, torch.ones_like(noise)))
        alternations = (window[1:] * window[:-1] < 0).to(window.dtype).mean(0)
        weight = update.weight / self.spans.expand(unit(self.spans.rms(update.weight)))
        step = update.step / self.spans.expand(unit(self.spans.rms(update.step)))
        rows = [torch.sign(against), torch.log1p(size)]
        single = [signal_to_noise, alternations, torch.tanh(weight) * torch.sign(step), weight.abs(), step.abs()]
        single.append(torch.full_like(weight, update.progress))
        return torch.cat([*rows, torch.stack(single)]).T

    def learn(self, direction: Direction, measured: Signal) -> bool:
        """Judge the move of DELAY steps ago by the gradients that have been measured since."""
        after = self.after.append(measured.grad)
        moves = self.past_moves.window
        if len(moves) < DELAY or len(after) < DELAY:
            return False
        weight, step, before, *features = moves[0].view(-1, self.spans.total)
        gradient = before + after.mean(0)
        unit_gradient = gradient / self.spans.expand(unit(self.spans.rms(gradient)))
        reach = 3 * self.spans.expand(unit(self.spans.rms(step)))
        k = self.k(torch.stack(features, dim=1))
        loss = META_SCALE * (unit_gradient * torch.tanh((weight - k * step) / reach)).mean()
        loss.backward()
        return True


def memory_steps(config: Gate) -> int:
    """Steps until moves are judged: their window before, and the gradients after."""
    return 2 * DELAY


def hand_gate(config: HandGate, spans: Spans) -> HandGateEstimator:
    """The untrained gate, which has no options."""
    return HandGateEstimator(spans)
