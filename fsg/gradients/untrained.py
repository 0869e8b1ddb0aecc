"""Estimators that remember as many gradients as FSG does, and learn nothing. All is done weight by weight.

``grad_queue``: m = rho g, where rho = |g - mu| / sigma is how rare g is beside the mean mu and the standard deviation sigma of
the queue of gradients before it, bounded to [1 / limit, limit]. Grad Queue (arXiv:2404.16917) states this much in its abstract: a
finite queue, its instantaneous statistics, a bounded measure of scarcity that reinforces what is rare. The form of the
measure is ours, as are the bounds; its clustering of samples and its queue that follows the loss are left out.

``mstgd``: m_t = p m_{t-1} + (1 - p) g_t. MSTGD (arXiv:2202.10923) says in its abstract that the share p of history is estimated
from means and variances before and after a step, such that the mixture adapts to be unbiased and its variance shrinks. The
estimate here is the p of the smallest mean squared error:

    p = s^2 / (s^2 + v_{t-1} + (mu_t - mu_{t-1})^2),   v_t = p^2 v_{t-1} + (1 - p)^2 s^2

s^2 the variance in the window of gradients, mu_t its mean with the newest and mu_{t-1} before it, v the variance of m. Where
gradients do not drift, m is their running mean and v = s^2 / t. Its sampling by class is left out.

Proof: ``tests/gradients/test_untrained.py``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fsg.catalogue.rivals import GradQueue, Mstgd
from fsg.gradients.base import GradientEstimator, Signal
from fsg.hypernetworks.history import GradientHistory
from fsg.ops.spans import Spans, unit


class GradQueueEstimator(GradientEstimator):
    """m = rho g; g itself while the queue has fewer than two gradients."""

    def __init__(self, config: GradQueue, spans: Spans) -> None:
        super().__init__(spans)
        self.gain, self.limit = config.gain, config.limit
        self.queue = GradientHistory(config.length, spans.total)

    def generate(self, signal: Signal) -> Tensor:
        """rho g, (N,). Where the queue holds one value alone, rho is 1 for that value and ``limit`` for another."""
        past = self.queue.window.clone()
        self.queue.append(signal.grad)
        if len(past) < 2:
            return signal.grad
        deviation = past.std(0)
        distance = (signal.grad - past.mean(0)).abs()
        rarity = torch.where(deviation > 0, distance / unit(deviation), torch.where(distance > 0, self.limit, 1.0))
        return rarity.to(signal.grad.dtype).clamp(1 / self.limit, self.limit) * signal.grad


class MstgdEstimator(GradientEstimator):
    """m_t = p m_{t-1} + (1 - p) g_t; the first two are g_1 and their mean."""

    mixture: Tensor
    variance: Tensor

    def __init__(self, config: Mstgd, spans: Spans) -> None:
        super().__init__(spans)
        self.gain = config.gain
        self.history = GradientHistory(config.length, spans.total)
        self.register_buffer("mixture", torch.zeros(spans.total))
        self.register_buffer("variance", torch.zeros(spans.total))

    def generate(self, signal: Signal) -> Tensor:
        """The mixture, (N,), and its variance for the next step."""
        before = self.history.window.clone()
        window = self.history.append(signal.grad)
        if len(before) == 0:
            self.mixture.copy_(signal.grad)
            return signal.grad
        spread = window.var(0)
        if len(before) == 1:  # of one gradient nothing tells the variance
            share, known = torch.full_like(spread, 0.5), spread
        else:
            known = self.variance
            error = spread + known + (window.mean(0) - before.mean(0)) ** 2
            share = spread / unit(error)
        mixture = torch.lerp(signal.grad, self.mixture, share)
        self.mixture.copy_(mixture)
        self.variance.copy_(share**2 * known + (1 - share) ** 2 * spread)
        return mixture
