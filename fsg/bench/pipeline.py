"""What Ray Tune, the ledger and MLflow add to a trial; how long the copy into MLflow and the table take."""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from fsg.bench.measure import Measurement, at_most, spread
from fsg.config import TrialConfig, parse_trial
from fsg.cores import usable_cores
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger, fold
from fsg.record.ledger_header import begin
from fsg.study.spec import AblationSpec

PER_TRIAL_LIMIT = 0.15  # seconds, short trial, reused actor
SHARE_LIMIT = 5.0  # percent of a trial of 10 epochs of 2 s
EXPORT_LIMIT = 10.0  # seconds for 10,000 epoch rows on sqlite
TABLE_LIMIT = 2.0  # seconds for 1,000 finished trials


def trial(trials: int = 24, epochs: int = 8) -> list[Measurement]:
    """Overhead per trial and per epoch: the pipeline's time less the bare trainer's, one trial at a time."""
    short = _per_trial(trials, 1)
    long = _per_trial(trials // 3, epochs)
    bare_short, bare_long = _bare(1), _bare(epochs)
    per_epoch = max(
        0.0, ((statistics.median(long) - bare_long) - (statistics.median(short) - bare_short)) / (epochs - 1)
    )
    per_trial = statistics.median(short) - bare_short - per_epoch
    share = 100 * (per_trial + 10 * per_epoch) / 20
    return [
        at_most("trial", "added to a short trial, reused actor", per_trial, "s", PER_TRIAL_LIMIT, spread(short)),
        Measurement("trial", "added to an epoch", per_epoch, "s", spread=spread(long) / epochs),
        at_most("trial", "added to a trial of 10 epochs of 2 s", share, "%", SHARE_LIMIT),
    ]


def export(rows: int = 10_000) -> list[Measurement]:
    """Epoch rows into MLflow on sqlite, the schema already there."""
    from fsg.tracking import Exporter

    events = _made_up(trials=rows // 100, epochs=100)
    with tempfile.TemporaryDirectory() as folder:
        exporter = Exporter(f"sqlite:///{folder}/mlflow.db", events[0])
        exporter.export(events[:1])
        start = time.perf_counter()
        exporter.export(events)
        seconds = time.perf_counter() - start
    return [at_most("export", f"{rows:,} epoch rows to sqlite", seconds, "s", EXPORT_LIMIT)]


def table(trials: int = 1_000) -> list[Measurement]:
    """The comparison of many finished trials, from the folded ledger to all text renderings, without drawings."""
    from fsg.report.study_report import make_report

    arms = 20
    spec = _spec(seeds=trials // arms, epochs=15, arms=arms)
    state = fold(_made_up(trials, epochs=15, arms=[*spec.arms]))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        make_report(spec, state).markdown.encode()
        times.append(time.perf_counter() - start)
    return [
        at_most("table", f"comparison of {trials:,} trials", statistics.median(times), "s", TABLE_LIMIT, spread(times))
    ]


def _config(epochs: int) -> TrialConfig:
    return parse_trial({"gradient": "ste", "epochs": epochs, "device": "cpu", "data": {"batch_size": 256}})


def _spec(seeds: int, epochs: int, arms: int = 1) -> AblationSpec:
    from fsg.study.spec import parse_study
    from fsg.yaml_source import YamlSource

    data: dict[str, Any] = {
        "name": "bench",
        "base": _config(epochs).model_dump(mode="json", exclude={"seed"}),
        "seeds": list(range(seeds)),
        "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
        "arms": {f"arm{i}": {"optimizer": {"lr": 0.02 + i / 1000}} for i in range(max(2, arms))},
    }
    spec = parse_study(YamlSource(Path("bench"), data))
    assert isinstance(spec, AblationSpec)
    return spec


def _per_trial(trials: int, epochs: int) -> list[float]:
    """Seconds from one trial's end to the next one's, in a real study with one slot."""
    from fsg.driver.trials import run_study
    from fsg.execution.engine import Resources
    from fsg.ray_engine.engine import RayEngine
    from fsg.tracking import FollowingExporter

    spec = _spec(seeds=trials // 2, epochs=epochs)
    with tempfile.TemporaryDirectory() as storage:
        folder = StudyFolder.create_or_open(spec, storage)
        ledger = Ledger(folder.ledger_path)
        begin(ledger, spec)
        exporter = FollowingExporter(folder.ledger_path, f"sqlite:///{storage}/mlflow.db")
        run_study(folder, spec, RayEngine(Resources(cpus_per_trial=usable_cores())), ledger)
        exporter.close()
        ends = sorted(record.ended for record in folder.state().trials.values() if record.ended)
    return [b - a for a, b in itertools.pairwise(ends)][1:]  # the first actor loads its libraries


def _bare(epochs: int, repeats: int = 5) -> float:
    """Seconds of the trainer alone, building it included."""
    from fsg.train import Trainer

    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        for _result in Trainer(_config(epochs)):
            pass
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def _made_up(trials: int, epochs: int, arms: list[str] | None = None) -> list[dict[str, Any]]:
    """Events of finished trials with seeded numbers in the place of training."""
    rng = random.Random(0)
    arms = arms or ["a", "b"]
    config = _config(epochs).model_dump(mode="json")
    now = 1.7e9
    header: dict[str, Any] = {
        "study_id": "bench",
        "name": "bench",
        "kind": "ablation",
        "spec_digest": "0",
        "versions": {},
        "git_commit": None,
    }
    events: list[dict[str, Any]] = [{"event": "study", "time": now, **header}]
    for number in range(trials):
        key, arm = f"{number:012x}", arms[number % len(arms)]
        about = {"key": key, "time": now + number}
        events.append({"event": "planned", "arm": arm, "seed": number // len(arms), "config": config, **about})
        events.append({"event": "started", "attempt": 1, "node": "here", "device": "cpu", **about})
        metrics: dict[str, float] = {}
        for epoch in range(1, epochs + 1):
            metrics = {
                "epoch": epoch,
                "train_loss": 1 / epoch + rng.random() / 10,
                "val_accuracy": 90 + rng.random(),
                "step_ms": 3.0,
            }
            events.append({"event": "epoch", "metrics": metrics, **about})
        events.append({"event": "finished", "metrics": metrics | {"test_accuracy": 90.0}, **about})
    return events
