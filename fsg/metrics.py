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
# What an estimator changes in the direction, looked at a few times a trial (fsg/train/influence.py): no objective.
MOVED, MOVED_BY, FLIPS_OTHER = "moved", "moved_by_", "flips_other"
# What each of them is, in a sentence for who meets it in MLflow; units in brackets.
MEANING = {
    "train_loss": "mean training loss over the epoch's steps",
    "train_accuracy": "share of training images that the steps classified rightly [%]",
    "val_loss": "loss on the validation images after the epoch",
    "val_accuracy": "share of validation images classified rightly after the epoch [%]",
    "val_accuracy_ema": "val_accuracy of the binary network of the averaged weights [%]",
    "lr": "learning rate of the epoch's last step",
    "flip_ratio": "share of binary weights that changed sign in a step, mean over the epoch",
    "gain": "RMS of the generated gradient over that of the straight-through one",
    "cosine": "cosine of the generated with the straight-through gradient",
    "uphill": "share of steps whose generated gradient points against the straight-through one",
    "grad_norm": "Euclidean norm of the gradient, mean over the epoch's steps",
    "grad_norm_l1": "sum of the gradient's absolute values, mean over the epoch's steps",
    "step_ms": "time of a training step [ms], mean over the epoch; that of the first epoch holds compilation",
    "images_per_s": "training images per second of training time",
    MOVED: "how far the generated direction is from the straight-through one, as a share of it",
    FLIPS_OTHER: "share of a step's flips that a straight-through step would not make",
    "hessian_trace": "trace of the loss's Hessian in the quantised weights",
    "hessian_top": "largest eigenvalue of that Hessian",
    "hessian_bottom": "smallest eigenvalue of that Hessian",
    "test_accuracy": "share of test images classified rightly by the last epoch's network [%]",
    "test_accuracy_last10": "mean test accuracy of the last ten epochs [%]",
    "test_accuracy_ema": "test_accuracy of the binary network of the averaged weights [%]",
    "test_loss": "loss on the test images of the last epoch's network",
}
_GENERATED = ("gain", "cosine", "uphill")  # of the generated direction, beside the straight-through one
_AVERAGED = ("val_accuracy_ema", "test_accuracy_ema")


def epoch_metrics() -> tuple[str, ...]:
    """What can be asked of every epoch: fsg's own metrics, and those that guests register."""
    return (*EPOCH_METRICS, *(f"val_{each.name}" for each in guests("metric")))


def final_metrics() -> tuple[str, ...]:
    """What can be asked of the last epoch beside that."""
    return (*FINAL_METRICS, *(f"test_{each.name}" for each in guests("metric")))


def looked_at(config: TrialConfig) -> tuple[str, ...]:
    """What its last epoch says of the switches of its estimator: for constraints, as more of it is no better."""
    return tuple(MOVED_BY + name for name, value in config.gradient if isinstance(value, bool))


def meaning(name: str) -> str:
    """What a recorded metric is, in one sentence."""
    if name.startswith(MOVED_BY):
        return f"how much {name.removeprefix(MOVED_BY)} changes the direction, as a share of it"
    if name.startswith("schedule."):
        return f"what the population set {name.removeprefix('schedule.')} to"
    split = {"val_": "validation", "test_": "test"}
    own = next((f"on the {images} images" for prefix, images in split.items() if name.startswith(prefix)), "")
    return MEANING.get(name) or f"reported by the study's own code {own}".strip()


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
