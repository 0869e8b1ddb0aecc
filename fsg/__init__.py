"""fsg: hyperparameter sweeps and component ablations for binary neural networks trained with generated gradients.

    from fsg import Trainer, load_trial
    for result in Trainer(load_trial("trial.yaml", ["gradient.lre=false"])):
        print(result.epoch, result.metrics["val_accuracy"])

Names are loaded when they are first used: ``import fsg`` loads at most torch, and the command line starts without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fsg.catalogue.data import DataSection
    from fsg.catalogue.optimizers import OptimizerSection
    from fsg.config import TrialConfig, load_trial
    from fsg.parts import register
    from fsg.section import Section
    from fsg.train import EpochResult, Trainer

__version__ = "0.2.0.dev0"
__all__ = [
    "DataSection",
    "EpochResult",
    "OptimizerSection",
    "Section",
    "Trainer",
    "TrialConfig",
    "load_trial",
    "register",
]

_HOME = {
    "DataSection": "fsg.catalogue.data",
    "EpochResult": "fsg.train",
    "OptimizerSection": "fsg.catalogue.optimizers",
    "Section": "fsg.section",
    "Trainer": "fsg.train",
    "TrialConfig": "fsg.config",
    "load_trial": "fsg.config",
    "register": "fsg.parts",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fsg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
