"""Gradient estimators by name: what stands in for the derivative of the quantiser's step."""

from __future__ import annotations

from fsg.config import Ema, Fsg, GradientConfig, MultiFc, Scalar, Ste
from fsg.gradients.base import Direction, GradientEstimator, Signal
from fsg.gradients.baselines import LearnedScale, MovingAverage, StraightThrough
from fsg.gradients.fsg import FastSlowEstimator
from fsg.gradients.metaquant import MultiFcEstimator
from fsg.ops.spans import Spans


def make_estimator(config: GradientConfig, spans: Spans) -> GradientEstimator:
    """The estimator that a configuration names, for layers of these sizes; random parts draw from torch's global RNG."""
    match config:
        case Ste():
            return StraightThrough(spans)
        case Ema():
            return MovingAverage(config, spans)
        case Scalar():
            return LearnedScale(config, spans)
        case MultiFc():
            return MultiFcEstimator(config, spans)
        case Fsg():
            return FastSlowEstimator(config, spans)


__all__ = ["Direction", "GradientEstimator", "Signal", "make_estimator"]
