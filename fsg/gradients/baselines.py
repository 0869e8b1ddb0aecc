"""Estimators that a learned gradient has to beat: the straight-through estimator and the sham controls.

``ste`` d = c g. ``ema`` a moving average of g with FSG's beta: what momentum alone gives. ``scalar`` one learnt positive
factor per layer: what a learnt step size alone gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fsg.catalogue.gradients import Ema, Scalar, Ste
from fsg.gradients.base import Direction, GradientEstimator, Signal
from fsg.hypernetworks.fast_net import positive
from fsg.ops.spans import Spans


class StraightThrough(GradientEstimator):
    """m = g."""

    def generate(self, signal: Signal) -> Tensor:
        """g itself."""
        return signal.grad

    def forward(self, signal: Signal) -> Direction:
        """c g; its gain and cosine are 1 by definition, so nothing is computed for them."""
        ones = signal.grad.new_ones(len(self.spans))
        return Direction(signal.slope * signal.grad, ones, ones)


class MovingAverage(GradientEstimator):
    """m_t = beta m_{t-1} + (1 - beta) g_t, starting at the first g."""

    average: Tensor
    started: Tensor

    def __init__(self, config: Ema, spans: Spans) -> None:
        super().__init__(spans)
        self.beta = config.beta
        self.register_buffer("average", torch.zeros(spans.total))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def generate(self, signal: Signal) -> Tensor:
        """The average after this gradient."""
        previous = torch.where(self.started, self.average, signal.grad)
        average = torch.lerp(signal.grad, previous, self.beta)
        self.average.copy_(average)
        self.started.fill_(True)
        return average


class LearnedScale(GradientEstimator):
    """m = s_l g with one learnt s_l > 0 for each layer l, exactly 1 at the start."""

    def __init__(self, config: Scalar, spans: Spans) -> None:
        super().__init__(spans)
        self.gain = config.gain
        self.rate = config.lr
        self.logit = nn.Parameter(torch.zeros(len(spans)))

    def generate(self, signal: Signal) -> Tensor:
        """g times its layer's factor."""
        return signal.grad * self.spans.expand(positive(self.logit))

    def meta_groups(self) -> list[dict[str, Any]]:
        """The layer factors."""
        return [{"params": [self.logit], "lr": self.rate}]


def straight_through(config: Ste, spans: Spans) -> StraightThrough:
    """The straight-through estimator, which has no options."""
    return StraightThrough(spans)
