"""What one driver can carry: 64 nodes x 8 GPUs and 10,000 trials with simulated trial times, no training and no network.

Real: the searcher (Optuna), ASHA, the recorder, the ledger with an fsync a line, the progress count, the exporter on SQLite, the
table. Simulated: the 512 workers, as a queue of events in simulated time. Not in it: Ray Tune's own loop and its
messages to 512 processes, which one machine cannot hold. docs/scaling.md reads the numbers.

    python -m benchmarks.scale                       # all four parts, each in a process of its own: at most ten minutes
    python -m benchmarks.scale driver --no-fsync     # or one part; table and export read the ledger that driver leaves
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from benchmarks import record
from fsg.record.folder import StudyFolder
from fsg.record.ledger import fold
from fsg.record.ledger_header import begin
from fsg.study.spec import SweepSpec, load_study

SLOTS = 64 * 8
EPOCH_SECONDS = 60.0  # of a small study on a GPU: longer epochs load the driver less, in proportion
EPOCHS = 9
PARTS = (("driver",), ("driver", "--no-fsync"), ("table",), ("export", "--trials", "1000"))
PLACE = Path("scale_benchmark")  # not /tmp, which may be memory: an fsync there costs nothing


def study(trials: int, sampler: str) -> tuple[StudyFolder, SweepSpec]:
    """A sweep in a fresh folder."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    data = {
        "name": "scale",
        "base": {"epochs": EPOCHS},
        "metric": {"name": "val_accuracy", "mode": "max"},
        "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "gradient.beta": {"uniform": [0.0, 1.0]}},
        "search": {"sampler": sampler, "trials": trials},
        "scheduler": {"name": "asha", "grace_epochs": 1, "reduction_factor": 3},
    }
    (PLACE / "scale.yaml").write_text(yaml.safe_dump(data))
    spec = load_study(PLACE / "scale.yaml")
    assert isinstance(spec, SweepSpec)
    return StudyFolder.create_or_open(spec, PLACE / "studies"), spec


def driver(trials: int, sampler: str, seconds: float) -> dict[str, Any]:
    """Run the sweep in simulated time; what the driver used, for each thousand trials and in all."""
    from fsg.execution.recording import Recording
    from fsg.execution.reports import EpochReport
    from fsg.report.progress import Progress
    from fsg.search.searcher import SweepSearcher
    from fsg.search.stopping import make_judge

    folder, spec = study(trials, sampler)
    progress = Progress("scale", trials, EPOCHS, "val_accuracy", "max")
    lines = 0

    def listen(event: dict[str, Any]) -> None:
        nonlocal lines
        lines += 1
        progress.see(event)

    ledger = folder.ledger()
    ledger._listener = listen
    begin(ledger, spec)
    searcher = SweepSearcher(folder, spec, ledger, {})
    recording, judge = Recording(ledger, device="simulated"), make_judge(spec, {}, searcher.expected)
    numbers = random.Random(0)
    queue: list[tuple[float, int, Any]] = []
    steps: list[dict[str, float]] = []
    now, count, ended, exhausted = 0.0, 0, 0, False
    wall, cpu, mark = time.monotonic(), time.process_time(), (0.0, 0.0, 0.0)
    while True:
        while len(queue) < SLOTS and not exhausted:
            assignment = searcher.take(f"t{count}")
            if assignment is None:
                exhausted = True
                break
            trial = SimpleNamespace(name=f"t{count}", assignment=assignment, epoch=0, best=numbers.gauss(90, 4))
            recording.started(assignment.key, "127.0.0.1")
            heapq.heappush(queue, (now + EPOCH_SECONDS * numbers.uniform(0.8, 1.25), count, trial))
            count += 1
        if not queue or time.monotonic() - wall > seconds:
            break
        now, number, trial = heapq.heappop(queue)
        trial.epoch += 1
        accuracy = trial.best - 30 / (trial.epoch + 1) + numbers.gauss(0, 0.5)
        metrics = {"epoch": trial.epoch, "val_accuracy": accuracy, "train_loss": 2 / trial.epoch, "step_ms": 5.0}
        status = "finished" if trial.epoch == EPOCHS else "running"
        report, key = EpochReport(trial.epoch, metrics, {}, Path("last.pt"), status), trial.assignment.key
        if status == "finished":
            recording.ended(trial.assignment, report)
            searcher.done(trial.name, report)
            over = True
        else:
            reason = judge.stop(key, metrics)
            over = recording.heard(trial.assignment, report, lambda reason=reason: reason) == "stop"
            searcher.heard(trial.name, report)
            if over:
                searcher.done(trial.name, report)
        if over:
            ended += 1
            if ended % 1000 == 0:
                new = (time.process_time() - cpu, now, float(lines))
                used, simulated, written = (b - a for a, b in zip(mark, new, strict=True))
                steps.append({"trials": ended, "cpu_share": used / simulated, "lines_per_cpu_s": written / used})
                mark = new
        else:
            heapq.heappush(queue, (now + EPOCH_SECONDS * numbers.uniform(0.8, 1.25), number, trial))
    used, took = time.process_time() - cpu, time.monotonic() - wall
    return {
        "sampler": sampler, "trials_ended": ended, "ledger_lines": lines, "ledger_mb": ledger.path.stat().st_size / 1e6,
        "simulated_hours": now / 3600, "cpu_s": used, "wall_s": took, "cpu_share_of_one_core": used / now,
        "lines_per_wall_s": lines / took, "lines_per_simulated_s": lines / now, "peak_mb": peak(), "by_thousand": steps,
    }  # fmt: skip


def table() -> dict[str, Any]:
    """Reading the ledger that ``driver`` left, and making its table."""
    from fsg.report.study_report import make_report

    folder, spec = StudyFolder(PLACE / "studies" / "scale"), load_study(PLACE / "scale.yaml")
    make_report(spec, folder.state())  # imports
    began = time.monotonic()
    events = folder.ledger().read()
    read = time.monotonic()
    state = fold(events)
    folded = time.monotonic()
    make_report(spec, state)
    made = time.monotonic()
    return {
        "trials": len(state.trials), "events": len(events), "read_s": read - began, "fold_s": folded - read,
        "report_s": made - folded, "peak_mb": peak(),
    }  # fmt: skip


def export(trials: int) -> dict[str, Any]:
    """Copying the ledger's first ``trials`` trials into a fresh SQLite store."""
    from fsg.tracking import Exporter
    from fsg.tracking.store import open_client

    store = PLACE / "mlflow.db"
    store.unlink(missing_ok=True)
    open_client(f"sqlite:///{store}").search_experiments()
    events = StudyFolder(PLACE / "studies" / "scale").ledger().read()
    keys = list(dict.fromkeys(event["key"] for event in events if "key" in event))[:trials]
    chosen = [event for event in events if event.get("key", keys[0]) in set(keys)]
    cpu, wall = time.process_time(), time.monotonic()
    Exporter(f"sqlite:///{store}", events[0]).export(chosen)
    took = time.monotonic() - wall
    return {
        "trials": len(keys), "events": len(chosen), "wall_s": took, "cpu_s": time.process_time() - cpu,
        "runs_per_s": len(keys) / took, "events_per_s": len(chosen) / took, "peak_mb": peak(),
    }  # fmt: skip


def peak() -> float:
    """MB this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Run one part, or all, and keep what it measured in ``results/scale_<part>.json``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["driver", "table", "export"])
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--seconds", type=float, default=300.0, help="stop the driver's part after this long")
    parser.add_argument(
        "--no-fsync", action="store_true", help="leave the disk out: what the processor alone would carry"
    )
    given = parser.parse_args()
    if given.part is None:
        for part in PARTS:
            subprocess.run([sys.executable, "-m", "benchmarks.scale", *part], check=True)
        return
    if given.no_fsync:
        os.fsync = lambda descriptor: None
    match given.part:
        case "driver":
            found = driver(given.trials, given.sampler, given.seconds)
        case "table":
            found = table()
        case _:
            found = export(given.trials)
    name = f"scale_{given.part}" + (f"_{given.sampler}{'_no_fsync' * given.no_fsync}" if given.part == "driver" else "")
    settings = {"slots": SLOTS, "epoch_seconds": EPOCH_SECONDS, "epochs": EPOCHS, **vars(given)}
    record.write(name, settings, found, ("optuna", "mlflow"))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
