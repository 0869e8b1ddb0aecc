"""FSG: fast and slow generation with historical gradient storage and layer recognition (arXiv:2412.11777).

    m    = beta slow + (1 - beta) fast          without the switch ``fsg``: m = slow
    fast = g F(W~)                              coordinate by coordinate: learns the scale
    slow = g + r S([LRE, g_1 / r .. g_L / r])   the whole past: L = 1 without ``hgs``, no LRE token without ``lre``

r is the layer's RMS over the window: the slow-net reads numbers of size 1 in every layer and at every stage of training.
Both F and S start where m = g, so training starts as the straight-through estimator's, bit for bit.

Layout ``per_weight``: each weight is a sequence of 1 + L tokens, all weights of all layers one batch. ``flattened``: each layer
is one sequence of 1 + L n tokens, coordinates fast and time slow, whose last n outputs are used; a weight's own previous
gradient then lies n tokens back, out of reach in all but the smallest layers (docs/method.md).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fsg.catalogue.gradients import Fsg
from fsg.gradients.base import GradientEstimator, Signal
from fsg.gradients.metaquant import scaled
from fsg.hypernetworks.fast_net import FastNet
from fsg.hypernetworks.history import GradientHistory
from fsg.hypernetworks.layer_embedding import LayerEmbedding
from fsg.hypernetworks.slow_net import MambaSlowNet
from fsg.hypernetworks.slow_rivals import FirSlowNet, LstmSlowNet
from fsg.ops.slow_scan.operations import flops, operations
from fsg.ops.spans import Spans, unit


class FastSlowEstimator(GradientEstimator):
    """The method, with its three switches."""

    def __init__(self, config: Fsg, spans: Spans) -> None:
        super().__init__(spans)
        self.config = config
        self.gain = config.gain
        self.history = GradientHistory(config.history_length, spans.total)
        self.slow = _slow_net(config, len(spans))
        self.fast = FastNet(config.fast.hidden) if config.fsg else None
        self.embedding = LayerEmbedding(len(spans), config.lre_size) if config.lre else None
        if config.init == "random":
            _draw_outputs(self.slow, self.fast)

    def generate(self, signal: Signal) -> Tensor:
        """m, after this gradient has joined the history."""
        return self._mixed(signal, self._slow(self.history.append(signal.grad)))

    def meta_groups(self) -> list[dict[str, Any]]:
        """Slow-net and layer embedding at the slow rate, fast-net at the fast one."""
        slow = list(self.slow.parameters())
        if self.embedding is not None:
            slow += list(self.embedding.parameters())
        groups = [{"params": slow, "lr": self.config.slow.lr}]
        if self.fast is not None:
            groups.append({"params": list(self.fast.parameters()), "lr": self.config.fast.lr})
        return groups

    @torch.no_grad()
    def diagnose(self, signal: Signal) -> dict[str, Tensor]:
        """Per layer: the slow gradient's share of m, the share of it that older gradients made, distance of embeddings.

        ``slow_share`` |beta slow| / (|beta slow| + |(1 - beta) fast|); ``history_share`` |slow - slow with an empty past| /
        |slow|; ``lre_distance`` mean distance of a layer's embedding to the others'.
        """
        window = self.history.window
        if not len(window):
            return {}
        slow = self._slow(window)
        norm = self.spans.norm(slow)
        # The scale is kept: a past of zeros would otherwise change the unit that the newest gradient is read in.
        past = self.spans.norm(slow - self._slow(_forgotten(window), self._scale(window)))
        found = {"history_share": past / unit(norm), "slow_share": torch.ones_like(norm)}
        if self.fast is not None:
            beta = self.config.beta
            fast_norm = self.spans.norm(self._fast(signal))
            found["slow_share"] = beta * norm / unit(beta * norm + (1 - beta) * fast_norm)
        if self.embedding is not None:
            distances = torch.cdist(self.embedding(), self.embedding())
            found["lre_distance"] = distances.sum(1) / max(1, len(self.spans) - 1)
        return found

    @torch.no_grad()
    def without(self, signal: Signal) -> dict[str, Tensor]:
        """m with an empty past (hgs), of the slow gradient alone (fsg), and with an embedding of zeros (lre)."""
        window, found = self.history.window, {}
        if self.config.hgs:
            found["hgs"] = self._mixed(signal, self._slow(_forgotten(window), self._scale(window)))
        if self.config.fsg:
            found["fsg"] = self._slow(window)
        if self.config.lre:
            found["lre"] = self._mixed(signal, self._slow(window, recognised=False))
        return found

    def _mixed(self, signal: Signal, slow: Tensor) -> Tensor:
        return slow if self.fast is None else torch.lerp(self._fast(signal), slow, self.config.beta)

    def _fast(self, signal: Signal) -> Tensor:
        assert self.fast is not None
        return signal.grad * self.fast(scaled(signal.pre, self.spans))

    def _scale(self, window: Tensor) -> Tensor:
        """(N,): the unit in which the slow-net reads each weight's gradients."""
        if self.config.normalization == "none":
            return torch.ones_like(window[-1])
        return self.spans.expand(unit(self.spans.rms(window)))

    def _slow(self, window: Tensor, scale: Tensor | None = None, recognised: bool = True) -> Tensor:
        """The slow gradient of a (m, N) window, newest last; not ``recognised``: all layer embeddings are zeros."""
        scale = self._scale(window) if scale is None else scale
        rows = window / scale
        layers = self.embedding() if self.embedding is not None else None
        if layers is not None and not recognised:
            layers = torch.zeros_like(layers)
        per_weight = self.config.layout == "per_weight"
        answer = self._per_weight(rows, layers) if per_weight else self._flattened(rows, layers)
        return window[-1] + scale * answer

    def _per_weight(self, rows: Tensor, layers: Tensor | None) -> Tensor:
        tokens = rows.T
        if layers is not None:
            tokens = torch.cat([self.spans.expand(layers), tokens], dim=1)
        if isinstance(self.slow, FirSlowNet):
            return self.slow(tokens, self.spans.index)[:, 0]
        return self.slow(tokens)[:, 0]

    def _flattened(self, rows: Tensor, layers: Tensor | None) -> Tensor:
        sequences = [part.flatten() for part in self.spans.split(rows)]
        if layers is not None:
            sequences = [torch.cat(pair) for pair in zip(layers, sequences, strict=True)]
        if isinstance(self.slow, MambaSlowNet):
            return self.slow.flat(torch.cat(sequences), [len(s) for s in sequences], self.spans.sizes)
        return torch.cat([self.slow(s[None], n)[0] for s, n in zip(sequences, self.spans.sizes, strict=True)])


def _forgotten(window: Tensor) -> Tensor:
    """A window whose older gradients are zeros."""
    return torch.cat([torch.zeros_like(window[:-1]), window[-1:]])


def _slow_net(config: Fsg, layers: int) -> nn.Module:
    match config.slow_net:
        case "mamba":
            return MambaSlowNet(config.slow.d_inner, config.slow.d_state, config.slow.d_conv, config.slow.backend)
        case "lstm":
            return LstmSlowNet(config.slow.d_inner)
        case "fir":
            return FirSlowNet(layers, config.history_length + (config.lre_size if config.lre else 0))


def _draw_outputs(slow: nn.Module, fast: FastNet | None) -> None:
    """``init: random``: what starts at zero is drawn as torch draws a linear layer, U(+-1/sqrt(inputs))."""
    zeros = [p for net in (slow, fast) if net is not None for p in net.parameters() if not p.any()]
    for parameter in zeros:
        bound = parameter.shape[-1] ** -0.5
        nn.init.uniform_(parameter, -bound, bound)


def slow_net_flops(config: Fsg, weights: int, layers: int) -> float:
    """A step's forward and backward pass of the slow-net over all weights: torch sees neither a fused scan nor an LSTM."""
    embedded = config.lre_size if config.lre else 0
    per_weight = config.layout == "per_weight"
    sequences = weights if per_weight else layers
    tokens = weights * config.history_length + sequences * embedded
    slow = config.slow
    if config.slow_net == "mamba":
        recurrent = tokens - sequences if per_weight else tokens
        return flops(operations(tokens, recurrent, weights, slow.d_inner, slow.d_state, slow.d_conv))
    if config.slow_net == "lstm":  # four gates of input and state; backward twice forward
        return 6.0 * tokens * 4 * slow.d_inner * (1 + slow.d_inner)
    return 4.0 * tokens  # a filter: one multiply-add forward, one for its taps
