"""What a trial reports, and what it cannot: known from its configuration, before anything is trained.

Proof: ``tests/test_metrics.py``, which trains one trial of each kind and looks.
"""

from __future__ import annotations

from typing import Literal, get_args

from fsg.config import FloatWeights, Gate, HandGate, Ste, TrialConfig

# What a trial reports every epoch, and what it adds with its last one (fsg/train/loop.py).
EpochMetric = Literal[
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_accuracy_ema",
    "lr",
    "flip_ratio",
    "gain",
    "cosine",
    "uphill",
    "step_ms",
    "images_per_s",
]
FinalMetric = Literal["test_accuracy", "test_accuracy_last10", "test_accuracy_ema", "test_loss"]
EPOCH_METRICS: tuple[str, ...] = get_args(EpochMetric)
FINAL_METRICS: tuple[str, ...] = get_args(FinalMetric)
_GENERATED = ("gain", "cosine", "uphill")  # of the generated direction, beside the straight-through one
_AVERAGED = ("val_accuracy_ema", "test_accuracy_ema")


def metrics_of(config: TrialConfig) -> set[str]:
    """The metrics by which a trial of this configuration can be judged."""
    return {*EPOCH_METRICS, *FINAL_METRICS} - unreported(config).keys()


def unreported(config: TrialConfig) -> dict[str, str]:
    """Why, for each metric by which a trial of this configuration cannot be judged: it is missing, or 1 by definition."""
    found: dict[str, str] = {}
    if config.evaluate.ema_weights == 0:
        found |= dict.fromkeys(_AVERAGED, "evaluate.ema_weights is 0, so no weights are averaged")
    if isinstance(config.gradient, Ste | Gate | HandGate):
        name = config.gradient.name
        found |= dict.fromkeys(_GENERATED, f"gradient {name} moves along the straight-through direction itself")
    if getattr(config.gradient, "update", "mix") == "reference":
        found |= dict.fromkeys(_GENERATED, "gradient.update: reference does not compare its direction with another")
    if isinstance(config.quantizer, FloatWeights):
        found |= dict.fromkeys((*_GENERATED, *_AVERAGED), "quantizer none leaves no quantised weights")
    return found
