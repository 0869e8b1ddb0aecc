"""Estimators of K trials as one: twins of those in this folder, for the fused program (``fsg/train/fused``).

Row k of a signal, (K, N), is trial k's; so is row k of every parameter and of every memory. What is made of one row hangs on
that row alone, to the bit: no operation here rounds an element by where it lies. So softplus is written out, as torch's own
computes the last elements of a tensor otherwise than the others (2.15, CPU), and nothing is a matrix product.
Proof: ``tests/train/test_fused.py``, against the estimators themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fsg.gradients.base import Direction, GradientEstimator, Signal
from fsg.gradients.baselines import LearnedScale, MovingAverage, StraightThrough
from fsg.gradients.fsg import FastSlowEstimator
from fsg.gradients.gate import HandGateEstimator
from fsg.gradients.metaquant import FcGradEstimator, MultiFcEstimator, scaled
from fsg.hypernetworks.slow_rivals import FirSlowNet
from fsg.ops.slow_scan import MambaWeights, slow_scans
from fsg.ops.spans import RowSpans, unit

_LINEAR_FROM = 20.0  # where torch's softplus becomes the identity


class EstimatorRows(GradientEstimator):
    """Base of all twins: K estimators of equal shape, the ``members``, whose tensors are stacked in between.

    ``learnt``: (K, Q) all that they learn, in the order of their ``meta_groups``; None where that is nothing.
    """

    def __init__(self, members: Sequence[GradientEstimator], spans: RowSpans, dtype: torch.dtype) -> None:
        GradientEstimator.__init__(self, spans)
        self.dtype = dtype
        self.members = list(members)
        self.gain = members[0].gain
        named = {id(p): name for name, p in members[0].named_parameters()}
        learnt = [p for group in members[0].meta_groups() for p in group["params"]]
        self._names = [named[id(p)] for p in learnt]
        self._shapes = [p.shape for p in learnt]
        self.learnt: Tensor | None = None
        self.memory: dict[str, Tensor] = {}

    @torch.no_grad()
    def gather(self) -> None:
        """Stack what the members have now."""
        if self._names:
            rows = [dict(member.named_parameters()) for member in self.members]
            flat = [torch.cat([row[name].flatten() for name in self._names]) for row in rows]
            self.learnt = torch.stack(flat).requires_grad_()
        kept = [_memory(member) for member in self.members]
        self.memory = {name: torch.stack([each[name] for each in kept]) for name in kept[0]}

    @torch.no_grad()
    def scatter(self, count: int) -> None:
        """Give the first ``count`` members theirs back."""
        for k, member in enumerate(self.members[:count]):
            if self.learnt is not None:
                own = dict(member.named_parameters())
                for name, value in zip(self._names, self._split(self.learnt[k : k + 1]), strict=True):
                    own[name].copy_(value[0])
            for name, stacked in self.memory.items():
                owner, _, last = name.rpartition(".")
                setattr(member.get_submodule(owner), last, stacked[k].clone())

    def parts(self) -> Mapping[str, Tensor]:
        """The parameters by name, each (K, *shape), with a graph to ``learnt``."""
        if self.learnt is None:
            return {}
        return dict(zip(self._names, self._split(self.learnt), strict=True))

    def column(self, values: Sequence[float]) -> Tensor:
        """A number for each member, (K, 1)."""
        return torch.tensor(values, dtype=self.dtype, device=self.spans.lengths.device)[:, None]

    def _split(self, flat: Tensor) -> list[Tensor]:
        pieces = flat.split([shape.numel() for shape in self._shapes], dim=1)
        return [piece.view(-1, *shape) for piece, shape in zip(pieces, self._shapes, strict=True)]


def _memory(member: GradientEstimator) -> dict[str, Tensor]:
    parameters = {name for name, _ in member.named_parameters()}
    return {name: value for name, value in member.state_dict().items() if name not in parameters}


class _Softplus(torch.autograd.Function):
    """torch's softplus, each element by itself."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        e = torch.exp(z)
        ctx.save_for_backward(z, e)
        return torch.where(z > _LINEAR_FROM, z, torch.log1p(e))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        z, e = ctx.saved_tensors
        return torch.where(z > _LINEAR_FROM, grad, grad * (e / (e + 1)))


def positive(z: Tensor) -> Tensor:
    """softplus(z) / ln 2: positive, and exactly 1 at 0."""
    return _Softplus.apply(z) / math.log(2)


def tanh_layer(parts: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    """tanh of the linear layer ``name`` of one input and h outputs: (K, N) -> (K, h, N)."""
    return torch.tanh(torch.addcmul(parts[f"{name}.bias"][:, :, None], parts[f"{name}.weight"], values[:, None]))


def read_out(weight: Tensor, hidden: Tensor) -> Tensor:
    """A linear layer of one output: weight (K, 1, h) and (K, h, N) -> (K, N)."""
    return (hidden * weight.mT).sum(1)


def fast_net(parts: Mapping[str, Tensor], values: Tensor, name: str = "fast") -> Tensor:
    """``FastNet``: (K, N) -> (K, N) positive factors."""
    hidden = tanh_layer(parts, f"{name}.inner", values)
    return positive(read_out(parts[f"{name}.outer.weight"], hidden) + parts[f"{name}.outer.bias"])


class StraightThroughRows(EstimatorRows, StraightThrough):
    """m = g."""

    def forward(self, signal: Signal) -> Direction:
        """c g, with gain and cosine 1 in every row."""
        ones = signal.grad.new_ones(len(signal.grad), len(self.spans))
        return Direction(signal.slope * signal.grad, ones, ones)


class HandGateRows(EstimatorRows, HandGateEstimator):
    """The untrained gate."""


class MovingAverageRows(EstimatorRows):
    """m_t = beta m_{t-1} + (1 - beta) g_t, each from its own first g."""

    members: list[MovingAverage]  # type: ignore[assignment]

    def generate(self, signal: Signal) -> Tensor:
        """The averages after this gradient."""
        previous = torch.where(self.memory["started"][:, None], self.memory["average"], signal.grad)
        average = torch.lerp(signal.grad, previous, self.column([member.beta for member in self.members]))
        self.memory["average"].copy_(average)
        self.memory["started"].fill_(True)
        return average


class LearnedScaleRows(EstimatorRows):
    """m = s_l g."""

    members: list[LearnedScale]  # type: ignore[assignment]

    def generate(self, signal: Signal) -> Tensor:
        """g times its layer's factor."""
        return signal.grad * self.spans.expand(positive(self.parts()["logit"]))


class MultiFcRows(EstimatorRows):
    """m = g F(W~ / RMS of the layer's W~)."""

    members: list[MultiFcEstimator]  # type: ignore[assignment]

    def generate(self, signal: Signal) -> Tensor:
        """g times the fast-net's factor."""
        return signal.grad * fast_net(self.parts(), scaled(signal.pre, self.spans))


class FcGradRows(EstimatorRows):
    """m = g + r N(g / r)."""

    members: list[FcGradEstimator]  # type: ignore[assignment]

    def generate(self, signal: Signal) -> Tensor:
        """g and what the network adds to it."""
        parts, rms = self.parts(), self.spans.rms(signal.grad)
        hidden = tanh_layer(parts, "inner", signal.grad / self.spans.expand(unit(rms)))
        return signal.grad + self.spans.expand(rms) * read_out(parts["outer.weight"], hidden)


class FastSlowRows(EstimatorRows):
    """FSG with layout ``per_weight``. The window is (K, m, N), and tokens lie (K, tokens, N)."""

    members: list[FastSlowEstimator]  # type: ignore[assignment]
    _WINDOW = "history.window"

    def __init__(self, members: Sequence[FastSlowEstimator], spans: RowSpans, dtype: torch.dtype) -> None:
        super().__init__(members, spans, dtype)
        self.config = members[0].config
        self.beta = self.column([member.config.beta for member in members])

    def generate(self, signal: Signal) -> Tensor:
        """m, after this gradient has joined the histories."""
        parts = self.parts()
        slow = self._slow(parts, self._append(signal.grad))
        return torch.lerp(self._fast(parts, signal), slow, self.beta) if self.config.fsg else slow

    @torch.no_grad()
    def diagnose(self, signal: Signal) -> dict[str, Tensor]:
        """As the estimator's own, each (K, layers)."""
        window, parts = self.memory[self._WINDOW], self.parts()
        if not window.shape[1]:
            return {}
        slow = self._slow(parts, window)
        norm = self.spans.norm(slow)
        forgotten = torch.cat([torch.zeros_like(window[:, :-1]), window[:, -1:]], dim=1)
        past = self.spans.norm(slow - self._slow(parts, forgotten, self._scale(window)))
        found = {"history_share": past / unit(norm), "slow_share": torch.ones_like(norm)}
        if self.config.fsg:
            fast_norm = self.spans.norm(self._fast(parts, signal))
            found["slow_share"] = self.beta * norm / unit(self.beta * norm + (1 - self.beta) * fast_norm)
        if self.config.lre:
            table = parts["embedding.table.weight"]
            distances = [torch.cdist(each, each).sum(1) for each in table]
            found["lre_distance"] = torch.stack(distances) / max(1, len(self.spans) - 1)
        return found

    def _append(self, grad: Tensor) -> Tensor:
        older = self.memory[self._WINDOW][:, -(self.config.history_length - 1) :]
        if self.config.history_length == 1:
            older = older[:, :0]
        self.memory[self._WINDOW] = torch.cat([older, grad[:, None]], dim=1)
        return self.memory[self._WINDOW]

    def _fast(self, parts: Mapping[str, Tensor], signal: Signal) -> Tensor:
        return signal.grad * fast_net(parts, scaled(signal.pre, self.spans))

    def _scale(self, window: Tensor) -> Tensor:
        if self.config.normalization == "none":
            return torch.ones_like(window[:, -1])
        return self.spans.expand(unit(self.spans.rms(window)))

    def _slow(self, parts: Mapping[str, Tensor], window: Tensor, scale: Tensor | None = None) -> Tensor:
        scale = self._scale(window) if scale is None else scale
        tokens = window / scale[:, None]
        if self.config.lre:
            vectors = parts["embedding.table.weight"].unbind(2)
            tokens = torch.cat([*(self.spans.expand(each)[:, None] for each in vectors), tokens], dim=1)
        if isinstance(self.members[0].slow, FirSlowNet):
            taps = [self.spans.expand(tap) for tap in parts["slow.taps"].unbind(2)][-tokens.shape[1] :]
            answer = (tokens * torch.stack(taps, dim=1)).sum(1)
        else:
            weights = MambaWeights(*(parts[f"slow.mamba.{name}"] for name in _MAMBA))
            answer = slow_scans(tokens, weights, self.config.slow.backend)
        return window[:, -1] + scale * answer


_MAMBA = (
    "in_proj.weight", "conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D",
    "out_proj.weight",
)  # fmt: skip
