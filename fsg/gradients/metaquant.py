"""MetaQuant's estimators (NeurIPS 2019): a gradient made coordinate by coordinate by one small network for all layers.

    multi_fc   m = g F(W~)              F positive, as FSG's fast-net
    fc_grad    m = g + r N(g / r)       N a tanh MLP, r the layer's RMS of g
    lstm_fc    m = g P(LSTM(W~))        a state per weight, carried from step to step; P positive

All start at m = g. The published networks have no non-linearity and start anywhere; they are kept for parity in
``train/reference_step.py``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fsg.catalogue.gradients import MetaQuant
from fsg.gradients.base import GradientEstimator, Signal
from fsg.hypernetworks.fast_net import FastNet, positive
from fsg.ops.spans import Spans, unit


def scaled(values: Tensor, spans: Spans) -> Tensor:
    """(N,) values in units of their layer's RMS."""
    return values / spans.expand(unit(spans.rms(values)))


class _MetaQuantEstimator(GradientEstimator):
    """What the three share: the bounds on the gain, and one rate for all parameters."""

    def __init__(self, config: MetaQuant, spans: Spans) -> None:
        super().__init__(spans)
        self.gain = config.gain
        self.rate = config.fast.lr

    def meta_groups(self) -> list[dict[str, Any]]:
        """Every parameter."""
        return [{"params": list(self.parameters()), "lr": self.rate}]


class MultiFcEstimator(_MetaQuantEstimator):
    """m = g F(W~ / RMS of the layer's W~)."""

    def __init__(self, config: MetaQuant, spans: Spans) -> None:
        super().__init__(config, spans)
        self.fast = FastNet(config.fast.hidden)

    def generate(self, signal: Signal) -> Tensor:
        """g times the fast-net's factor."""
        return signal.grad * self.fast(scaled(signal.pre, self.spans))


class FcGradEstimator(_MetaQuantEstimator):
    """m = g + r N(g / r)."""

    def __init__(self, config: MetaQuant, spans: Spans) -> None:
        super().__init__(config, spans)
        self.inner = nn.Linear(1, config.fast.hidden)
        self.outer = nn.Linear(config.fast.hidden, 1, bias=False)
        nn.init.zeros_(self.outer.weight)

    def generate(self, signal: Signal) -> Tensor:
        """g and what the network adds to it; nothing where the layer has no gradient."""
        rms = self.spans.rms(signal.grad)
        ratio = (signal.grad / self.spans.expand(unit(rms)))[:, None]
        return signal.grad + self.spans.expand(rms) * self.outer(torch.tanh(self.inner(ratio)))[:, 0]


class LstmFcEstimator(_MetaQuantEstimator):
    """m = g P(LSTM(W~ / RMS)); ``hidden`` and ``cell`` are (N, units), detached between steps."""

    hidden: Tensor
    cell: Tensor

    def __init__(self, config: MetaQuant, spans: Spans) -> None:
        super().__init__(config, spans)
        self.lstm = nn.LSTMCell(1, config.fast.hidden)
        self.outer = nn.Linear(config.fast.hidden, 1)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        for name in ("hidden", "cell"):
            self.register_buffer(name, torch.zeros(spans.total, config.fast.hidden))

    def generate(self, signal: Signal) -> Tensor:
        """g times the factor read off the LSTM's new state."""
        before = self.hidden.clone(), self.cell.clone()  # the backward pass reads them
        hidden, cell = self.lstm(scaled(signal.pre, self.spans)[:, None], before)
        self.hidden.copy_(hidden.detach())
        self.cell.copy_(cell.detach())
        return signal.grad * positive(self.outer(hidden))[:, 0]
