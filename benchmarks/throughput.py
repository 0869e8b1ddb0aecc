"""How many trials a second go through the whole pipeline when training costs nothing, and what memory the driver takes?

Run: ``python -m benchmarks.throughput`` (two minutes on 2 cores; ``--trials 100`` for a look). So many trials of a study go
through Ray Tune with reused actors, the real trainable with its fsynced checkpoint, the ledger and the copy into MLflow
on sqlite, as ``fsg ablate`` runs it; in the trainer's place stands one that returns made-up numbers at once. ``--sweep`` has
random search and ASHA in the plan's place, 3 epochs a trial.

Target: 10 trials/s; the driver's memory at most 600 MiB over its start, and at most 0.1 MiB more per 100 trials of the second
half. Printed and written to ``benchmarks/results/throughput.json``: these, and trials/s in each quarter of the run, which would
fall if something were done anew for all trials at each.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks import record
from benchmarks.growth import ended_trials, slope
from fsg.config import TrialConfig, parse_trial
from fsg.cores import usable_cores
from fsg.execution.process import Stacks
from fsg.execution.trial_run import STACKS, TrialRun
from fsg.ray_engine.cluster import ONE_MACHINE, RAY_ENVIRONMENT, use_token
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger
from fsg.record.ledger_header import begin
from fsg.study.spec import parse_study
from fsg.train.checkpoint import CheckpointStore
from fsg.train.loop import EpochResult
from fsg.yaml_source import YamlSource

os.environ.update(RAY_ENVIRONMENT | ONE_MACHINE)  # read by ray when it is imported, which is two lines on
use_token()
from fsg.ray_engine import trainable  # noqa: E402

ARMS = 20
TRIALS_PER_SECOND, MEBIBYTES, GROWTH = 10.0, 600.0, 0.1
MIB = 2**20


class Nothing:
    """A trainer that does nothing."""

    def __init__(self, config: TrialConfig) -> None:
        self.config, self.epoch, self.device = config, 0, torch.device("cpu")

    @property
    def finished(self) -> bool:
        """After its epochs."""
        return self.epoch >= self.config.epochs

    def run_epoch(self, save: Any, leaving: Any) -> EpochResult:
        """Numbers of the kinds that an epoch has."""
        self.epoch += 1
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_accuracy_ema", "lr", "flip_ratio")
        value = (self.config.optimizer.lr * 1e4 + self.config.seed) % 97
        return EpochResult(self.epoch, {"epoch": self.epoch, "step_ms": 1.0} | dict.fromkeys(names, value), {})

    def state_dict(self) -> dict[str, Any]:
        """Next to nothing."""
        return {"epoch": self.epoch}


class NothingRun(TrialRun):
    """The real one with nothing to train, and no data."""

    def _build(self) -> None:
        self.stacks = Stacks(self.assignment.checkpoint.with_name(STACKS))  # which makes the trial's folder
        self.trainer = Nothing(self.assignment.config)
        self.checkpoints = CheckpointStore(self.assignment.checkpoint)
        self.checkpoints.load()
        self.fingerprint, self.alone, self.until = None, False, self.trainer.config.epochs


class NothingTrainable(trainable.FsgTrainable):
    """The real one with nothing to run."""

    def setup(self, config: dict[str, Any]) -> None:
        """As the real one."""
        super().setup(config)
        self.run = NothingRun(self.run.assignment, leaving=self.leaving)


class Memory(threading.Thread):
    """This process's own memory in MiB, looked at twice a second, beside how many trials have ended."""

    def __init__(self, ledger: Path) -> None:
        super().__init__(daemon=True)
        self.process, self.ended = psutil.Process(), ended_trials(ledger)
        self.start_mib = self.now()
        self.looks: list[tuple[int, float]] = []
        self.done = threading.Event()

    def now(self) -> float:
        """What it shares with no other process."""
        return float(self.process.memory_full_info().uss) / MIB

    def run(self) -> None:
        """Until it is done."""
        while not self.done.wait(0.5):
            self.looks.append((next(self.ended), self.now()))


def study(trials: int, sweep: bool, epochs: int = 3) -> Any:
    """An ablation of 20 arms, or a random search."""
    base = parse_trial({"gradient": "ste", "epochs": epochs if sweep else 1, "device": "cpu"}).model_dump(mode="json")
    data: dict[str, Any] = {
        "name": "throughput",
        "base": {key: value for key, value in base.items() if key != "seed"},
        "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
    }
    if sweep:
        data["space"] = {
            "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
            "schedule.name": {"choice": ["cosine", "constant"]},
        }
        data["search"] = {"sampler": "random", "trials": trials}
        if epochs > 1:
            data["scheduler"] = "asha"
    else:
        data["seeds"] = list(range(trials // ARMS))
        data["arms"] = {f"arm{n}": {"optimizer": {"lr": 0.02 + n / 1000}} for n in range(ARMS)}
    return parse_study(YamlSource(Path("throughput"), data))


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sweep", action="store_true")
    given = parser.parse_args()
    from fsg.driver.trials import run_study
    from fsg.execution.engine import Resources
    from fsg.ray_engine.engine import RayEngine
    from fsg.tracking import FollowingExporter

    trainable.FsgTrainable = NothingTrainable  # type: ignore[misc]
    spec = study(given.trials, given.sweep)
    with tempfile.TemporaryDirectory() as storage:
        folder = StudyFolder.create_or_open(spec, storage)
        ledger = Ledger(folder.ledger_path)
        begin(ledger, spec)
        memory = Memory(folder.ledger_path)
        memory.start()
        exporter = FollowingExporter(folder.ledger_path, f"sqlite:///{storage}/mlflow.db")
        run_study(folder, spec, RayEngine(Resources()), ledger)
        trained = time.time()
        behind = exporter.close(timeout=300.0)
        copied = time.time() - trained
        memory.done.set()
        ends = sorted(trial.ended for trial in folder.state().trials.values() if trial.ended)
        begun = min(trial.started for trial in folder.state().trials.values() if trial.started)
    assert behind is None and len(ends) == given.trials, (behind, len(ends))
    count = len(ends)
    marks = [begun, *(ends[count * n // 4 - 1] for n in (1, 2, 3, 4))]
    running = [look for look in memory.looks if look[0] < count]
    growth, width = slope([look for look in running if look[0] >= count / 2])
    found = {
        "trials": count,
        "trials_per_second": count / (ends[-1] - begun),
        "by_quarter": [count / 4 / (b - a) for a, b in itertools.pairwise(marks)],
        "whole_with_copy_per_second": count / (trained + copied - begun),
        "memory_at_start_mib": memory.start_mib,
        "memory_over_start_mib": max(mib for _, mib in memory.looks) - memory.start_mib,
        "memory_per_100_trials_mib": {"slope": growth, "half_width_95": width},
        "memory_by_trials_mib": {ended: round(mib, 1) for ended, mib in running[:: max(1, len(running) // 40)]},
    }
    rate, more = found["trials_per_second"], found["memory_over_start_mib"]
    print(f"{'sweep' if given.sweep else 'ablation'}: {count} trials, {usable_cores()} cores")
    print(f"{rate:.1f} trials/s (target {TRIALS_PER_SECOND:g}: {_said(rate >= TRIALS_PER_SECOND)})")
    print(f"by quarter: {', '.join(f'{r:.1f}' for r in found['by_quarter'])}; MLflow was level {copied:.1f} s later")
    print(f"driver: {more:.0f} MiB over its start (target {MEBIBYTES:g}: {_said(more <= MEBIBYTES)})")
    flat = _said(growth - width <= GROWTH)
    print(f"driver: {growth:+.2f} ± {width:.2f} MiB per 100 trials of the second half (target {GROWTH:g}: {flat})")
    name = "throughput_sweep" if given.sweep else "throughput"
    record.write(name, {"arms": ARMS, "sweep": given.sweep}, {"found": found}, ("ray", "mlflow", "optuna"))


def _said(holds: bool) -> str:
    return "holds" if holds else "MISSED"


if __name__ == "__main__":
    main()
