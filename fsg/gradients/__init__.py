"""Gradient estimators: what stands in for the derivative of the quantiser's step."""

from __future__ import annotations

from fsg.catalogue.gradients import GradientConfig
from fsg.errors import ConfigError
from fsg.gradients.base import Direction, GradientEstimator, Signal, Update
from fsg.ops.spans import Spans
from fsg.parts import part_of


def make_estimator(config: GradientConfig, spans: Spans) -> GradientEstimator:
    """The estimator of a configuration, for layers of these sizes; random parts draw from torch's global generator.

    ConfigError where a guest's builder makes no estimator.
    """
    gradient = part_of("gradient", config)
    estimator = gradient.make(config, spans)
    if not isinstance(estimator, GradientEstimator):
        raise ConfigError(
            f'{gradient.origin}: the gradient "{gradient.name}" was built as {type(estimator).__name__}, '
            "expected a fsg.gradients.GradientEstimator."
        )
    return estimator


__all__ = ["Direction", "GradientEstimator", "Signal", "Update", "make_estimator"]
