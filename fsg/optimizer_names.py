"""Optimizers that cannot train a trial here, by name: what they need, and the nearest one that works.

Known without torch, so that a study which would begin with one is refused with file and line as soon as it is read. All else
about an optimizer is found by trying it (``fsg/train/optimizers``). ``tests/train/test_optimizers.py`` holds this table against
that.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

UNFIT: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "a2grad": (
            "has no learning rate: its steps come from smoothness constants, so optimizer.lr and the schedule would do nothing",
            "accsgd",
        ),
        "adalomo": (
            "updates the weights inside the backward pass, before a gradient is generated for them",
            "adafactor",
        ),
        "alig": ("has a largest rate in place of a rate, which no schedule reaches", "sgd"),
        "bsam": ("measures the gradient at three points in each step, and a step here has one", "adam"),
        "demo": ("exchanges its momentum between processes, and a trial is one process", "signsgd"),
        "distributedmuon": ("shares its work among processes, and a trial is one process", "muon"),
        "lbfgs": ("measures the loss several times in each step, and a step here measures it once", "adam"),
        "lomo": ("updates the weights inside the backward pass, before a gradient is generated for them", "sgd"),
        "lorarite": ("is made for the two factors of LoRA adapters, which these networks do not have", "soap"),
        "sparseadam": ("takes sparse gradients alone, and these are dense", "adam"),
        "spectralsphere": ("takes matrices alone, and these networks have convolutions, biases and BatchNorm", "muon"),
    }
)


def unfit(name: str, where: str = "optimizer") -> str | None:
    """Why no trial can have this optimizer, and what to use instead; None where nothing is known against it.

    ``where``: the section that names it.
    """
    if name not in UNFIT:
        return None
    why, instead = UNFIT[name]
    return f'{where}.name is "{name}", which cannot train here: it {why}. The nearest that works is "{instead}".'
