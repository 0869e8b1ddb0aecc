"""What a trial reports, and what it cannot: known from its configuration, before anything is trained.

Proof: ``tests/test_metrics.py``, which trains one trial of each kind and looks.
"""

from __future__ import annotations

from typing import Annotated

from fsg.config import TrialConfig
from fsg.parts import Part, guests, part_of
from fsg.section import OneOf

# What a trial reports every epoch, and what it adds with its last one (fsg/train/loop.py).
EPOCH_METRICS = (
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
)
FINAL_METRICS = ("test_accuracy", "test_accuracy_last10", "test_accuracy_ema", "test_loss")
# What an estimator changes in the direction, looked at a few times a trial: no objective (fsg/train/influence.py).
MOVED, MOVED_BY, FLIPS_OTHER = "moved", "moved_by_", "flips_other"
_GENERATED = ("gain", "cosine", "uphill")  # of the generated direction, beside the straight-through one
_AVERAGED = ("val_accuracy_ema", "test_accuracy_ema")


def epoch_metrics() -> tuple[str, ...]:
    """What can be asked of every epoch: fsg's own metrics, and those that guests register."""
    return (*EPOCH_METRICS, *(f"val_{each.name}" for each in guests("metric")))


def final_metrics() -> tuple[str, ...]:
    """What can be asked of the last epoch beside that."""
    return (*FINAL_METRICS, *(f"test_{each.name}" for each in guests("metric")))


def guest_metrics(config: TrialConfig) -> list[Part]:
    """The metrics of guests that a trial computes: those of its plug-ins, of installed packages, and of this program."""
    own = {(ref.file, ref.sha256) for ref in config.plugins}
    return [
        each
        for each in guests("metric")
        if each.source and (each.source.how != "file" or (each.source.name, each.source.digest) in own)
    ]


EpochMetric = Annotated[str, OneOf(epoch_metrics)]
AnyMetric = Annotated[str, OneOf(lambda: (*epoch_metrics(), *final_metrics()))]


def metrics_of(config: TrialConfig) -> set[str]:
    """The metrics by which a trial of this configuration can be judged."""
    return {*epoch_metrics(), *final_metrics()} - unreported(config).keys()


def unreported(config: TrialConfig) -> dict[str, str]:
    """Why, for each metric by which a trial of this configuration cannot be judged: it is missing, or 1 by definition."""
    found: dict[str, str] = {}
    if config.evaluate.ema_weights == 0:
        found |= dict.fromkeys(_AVERAGED, "evaluate.ema_weights is 0, so no weights are averaged")
    found |= part_of("gradient", config.gradient).fact("unreported", config.gradient)
    if part_of("quantizer", config.quantizer).fact("bits", config.quantizer) is None:
        found |= dict.fromkeys((*_GENERATED, *_AVERAGED), "quantizer none leaves no quantised weights")
    return found
