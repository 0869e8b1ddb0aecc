"""Studies that train for a second, and what to ask of them."""

import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import yaml

from fsg.driver.trials import run_study
from fsg.execution.engine import LocalEngine, Resources
from fsg.ray_engine.engine import RayEngine
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger
from fsg.record.ledger_header import begin
from fsg.study.spec import load_study

TIMES = ("step_ms", "images_per_s")
BASE = {"gradient": "ste", "epochs": 12, "data": {"name": "digits", "batch_size": 256}}
ABLATION = {
    "name": "small",
    "base": BASE,
    "keep": "best+last",
    "seeds": [0, 1],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow_rate": {"optimizer": {"lr": 0.003}}},
    "baselines": ["ste"],
}
SWEEP = {
    "name": "search",
    "base": BASE | {"epochs": 4},
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "data.batch_size": {"randint": [128, 256]},
        "quantizer.name": {"choice": ["bwn", "bwn_channel"]},
    },
    "search": {"sampler": "tpe", "trials": 6, "seed": 0},
    "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 2},
}
# One seed has no spread.
ONE_SEED = {"seeds": [0], "analysis": {"interval": None}}
# The training loss overflows within the first epochs.
WILD = {
    "quantizer": "bwn",
    "optimizer": {"name": "sgd", "lr": 100.0, "weight_decay": 1.0},
    "data": {"batch_size": 32},
}


class Study:
    """A study in a folder of its own: what was asked, what its ledger says."""

    def __init__(self, folder, data):
        file = folder / "study.yaml"
        file.write_text(yaml.safe_dump(data))
        self.spec = load_study(file)
        self.folder = StudyFolder.create_or_open(self.spec, folder / "studies")

    def run(self, listener=None, limits=None, **resources):
        """One run of the driver on Ray, as ``fsg ablate`` and ``fsg resume`` do it."""
        return self.run_on(RayEngine(Resources(**resources)), listener, limits)

    def run_on(self, engine, listener=None, limits=None):
        """One run of the driver."""
        ledger = Ledger(self.folder.ledger_path, listener=listener)
        if self.folder.state().header is None:
            begin(ledger, self.spec)
        try:
            return run_study(self.folder, self.spec, engine, ledger, limits=limits)
        finally:
            ledger.close()

    @property
    def events(self):
        return self.folder.ledger().read()

    def of(self, key, event):
        """The events of one kind of one trial."""
        return [e for e in self.events if e.get("key") == key and e["event"] == event]

    @property
    def trials(self):
        """(arm, seed) -> record of an ablation."""
        return {(t.arm, t.seed): t for t in self.folder.state().trials.values()}

    def keep_events(self, count):
        """Forget what happened after the first ``count`` events, as if the driver had died then."""
        path = self.folder.ledger_path
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:count]))


class LocalStudy(Study):
    """A study that runs in this process."""

    def run(self, listener=None, limits=None, **resources):
        return self.run_on(LocalEngine(**resources), listener, limits)


def numbers(metrics):
    """What must be equal bit for bit: all but the times."""
    return {name: value for name, value in metrics.items() if name not in TIMES}


def outcome(record):
    return record.status, [numbers(m) for m in record.epochs], record.final and numbers(record.final)


DRIVER = """
import sys
from pathlib import Path
from tiny_studies import ABLATION, ONE_SEED, Study
study = Study(Path(sys.argv[1]), ABLATION | (ONE_SEED if sys.argv[2:] else {}))
if sys.argv[2:]:  # one after the other, with one thread each, which decides their bits
    from fsg.ray_engine import local_ray
    local_ray.usable_cores = lambda: 1
study.run(lambda event: print(event["event"], event.get("key"), flush=True))
"""


def start_driver(folder, *one_by_one, stderr=subprocess.DEVNULL):
    """The small ablation in a process of its own, which prints each event and its key.

    ``one_by_one``: given, it has one seed, and its two trials run one after the other.
    """
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(folder), *one_by_one], stdout=subprocess.PIPE, stderr=stderr, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in paths if p)}, start_new_session=True,
    )  # fmt: skip


def trainables():
    """The processes that train on the Ray that this process started."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            words = " ".join(process.cmdline())
            if words.startswith("ray::") and "Trainable" in words:
                yield process


def worker_of(folder, driver=None):
    """The process that trains a trial, None if none does: it holds a file open in the trial's folder, or one below it.

    Ray's name for a worker changes with what it does. ``driver``: its process, by default this one.
    """
    for process in psutil.Process(driver).children(recursive=True):
        with suppress(psutil.Error):
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                return process
    return None


@contextmanager
def together(study, keys):
    """Hold these trials' workers until all of them are there, however long each takes to start.

    In place of its last checkpoint each finds a pipe, and waits for someone to write it. All are closed, empty, at once: a
    checkpoint that is damaged is set aside, and the trial begins.
    """
    pipes = [study.folder.checkpoints / key / "last.pt" for key in keys]
    for pipe in pipes:
        pipe.parent.mkdir()
        os.mkfifo(pipe)
    over = threading.Event()

    def hold():
        held = []
        for pipe in pipes:
            while not over.is_set():
                try:
                    held.append(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
                    break
                except OSError:  # nobody waits for it yet
                    time.sleep(0.01)
        for descriptor in held:
            os.close(descriptor)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        yield
    finally:
        over.set()
        holder.join()
        for pipe in pipes:
            pipe.with_name("last.pt.damaged-1").unlink(missing_ok=True)
