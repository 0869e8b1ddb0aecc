"""Rounds of torment: a small study each, alternately an ablation and a search, until enough processes have been killed.

After each round the promises are checked: of the ledger against trials trained without interruption, of MLflow against a copy
made anew, of the searcher's memory. One round in CI, ``fsg bench --what faults`` runs on to 200 kills.
"""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from fsg.bench.faults import promises
from fsg.bench.faults.torment import COMMAND, Server, Struck, torment
from fsg.bench.measure import Measurement, at_most
from fsg.record.folder import StudyFolder

KILLS = 200  # of the long run
BLOWS = 24  # a round
# About a second of training a trial, in epochs short enough that a blow lands anywhere in them.
BASE = {"gradient": "ste", "epochs": 10, "device": "cpu", "data": {"name": "digits", "batch_size": 128}}
ABLATION = {
    "name": "faults",
    "base": BASE,
    "seeds": [0, 1, 2, 3, 4, 5],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow_rate": {"optimizer": {"lr": 0.003}}},
    "baselines": ["ste", "ema"],
}
SWEEP = {
    "name": "faults",
    "base": BASE,
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "data.batch_size": {"randint": [64, 256]}},
    "search": {"sampler": "tpe", "trials": 16, "seed": 0},
    "scheduler": {"name": "asha", "grace_epochs": 2, "reduction_factor": 2},
}


@dataclass
class Round:
    """What a study went through, and what of the promises it broke."""

    kind: str
    struck: Struck
    trials: int
    epochs: int
    again: int
    broken: list[str] = field(default_factory=list)


def run_round(place: Path, kind: str, seed: int, blows: int, every: tuple[float, float], with_server: bool) -> Round:
    """One study in the empty folder ``place``, struck ``blows`` times at most, then checked."""
    spec = ABLATION if kind == "ablation" else SWEEP
    (place / "faults.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    folder = StudyFolder(place / "studies" / "faults")
    server = Server(place / "mlflow.db") if with_server else None
    store = f"sqlite:///{place}/mlflow.db"
    where = ["--storage", str(place / "studies")]
    try:
        tracking = ["--tracking-uri", server.address if server else store]
        command = "ablate" if kind == "ablation" else "sweep"
        struck = torment(
            [command, str(place / "faults.yaml"), *where, *tracking], ["resume", "faults", *where, *tracking],
            folder.ledger_path, random.Random(seed), blows, server, every, place / "driver.log", _environment(),
        )  # fmt: skip
    finally:
        if server is not None:
            server.kill()
    events = folder.ledger().read()
    epochs = sum(event["event"] == "epoch" for event in events)
    planned = 18 if kind == "ablation" else 16
    broken = promises.of_the_ledger(events, planned=planned) + _tracking(place, folder, store)
    if kind == "sweep":
        broken += _memory(folder)
    return Round(kind, struck, planned, epochs, promises.epochs_run_again(events), broken)


def run(kills: int = KILLS) -> list[Measurement]:
    """Rounds until that many processes were killed."""
    done: list[Round] = []
    for one in rounds():
        done.append(one)
        if sum(each.struck.kills for each in done) >= kills:
            break
    return list(summary(done))


def rounds(first: int = 0) -> Iterator[Round]:
    """Round after round, for as long as they are asked for; ``first`` seeds the dice of the first."""
    for number in itertools.count(first):
        with tempfile.TemporaryDirectory(prefix="fsg-faults-") as place:
            kind = "sweep" if number % 3 == 2 else "ablation"
            yield run_round(Path(place), kind, number, BLOWS, (0.5, 6.0), number % 2 == 0)


def summary(rounds: list[Round]) -> Iterator[Measurement]:
    """What all of them went through and broke."""
    what, blows = "faults", Counter[str]()
    for done in rounds:
        for (victim, blow), count in done.struck.blows.items():
            blows[f"{victim}, {blow}"] += count
    yield Measurement(what, "processes killed", sum(done.struck.kills for done in rounds), "")
    for name, count in sorted(blows.items()):
        yield Measurement(what, f"blows: {name}", count, "")
    yield Measurement(what, "studies", len(rounds), "")
    yield Measurement(what, "trials", sum(done.trials for done in rounds), "")
    yield Measurement(what, "drivers started again", sum(done.struck.restarts for done in rounds), "")
    again, epochs = sum(done.again for done in rounds), sum(done.epochs for done in rounds)
    yield Measurement(what, f"epochs run again, of {epochs}", again, "")
    broken = [sentence for done in rounds for sentence in done.broken]
    yield at_most(what, "promises broken" + (f": {broken[0]}" if broken else ""), len(broken), "", 0)


def _environment() -> dict[str, str]:
    """One thread a worker, so that a trial's numbers are its twin's; Ray leaves memory alone."""
    return os.environ | {"OMP_NUM_THREADS": "1", "RAY_memory_monitor_refresh_ms": "0"}


def _tracking(place: Path, folder: StudyFolder, store: str) -> list[str]:
    from fsg.tracking.contents import contents

    header: Mapping[str, Any] | None = folder.state().header
    assert header is not None
    anew = f"sqlite:///{place}/anew.db"
    command = [*COMMAND, "sync", str(folder.path), "--tracking-uri", anew]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return promises.of_tracking(contents(store, header["study_id"]), contents(anew, header["study_id"]))


def _memory(folder: StudyFolder) -> list[str]:
    from fsg.search.memory import told

    return promises.of_memory(told(folder.search / "optuna.journal"), folder.state().trials)
