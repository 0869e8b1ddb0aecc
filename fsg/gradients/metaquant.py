"""MetaQuant's estimators (NeurIPS 2019): a gradient made coordinate by coordinate, without memory.

``multi_fc`` m = g F(W~).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fsg.config import MultiFc
from fsg.gradients.base import GradientEstimator, Signal
from fsg.hypernetworks.fast_net import FastNet
from fsg.ops.spans import Spans, unit


class MultiFcEstimator(GradientEstimator):
    """m = g F(W~ / RMS of the layer's W~), F the same fast-net as FSG's."""

    def __init__(self, config: MultiFc, spans: Spans) -> None:
        super().__init__(spans)
        self.gain = config.gain
        self.rate = config.fast.lr
        self.fast = FastNet(config.fast.hidden)

    def generate(self, signal: Signal) -> Tensor:
        """g times the fast-net's factor."""
        return signal.grad * self.fast(scaled(signal.pre, self.spans))

    def meta_groups(self) -> list[dict[str, Any]]:
        """The fast-net."""
        return [{"params": list(self.fast.parameters()), "lr": self.rate}]


def scaled(pre: Tensor, spans: Spans) -> Tensor:
    """W~ in units of its layer's RMS."""
    return pre / spans.expand(unit(spans.rms(pre)))
