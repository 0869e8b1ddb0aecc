"""What the searcher's memory in a study's folder holds, to be looked at: each configuration's key and how it was told."""

from __future__ import annotations

import logging
from pathlib import Path

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from fsg.search.journal import KEY


def told(journal: Path) -> list[tuple[str | None, str]]:
    """(key, COMPLETE | PRUNED | FAIL | RUNNING) in the order asked; key None for a point that was refused or repeated."""
    optuna.logging.set_verbosity(logging.ERROR)
    study = optuna.load_study(study_name=None, storage=JournalStorage(JournalFileBackend(str(journal))))
    return [(trial.user_attrs.get(KEY), trial.state.name) for trial in study.get_trials(deepcopy=False)]
