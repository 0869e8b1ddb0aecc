"""``fsg ablate``, ``fsg sweep`` and ``fsg resume`` in one process, with LocalEngine; without MLflow's copy and a report."""

import functools
import sys
from pathlib import Path

import torch

import fsg.cli
import fsg.ray_engine.engine
import fsg.ray_engine.preflight
import fsg.search.population_searcher
import fsg.tracking
from fsg.config import parse_trial
from fsg.driver import run, session
from fsg.execution import disk_space
from fsg.execution.engine import LocalEngine
from fsg.record.driver_lock import StudyLock
from fsg.record.ledger import Ledger
from fsg.train import Trainer

PAUSE_SECONDS = 0.05  # of a study whose worker found its disk full


def warm() -> None:
    """What the first study of a process does besides: imports, data, and torch's own first steps."""
    torch.set_num_threads(1)
    trial = {"gradient": "ste", "epochs": 1, "device": "cpu", "data": {"batch_size": 256}}
    Trainer(parse_trial(trial)).run_epoch()


def drive(command: str, what: str, storage: str, heard: str) -> None:
    """``fsg COMMAND WHAT --storage STORAGE``. The crc of each event that is said to be on disk is appended to ``heard``."""
    torch.set_num_threads(1)
    fsg.ray_engine.engine.RayEngine = lambda resources: LocalEngine()
    fsg.tracking.FollowingExporter = NoCopy
    run._run_and_report = run._run_trials
    # The same calls in every run: none that a clock asks for.
    disk_space.LOOK_SECONDS, disk_space.COST, disk_space.LONGEST_WAIT = 0, 0, PAUSE_SECONDS
    session.StudyLock = functools.partial(StudyLock, beat=3600)
    append_all = Ledger.append_all

    def append_and_tell(ledger, events):
        written = append_all(ledger, events)
        if type(ledger) is Ledger:  # not once more by who passes it on
            with Path(heard).open("a") as told:
                told.writelines(f"{event['crc']}\n" for event in written)
        return written

    Ledger.append_all = append_and_tell
    store = f"sqlite:///{Path(heard).with_name('mlflow.db')}"
    sys.argv = ["fsg", command, what, "--storage", storage, "--tracking-uri", store, "--quiet"]
    fsg.cli.main()


class NoCopy:
    """In the place of MLflow's copy of a study, whose store is not the study's."""

    exporter, status = None, ""

    def __init__(self, *about, waits):
        pass

    def begin(self):
        """There is nothing to begin."""

    def close(self, patience):
        """Nothing is behind."""
