"""How many trials a second go through the whole pipeline when training costs nothing, and what memory the driver takes?

Run: ``python -m benchmarks.throughput`` (two minutes on 2 cores; ``--trials 100`` for a look). So many trials of a study go
through Ray Tune with reused actors, the real trainable with its fsynced checkpoint, the ledger and the copy into MLflow
on sqlite, as ``fsg ablate`` runs it; in the trainer's place stands one that returns made-up numbers at once. ``--sweep`` has
random search and ASHA in the plan's place, 3 epochs a trial.

Target: 10 trials/s; the driver's memory at most 600 MB over its start. Printed and written to
``benchmarks/results/throughput.json``: both, and trials/s in each quarter of the run, which would fall if something were done
anew for all trials at each.
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
from fsg.config import TrialConfig, parse_trial
from fsg.cores import usable_cores
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
TRIALS_PER_SECOND, MEGABYTES = 10.0, 600.0


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


class NothingTrainable(trainable.FsgTrainable):
    """The real one with nothing to train."""

    def _build(self) -> None:
        """As the real one, without the trainer and its data."""
        config = self.assignment.config
        self.trainer = Nothing(config)  # type: ignore[assignment]
        self.checkpoints = CheckpointStore(self.assignment.checkpoint)
        self.checkpoints.load()
        self.fingerprint, self.resumed, self.alone, self.until = None, False, False, config.epochs


class Memory(threading.Thread):
    """The most resident memory of this process since the start, in MB."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.process = psutil.Process()
        self.start_mb = self.most_mb = self.now()
        self.done = threading.Event()

    def now(self) -> float:
        """Resident, in MB."""
        return float(self.process.memory_info().rss) / 1e6

    def run(self) -> None:
        """Look twice a second."""
        while not self.done.wait(0.5):
            self.most_mb = max(self.most_mb, self.now())


def study(trials: int, sweep: bool) -> Any:
    """An ablation of 20 arms, or a random search."""
    base = parse_trial({"gradient": "ste", "epochs": 3 if sweep else 1, "device": "cpu"}).model_dump(mode="json")
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
    memory = Memory()
    memory.start()
    with tempfile.TemporaryDirectory() as storage:
        folder = StudyFolder.create_or_open(spec, storage)
        ledger = Ledger(folder.ledger_path)
        begin(ledger, spec)
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
    found = {
        "trials": count,
        "trials_per_second": count / (ends[-1] - begun),
        "by_quarter": [count / 4 / (b - a) for a, b in itertools.pairwise(marks)],
        "whole_with_copy_per_second": count / (trained + copied - begun),
        "memory_over_start_mb": memory.most_mb - memory.start_mb,
        "memory_at_start_mb": memory.start_mb,
    }
    rate, more = found["trials_per_second"], found["memory_over_start_mb"]
    print(f"{'sweep' if given.sweep else 'ablation'}: {count} trials, {usable_cores()} cores")
    print(f"{rate:.1f} trials/s (target {TRIALS_PER_SECOND:g}: {'holds' if rate >= TRIALS_PER_SECOND else 'MISSED'})")
    print(f"by quarter: {', '.join(f'{r:.1f}' for r in found['by_quarter'])}; MLflow was level {copied:.1f} s later")
    print(f"driver: {more:.0f} MB over its start (target {MEGABYTES:g}: {'holds' if more <= MEGABYTES else 'MISSED'})")
    name = "throughput_sweep" if given.sweep else "throughput"
    record.write(name, {"arms": ARMS, "sweep": given.sweep}, {"found": found}, ("ray", "mlflow", "optuna"))


if __name__ == "__main__":
    main()
