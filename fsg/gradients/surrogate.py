"""Hand-made curves in place of the derivative of the sign: the rivals that a learnt direction has to beat.

    d = scale F'(x) dx/dW g          Wq = scale sign(x) + offset

x is what the quantiser takes the sign of, scale its layer's or channel's alpha, and both are as constant as everywhere here
(docs/method.md). Where a quantiser has a scale, ``ste`` may leave it out, as the reference code does; a curve carries it:
``shape: clipped`` is ``ste`` under ``dorefa``, and alpha times ``ste`` under ``bwn``.
Proof: ``tests/gradients/test_surrogate.py``.
"""

from __future__ import annotations

from torch import Tensor

from fsg.catalogue.surrogates import Surrogate
from fsg.gradients.base import GradientEstimator, Signal
from fsg.ops.curves import curve_of
from fsg.ops.spans import Spans


class SurrogateEstimator(GradientEstimator):
    """m = g, and the curve for the quantiser's slope. Nothing learnt, nothing remembered."""

    reads_sign = True

    def __init__(self, config: Surrogate, spans: Spans) -> None:
        super().__init__(spans)
        self.curve = curve_of(config.shape)

    def slope(self, signal: Signal) -> Tensor:
        """scale F'(x) dx/dW, (N,)."""
        assert signal.at is not None and signal.scale is not None and signal.calibration is not None
        return signal.scale * self.curve(signal.at, signal.progress) * signal.calibration

    def generate(self, signal: Signal) -> Tensor:
        """g itself."""
        return signal.grad
