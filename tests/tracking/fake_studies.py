"""Ledgers of studies that never ran, and what MLflow holds of them."""

import json
import random

from fsg.config import canonical_json, digest
from fsg.record.ledger import with_crc


def header(study_id="5eed5eed", name="components", kind="ablation", time=1_800_000_000.0, **fields):
    versions = {"fsg": "0.1.0", "python": "3.11.9", "torch": "2.13.0"}
    return {"event": "study", "time": time, "study_id": study_id, "name": name, "kind": kind, "spec_digest": "abc",
            "versions": versions, "git_commit": "0123abc", **fields}  # fmt: skip


def study(arms=("full", "ste"), seeds=(0, 1), epochs=3, start=1_800_000_000.0, **fields):
    """All events of a finished study: seed-major, two seconds an epoch, plausible numbers from a fixed generator."""
    numbers = random.Random(1)
    events = [header(time=start, **fields)]
    trials = [(arm, seed, digest([arm, seed])) for seed in seeds for arm in arms]
    for arm, seed, key in trials:
        config = {"gradient": {"name": arm, "fast": {"hidden": 16}}, "optimizer": {"lr": 0.01}, "seed": seed}
        events.append({"event": "planned", "time": start + 0.1, "key": key, "arm": arm, "seed": seed, "config": config})
    now = start + 1
    for rank, (_, _, key) in enumerate(trials):
        events.append({"event": "started", "time": now, "key": key, "attempt": 1, "node": "n0", "device": "cpu"})
        for epoch in range(1, epochs + 1):
            now += 2
            events.append({"event": "epoch", "time": now, "key": key, "metrics": epoch_metrics(epoch, rank, numbers)})
        final = {**events[-1]["metrics"], "test_accuracy": 90 + numbers.random(), "test_accuracy_last10": 90.5}
        events.append({"event": "finished", "time": now + 0.5, "key": key, "metrics": final})
    return events


def lines_of(events):
    """The events as a ledger has them on disk."""
    plain = json.loads(json.dumps(events), parse_constant=lambda text: None)
    return "".join(canonical_json(with_crc(event)) + "\n" for event in plain)


def epoch_metrics(epoch, rank, numbers):
    accuracy = 97 - 60 / (epoch + 1) - rank % 12 / 4 + numbers.random()
    return {"epoch": epoch, "train_loss": 2.3 / (epoch + 0.5), "train_accuracy": accuracy + 1,
            "val_loss": 2.4 / (epoch + 0.4), "val_accuracy": accuracy, "val_accuracy_ema": accuracy + 0.2, "lr": 0.01,
            "flip_ratio": 0.01 / epoch, "gain": 1 + numbers.random() / 10, "cosine": 0.9, "step_ms": 5.0,
            "images_per_s": 12000.0, "gap": None, "bad": float("nan")}  # fmt: skip


def runs_of(client, name="components"):
    """The active runs of an experiment by name; no two may have the same one."""
    experiment = client.get_experiment_by_name(name)
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    runs = {run.info.run_name: run for run in found}
    assert len(runs) == len(found), f"two runs of one name: {sorted(run.info.run_name for run in found)}"
    return runs


def content(client, name="components"):
    """Everything a reader can see, with run ids replaced by names."""
    runs = runs_of(client, name)
    names = {run.info.run_id: run_name for run_name, run in runs.items()}
    seen = {}
    for run_name, run in runs.items():
        tags = dict(run.data.tags)
        if "mlflow.parentRunId" in tags:
            tags["mlflow.parentRunId"] = names[tags["mlflow.parentRunId"]]
        history = {
            metric: [(p.step, p.timestamp, p.value) for p in client.get_metric_history(run.info.run_id, metric)]
            for metric in run.data.metrics
        }
        seen[run_name] = (run.info.status, run.info.start_time, run.info.end_time, tags, run.data.params, history)
    return seen
