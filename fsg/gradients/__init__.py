"""Gradient estimators by name: what stands in for the derivative of the quantiser's step."""

from __future__ import annotations

from collections.abc import Callable

from fsg.config import Ema, Fsg, Gate, GradientConfig, HandGate, MetaQuant, Scalar, Ste
from fsg.gradients.base import Direction, GradientEstimator, Signal, Update
from fsg.gradients.baselines import LearnedScale, MovingAverage, StraightThrough
from fsg.gradients.fsg import FastSlowEstimator
from fsg.gradients.gate import GateEstimator, HandGateEstimator
from fsg.gradients.metaquant import FcGradEstimator, LstmFcEstimator, MultiFcEstimator
from fsg.ops.spans import Spans

_METAQUANT: dict[str, Callable[[MetaQuant, Spans], GradientEstimator]] = {
    "multi_fc": MultiFcEstimator,
    "fc_grad": FcGradEstimator,
    "lstm_fc": LstmFcEstimator,
}


def make_estimator(config: GradientConfig, spans: Spans) -> GradientEstimator:
    """The estimator of a configuration, for layers of these sizes; random parts draw from torch's global generator."""
    match config:
        case Ste():
            return StraightThrough(spans)
        case Ema():
            return MovingAverage(config, spans)
        case Scalar():
            return LearnedScale(config, spans)
        case MetaQuant(name=name):
            return _METAQUANT[name](config, spans)
        case Fsg():
            return FastSlowEstimator(config, spans)
        case Gate():
            return GateEstimator(config, spans)
        case HandGate():
            return HandGateEstimator(spans)


__all__ = ["Direction", "GradientEstimator", "Signal", "Update", "make_estimator"]
