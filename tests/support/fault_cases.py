"""Studies whose disk fails at one call, what may come of it, and what may not.

A study runs under a fault, and again without one, as its user would have it go on. Then it is held against its twin, which no
fault befell. Used by ``tests/faults/test_io_faults.py`` and ``benchmarks/io_faults.py``.
"""

import errno
import itertools
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml
from support.forks import Forks, Ran
from support.io_fault import CLASSES, SHORT, Call, Fault, counted
from tiny_studies import outcome

from fsg.bench.faults import promises
from fsg.record.folder import StudyFolder
from fsg.record.ledger import parse_line
from fsg.search.memory import told
from fsg.search.population_searcher import PopulationSearcher
from fsg.search.searcher import SweepSearcher
from fsg.study.population import is_population

FIRST = 300  # calls of a study that can be struck
BASE = {
    "gradient": "ste", "epochs": 3, "device": "cpu", "evaluate": {"ema_weights": 0, "batchnorm": "running"},
    "data": {"name": "digits", "batch_size": 256, "validation_share": 0.8},
}  # fmt: skip
METRIC = {"name": "val_accuracy", "mode": "max"}
# Half a second each. Which points are tried must not depend on where a search was interrupted.
STUDIES = {
    "ablation": {
        "name": "struck", "base": BASE, "keep": "best+last", "seeds": [0, 1], "metric": METRIC,
        "arms": {"slow_rate": {"optimizer": {"lr": 0.003}}}, "baselines": ["ste"],
    },
    "sweep": {
        "name": "struck", "base": BASE, "metric": METRIC,
        "space": {"optimizer.lr": {"choice": [0.001, 0.01, 0.1]}, "quantizer.name": {"choice": ["bwn", "bwn_channel"]}},
        "search": {"sampler": "grid", "trials": 6},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
    },
    "population": {
        "name": "struck", "base": BASE, "metric": METRIC, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
        "search": {"sampler": "random", "trials": 4}, "scheduler": {"name": "pbt", "perturb_epochs": 1},
        "start_from": [
            {"name": f"member {lr}", "point": {"optimizer.lr": lr}} for lr in (0.0002, 0.001, 0.01, 0.1)
        ],
    },
}  # fmt: skip
CHANGES = "owsnmtu"  # every call that changes something
SPACE = "owsnma"  # those that ask for room
ALL = "".join(CLASSES)


@dataclass(frozen=True)
class Kind:
    """An error, the calls that give it, as ``io_fault.c`` has them, and how many in a row do: 0 is all."""

    name: str
    error: int
    calls: str
    count: int = 1


KINDS = (
    Kind("EIO once", errno.EIO, CHANGES + "r"),
    Kind("ENOSPC once", errno.ENOSPC, SPACE),
    Kind("EMFILE once", errno.EMFILE, "or"),
    Kind("EIO three times", errno.EIO, CHANGES, 3),
    Kind("a short write", SHORT, "w"),
    Kind("EROFS from then on", errno.EROFS, CHANGES, 0),
    Kind("EDQUOT ten times", errno.EDQUOT, SPACE, 10),
    Kind("EMFILE from then on", errno.EMFILE, "or", 0),
    Kind("EIO from then on", errno.EIO, CHANGES + "r", 0),
    Kind("ENOSPC until Ctrl-C", errno.ENOSPC, SPACE, 0),
)


@dataclass(frozen=True)
class Case:
    """A study, what befalls it, and from which of its calls on, counted over the classes of files with these letters."""

    study: str
    kind: Kind
    classes: str
    nth: int

    def __str__(self) -> str:
        where = "any file" if self.classes == ALL else " and ".join(CLASSES[letter] for letter in self.classes)
        return f"{self.study}, {self.kind.name} at call {self.nth} on {where}"


@dataclass
class Found:
    """What became of a case: the first call that failed, how the study ended, and which promises were broken."""

    case: Case
    struck: Call | None
    ended: str
    said: str = ""
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)

    @property
    def broken(self) -> list[str]:
        """All of them."""
        return [*self.lost, *self.doubled, *self.silent]


class Scene:
    """Runs cases in ``place``; the twins are run when they are first asked for."""

    def __init__(self, place: Path, forks: Forks) -> None:
        self._place, self._forks, self._numbers = place, forks, itertools.count()
        self._twins: dict[str, Run] = {}

    def twin(self, study: str) -> "Run":
        """That study, to its end without a fault."""
        if study not in self._twins:
            run = self._twins[study] = Run(self._place / f"twin of {study}", study, self._forks)
            ran = run.go(Fault(run.storage, run.log))
            assert ran.code == 0, ran.err
        return self._twins[study]

    def cases(self, number: int, seed: int = 0) -> Iterator[Case]:
        """So many, over the first 300 calls of each study on the files of each class; all studies, classes and kinds in turn.

        What fails from then on fails for all files: a disk that is gone.
        """
        dice = random.Random(seed)
        files = itertools.cycle(
            [(study, of) for of in CLASSES for study in STUDIES if (study, of) != ("ablation", "j")]
        )
        for (study, of), kind in itertools.islice(zip(files, itertools.cycle(KINDS), strict=False), number):
            classes = of if kind.count else ALL
            calls = [call for call in self.twin(study).calls if call.of in {CLASSES[letter] for letter in classes}][
                :FIRST
            ]
            last = max(number for number, call in enumerate(calls, start=1) if call.kind in kind.calls)
            yield Case(study, kind, classes, dice.randint(1, last))

    def strike(self, case: Case, with_ray: bool = False) -> Found:
        """Run, with Ray or without, go on without, look."""
        twin, kind = self.twin(case.study), case.kind
        run = Run(self._place / str(next(self._numbers)), case.study, self._forks)
        ran = (run.go_with_ray if with_ray else run.go)(
            Fault(run.storage, run.log, case.nth, kind.error, kind.calls, kind.count, case.classes),
            interrupt_at="fsg: paused: " if kind.count == 0 else None,
        )
        found = Found(case, next((call for call in run.calls if call.failed), None), _ended(ran, run), ran.err)
        found.silent += _unsaid(ran)
        if ran.code == 0:
            found.silent += [f"the run called itself complete: {finding}" for finding in _lost(run, twin)]
        before = run.folder.ledger_path.stat().st_size if run.folder.ledger_path.exists() else 0
        again = run.go()
        if again.code != 0 or "Traceback" in again.err:
            found.lost.append(f"going on ended with {again.code}: {again.err}")
            return found
        if case.study != "ablation" and run.folder.ledger_path.stat().st_size == before:
            run.search_on()
        found.lost += _lost(run, twin)
        found.doubled += _doubled(run)
        if not found.broken:
            shutil.rmtree(run.place)
        return found


class Run:
    """A study in a folder of its own, and what of it is on disk."""

    def __init__(self, place: Path, study: str, forks: Forks) -> None:
        self.place, self._forks = place, forks
        self._command = "ablate" if study == "ablation" else "sweep"
        self.storage, self.log, self._heard = place / "studies", place / "log", place / "heard"
        self.storage.mkdir(parents=True)
        (place / "study.yaml").write_text(yaml.safe_dump(STUDIES[study], sort_keys=False))
        self.folder = StudyFolder(self.storage / "struck")

    def go(self, fault: Fault | None = None, interrupt_at: str | None = None) -> Ran:
        """Begin, or go on where there is something to go on with, in a process of its own."""
        self.__dict__.pop("outcomes", None)
        begun = self.folder.spec_path.exists()
        order = ("resume", "struck") if begun else (self._command, str(self.place / "study.yaml"))
        return self._forks.run(
            "drive", self.place / "err", *order, str(self.storage), str(self._heard),
            variables=fault.variables() if fault else {}, interrupt_at=interrupt_at,
        )  # fmt: skip

    def go_with_ray(self, fault: Fault, interrupt_at: None = None) -> Ran:
        """Begin, through the command line as it is."""
        where = ["--storage", str(self.storage), "--tracking-uri", f"sqlite:///{self.place}/mlflow.db"]
        command = [sys.executable, "-m", "fsg.cli", self._command, str(self.place / "study.yaml"), *where, "--quiet"]
        environment = fault.environment() | {"OMP_NUM_THREADS": "1"}
        with (self.place / "err").open("w") as err:  # no pipe: Ray's agent for environments holds it open for a minute
            ran = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=err, timeout=300)
        return Ran(ran.returncode, (self.place / "err").read_text())

    def search_on(self) -> None:
        """What a search does first that goes on: it tells its memory what the ledger has of trials that ended since.

        Where nothing was left to be run, the one that went on has not asked for it.
        """
        spec, trials = self.folder.spec(), self.folder.state().trials
        kind = PopulationSearcher if is_population(spec) else SweepSearcher
        kind(self.folder, spec, self.folder.ledger(), trials)

    @property
    def heard(self) -> list[str]:
        """The crc of every event that was said to be on disk."""
        return self._heard.read_text().split() if self._heard.exists() else []

    @property
    def calls(self) -> list[Call]:
        """Those that were counted."""
        return counted(self.log)

    @property
    def events(self):
        """What is on disk."""
        return self.folder.ledger().read()

    @cached_property
    def outcomes(self):
        """What each trial came to, by its key."""
        return {key: outcome(record) for key, record in self.folder.state().trials.items()}


def _ended(ran: Ran, run: Run) -> str:
    """How a run under a fault ended, in a word or two."""
    if ran.code is None:
        return "hung"
    if ran.code == 0:
        return "tried a trial again" if any(e["event"] == "retried" for e in run.events) else "went on"
    return {130: "interrupted"}.get(ran.code, "said why and ended")


def _unsaid(ran: Ran) -> Iterator[str]:
    """What is wrong with how a run ended."""
    if ran.code is None:
        yield f"it hung: {ran.err}"
    elif "Traceback" in ran.err or ran.code not in (0, 1, 2, 130):
        yield f"it ended with {ran.code} and no message of ours: {ran.err}"
    elif ran.code in (1, 2) and not _said(ran.err):
        yield f"it ended with {ran.code}, and not with one message that says where and why: {ran.err}"


def _said(err: str) -> bool:
    """Whether one message names a file of the study and what the system said of it; that it paused may stand before."""
    messages = [m for m in re.split(r"^fsg: ", err, flags=re.MULTILINE) if not PASSING.match(m)]
    return len(messages) == 1 and "/studies" in messages[0] and any(word in messages[0] for word in STRERRORS)


PASSING = re.compile(r"paused: |there is room in |Ray is still starting|$")
STRERRORS = {os.strerror(kind.error) for kind in KINDS if kind.error}


def _lost(run: Run, twin: Run) -> Iterator[str]:
    """What a study that called itself complete lacks."""
    missing = Counter(run.heard) - Counter(event["crc"] for event in run.events)
    if missing:
        yield f"{missing.total()} events that were said to be on disk are not"
    for key in twin.outcomes.keys() | run.outcomes.keys():
        if run.outcomes.get(key) != twin.outcomes.get(key):
            yield f"trial {key} is {_short(run, key)}, its twin {_short(twin, key)}"
    if (run.folder.search / "optuna.journal").exists():
        yield from promises.of_memory(told(run.folder.search / "optuna.journal"), run.folder.state().trials)
    for path in twin.folder.path.rglob("*"):  # a study runs without its surroundings, too
        file = path.relative_to(twin.folder.path)
        expected = path.suffix in (".pt", ".yaml") or path.name == "header.json"
        if expected and not (run.folder.path / file).exists():
            yield f"{file} is missing"


def _short(run: Run, key: str) -> str:
    record = run.folder.state().trials.get(key)
    return "missing" if record is None else f"{record.status} ({record.reason}) after {len(record.epochs)} epochs"


def _doubled(run: Run) -> Iterator[str]:
    """What stands twice in the ledger, or happened once more after a trial had ended."""
    seen: Counter[str] = Counter()
    ended: set[str] = set()
    for event in run.events:
        key, name = event.get("key", ""), event["event"]
        if key in ended:
            yield f"trial {key}: {name} after it had ended"
        if name in ("finished", "pruned", "failed"):
            ended.add(key)
        if name in ("study", "planned", "finished", "pruned", "fingerprint"):
            seen[f"{name} {key}"] += 1
        if name in ("exploited", "started"):
            seen[f"{name} {key} {event.get('attempt', event.get('epoch'))}"] += 1
    yield from (f"{what}: {count} times" for what, count in seen.items() if count > 1)
    whole = run.folder.ledger_path.read_bytes().split(b"\n")[:-1]
    assert all(parse_line(line) for line in whole)
