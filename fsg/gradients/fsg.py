"""FSG: fast and slow generation with historical gradient storage and layer recognition (arXiv:2412.11777).

    m    = beta slow + (1 - beta) fast          without the switch ``fsg``: m = slow
    fast = g F(W~)                              coordinate by coordinate: learns the scale
    slow = g + r S([LRE, g_1 / r .. g_L / r])   the whole past: L = 1 without ``hgs``, no LRE token without ``lre``

r is the layer's RMS over the window: the slow-net reads numbers of size 1 in every layer and at every stage of training.
Both F and S start where m = g, so training starts as the straight-through estimator's, bit for bit.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fsg.config import Fsg
from fsg.gradients.base import GradientEstimator, Signal
from fsg.gradients.metaquant import scaled
from fsg.hypernetworks.fast_net import FastNet
from fsg.hypernetworks.history import GradientHistory
from fsg.hypernetworks.layer_embedding import LayerEmbedding
from fsg.hypernetworks.slow_net import MambaSlowNet
from fsg.ops.spans import Spans, unit


class FastSlowEstimator(GradientEstimator):
    """The method, with its three switches."""

    def __init__(self, config: Fsg, spans: Spans) -> None:
        super().__init__(spans)
        self.config = config
        self.gain = config.gain
        self.history = GradientHistory(config.history_length, spans.total)
        self.slow = MambaSlowNet(config.slow.d_inner, config.slow.d_state, config.slow.d_conv)
        self.fast = FastNet(config.fast.hidden) if config.fsg else None
        self.embedding = LayerEmbedding(len(spans)) if config.lre else None

    def generate(self, signal: Signal) -> Tensor:
        """m, after this gradient has joined the history."""
        slow = self._slow(signal)
        if self.fast is None:
            return slow
        fast = signal.grad * self.fast(scaled(signal.pre, self.spans))
        return torch.lerp(fast, slow, self.config.beta)

    def _slow(self, signal: Signal) -> Tensor:
        window = self.history.append(signal.grad)
        scale = self.spans.expand(unit(self.spans.rms(window)))
        tokens = (window / scale).T
        if self.embedding is not None:
            tokens = torch.cat([self.spans.expand(self.embedding()), tokens], dim=1)
        return signal.grad + scale * self.slow(tokens)

    def meta_groups(self) -> list[dict[str, Any]]:
        """Slow-net and layer embedding at the slow rate, fast-net at the fast one."""
        slow = list(self.slow.parameters())
        if self.embedding is not None:
            slow += list(self.embedding.parameters())
        groups = [{"params": slow, "lr": self.config.slow.lr}]
        if self.fast is not None:
            groups.append({"params": list(self.fast.parameters()), "lr": self.config.fast.lr})
        return groups
