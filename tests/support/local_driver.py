"""``fsg ablate``, ``fsg sweep`` and ``fsg resume`` in one process, workers included; without Ray, MLflow's copy and a report."""

import contextlib
import functools
import sys
from pathlib import Path

import ray
import torch
from fsg.tune import (  # noqa: F401 - imported before the fork
    population_searcher,
    preflight,
    room,
    runner,
)
from ray import tune
from support.local_tuner import LocalTuner

import fsg.cli
import fsg.tracking
from fsg.cli import driving, running
from fsg.config import parse_trial
from fsg.study.ledger import Ledger
from fsg.study.lock import StudyLock
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
    tune.Tuner, LocalTuner.errors = LocalTuner, Path(heard).parent
    ray.cluster_resources = lambda: {"CPU": 1.0}
    ray.nodes = lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}]
    runner._ray = lambda resources: contextlib.nullcontext()
    fsg.tracking.FollowingExporter = NoCopy
    running._run_and_report = running._run_trials
    # The same calls in every run: none that a clock asks for.
    room.LOOK_SECONDS, room.COST, room.LONGEST_WAIT = 0, 0, PAUSE_SECONDS
    driving.StudyLock = functools.partial(StudyLock, beat=3600)
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

    def __init__(self, *about):
        pass

    def close(self, patience):
        """Nothing is behind."""
