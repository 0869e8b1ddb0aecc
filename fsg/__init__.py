"""fsg: hyperparameter sweeps and component ablations for binary neural networks trained with generated gradients.

    import fsg
    study = fsg.run("ablations/components.yaml")          # on Ray; engine=fsg.LocalEngine() trains in this process
    study.compare()                                       # and study.trials, study.epochs, study.load_network("best")
    for result in fsg.Trainer(fsg.load_trial("trial.yaml", ["gradient.lre=false"])):
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
    from fsg.driver.api import StudyInterrupted, run
    from fsg.driver.study import Study, open_study
    from fsg.errors import ConfigError, FsgError, StudyError
    from fsg.execution.engine import LocalEngine, Resources
    from fsg.export.loading import load_exported
    from fsg.parts import register
    from fsg.ray_engine.engine import RayEngine
    from fsg.section import Section
    from fsg.study.designs import DesignArm, DesignBase
    from fsg.study.spec import AblationSpec, SweepSpec, load_study
    from fsg.train import EpochResult, Trainer

__version__ = "0.2.0.dev0"

_HOME = {
    "AblationSpec": "fsg.study.spec",
    "ConfigError": "fsg.errors",
    "DataSection": "fsg.catalogue.data",
    "DesignArm": "fsg.study.designs",
    "DesignBase": "fsg.study.designs",
    "EpochResult": "fsg.train",
    "FsgError": "fsg.errors",
    "LocalEngine": "fsg.execution.engine",
    "OptimizerSection": "fsg.catalogue.optimizers",
    "RayEngine": "fsg.ray_engine.engine",
    "Resources": "fsg.execution.engine",
    "Section": "fsg.section",
    "Study": "fsg.driver.study",
    "StudyError": "fsg.errors",
    "StudyInterrupted": "fsg.driver.api",
    "SweepSpec": "fsg.study.spec",
    "Trainer": "fsg.train",
    "TrialConfig": "fsg.config",
    "load_exported": "fsg.export.loading",
    "load_study": "fsg.study.spec",
    "load_trial": "fsg.config",
    "open_study": "fsg.driver.study",
    "register": "fsg.parts",
    "run": "fsg.driver.api",
}
__all__ = [
    "AblationSpec",
    "ConfigError",
    "DataSection",
    "DesignArm",
    "DesignBase",
    "EpochResult",
    "FsgError",
    "LocalEngine",
    "OptimizerSection",
    "RayEngine",
    "Resources",
    "Section",
    "Study",
    "StudyError",
    "StudyInterrupted",
    "SweepSpec",
    "Trainer",
    "TrialConfig",
    "load_exported",
    "load_study",
    "load_trial",
    "open_study",
    "register",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'fsg' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
