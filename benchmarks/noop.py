"""How many trials a minute go through when training costs nothing: fsg beside Ray Tune with Optuna and MLflow, as they come.

Run: ``python -m benchmarks.noop [--trials 100] [--rounds 3]`` (two to three minutes on two idle cores). Prints a table and
writes ``benchmarks/results/noop.json``; exits with 1 where the target is missed.

Both sides search two options at random on two slots, and each trial reports the same nine numbers once: ``fsg`` as
``fsg sweep`` runs it, with its ledger made durable, a checkpoint of each trial and its copy in MLflow; ``peer`` is Ray Tune
with OptunaSearch and MLflowLoggerCallback, defaults but for what follows: no output, and no more trials waiting than slots. Both
copy into MLflow on SQLite, whose schema was made before. ``bare`` is the peer without MLflow. Each run is a process and a Ray of
its own; the sides take turns. A run's rate is that between the ends of its first and last trial, and of fsg until MLflow is
level: what starts and stops around them is not counted. Processor seconds are those of all processes, start included.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.record import table, write
from benchmarks.watched import watch

TARGET = 10.0  # times the peer's trials
SIDES = ("fsg", "peer", "bare")
NAMES = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_accuracy_ema", "lr", "flip_ratio")


def main() -> int:
    """Measure, print, write; 1 where the target is missed. With ``--side`` one run, whose numbers go to ``--into``."""
    parser = argparse.ArgumentParser(description="No-op trials: fsg and Ray Tune with Optuna and MLflow.")
    parser.add_argument("--trials", type=int, default=100, help="of each run (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side (default: %(default)s)")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        return _side(given.side, given.trials)
    runs = [_run(side, given.trials) for _ in range(given.rounds) for side in SIDES]
    print(table(["side", "trials/min", "processor s", "load"], [[str(cell) for cell in run.values()] for run in runs]))
    per_minute = {side: [run["per_minute"] for run in runs if run["side"] == side] for side in SIDES}
    ratios = [ours / theirs for ours, theirs in zip(per_minute["fsg"], per_minute["peer"], strict=True)]
    ratio = round(median(ratios), 2)
    found = {
        "runs": runs,
        "per_minute": {
            side: {"median": median(each), "range": [min(each), max(each)]} for side, each in per_minute.items()
        },
        "ratio": {"median": ratio, "range": [round(min(ratios), 2), round(max(ratios), 2)]},
    }
    print(
        f"fsg makes {ratio} times the trials of its peer, target {TARGET:g}: {'holds' if ratio >= TARGET else 'MISSED'}"
    )
    settings = {"trials": given.trials, "rounds": given.rounds}
    print(f"written to {write('noop', settings, found, ('ray', 'mlflow', 'optuna'))}")
    return 0 if ratio >= TARGET else 1


def _run(side: str, trials: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        command = [sys.executable, "-m", "benchmarks.noop", "--side", side, "--trials", str(trials)]
        os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
        taken = watch(command, place)
        ends = json.loads((place / "ends.json").read_text())
    assert len(ends) == trials, f"{side}: {len(ends)} of {trials} trials\n{taken.said[-2000:]}"
    rate = 60 * (len(ends) - 1) / (max(ends) - min(ends))
    found = {
        "side": side,
        "per_minute": round(rate, 1),
        "cpu_s": round(taken.cpu_s, 1),
        "load": round(os.getloadavg()[0], 1),
    }
    print(found, flush=True)
    return found


def _side(side: str, trials: int) -> int:
    """One run in this folder; writes ``ends.json``, when each trial ended."""
    store = f"sqlite:///{Path.cwd()}/mlflow.db"
    if side != "bare":
        from fsg.tracking.store import open_client

        open_client(store).search_experiments()
    ends = _fsg(trials, store) if side == "fsg" else _peer(trials, store if side == "peer" else None)
    Path("ends.json").write_text(json.dumps(ends))
    return 0


def _fsg(trials: int, store: str) -> list[float]:
    from benchmarks import throughput
    from fsg.driver.trials import run_study
    from fsg.execution.engine import Resources
    from fsg.ray_engine.engine import RayEngine
    from fsg.record.folder import StudyFolder
    from fsg.record.ledger import Ledger
    from fsg.record.ledger_header import begin
    from fsg.tracking import FollowingExporter

    throughput.trainable.FsgTrainable = throughput.NothingTrainable  # type: ignore[misc]
    spec = throughput.study(trials, sweep=True, epochs=1)
    folder = StudyFolder.create_or_open(spec, Path.cwd() / "studies")
    ledger = Ledger(folder.ledger_path)
    begin(ledger, spec)
    exporter = FollowingExporter(folder.ledger_path, store)
    run_study(folder, spec, RayEngine(Resources()), ledger)
    behind = exporter.close(timeout=300.0)
    assert behind is None, behind
    ends = sorted(trial.ended for trial in folder.state().trials.values() if trial.ended)
    return [*ends[:-1], time.time()]  # the last one when MLflow is level


def _peer(trials: int, store: str | None) -> list[float]:
    from fsg.ray_engine.cluster import ONE_MACHINE, RAY_ENVIRONMENT, use_token

    os.environ.update({**RAY_ENVIRONMENT, **ONE_MACHINE, "TUNE_MAX_PENDING_TRIALS_PG": "2"})
    use_token()
    import optuna
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ends: list[float] = []

    class Clock(tune.Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.time())

    def nothing(config: dict[str, float]) -> None:
        value = (config["lr"] * 1e4) % 97
        tune.report({"epoch": 1, "step_ms": 1.0, **dict.fromkeys(NAMES, value)})

    copy = [MLflowLoggerCallback(tracking_uri=store, experiment_name="noop")] if store else []
    space = {"lr": tune.loguniform(1e-4, 1e-1), "beta": tune.uniform(0.0, 1.0)}
    tune.Tuner(
        tune.with_resources(nothing, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(
            metric="val_accuracy",
            mode="max",
            num_samples=trials,
            search_alg=OptunaSearch(sampler=optuna.samplers.RandomSampler(0)),
        ),
        run_config=tune.RunConfig(storage_path=str(Path.cwd() / "tune"), verbose=0, callbacks=[*copy, Clock()]),
    ).fit()
    ray.shutdown()
    return ends


if __name__ == "__main__":
    raise SystemExit(main())
