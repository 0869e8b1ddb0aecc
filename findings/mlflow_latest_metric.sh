#!/usr/bin/env bash
# The metric that MLflow shows of a run is the one with the largest step, then time, then value: not the one written
# last.
#
# Date: 2026-11-28
# Packages: mlflow 3.17.2
# Guess: log_batch replaces: what was written last at a step is what run.data.metrics, the runs page and search_runs
#   show.
# Seen: at one step the larger time stands, whoever wrote it; at one step and one millisecond the larger value stands,
#   so 91 is not replaced by 88 and a loss can only go up. A machine whose clock is behind writes into the history and
#   is never shown. Points that are equal in name, step, time and value are kept once.
# Means: a number that is corrected (a report made again, an epoch that ran again after a crash) needs a time later
#   than what it corrects. Take the time from the store, not from the clock of whoever writes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'mlflow==3.17.2'
cd "$work"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric

print(f"mlflow {mlflow.__version__}", flush=True)
client = MlflowClient("sqlite:///mlflow.db")
run = client.create_run(client.create_experiment("study")).info.run_id


def shown(name, *points):
    """What the run shows after these (value, time, step) were written one after another."""
    for value, time, step in points:
        client.log_batch(run, [Metric(name, value, time, step)])
    return client.get_run(run).data.metrics[name]


tie = shown("accuracy", (91.0, 1000, 5), (88.0, 1000, 5))
behind = shown("report", (91.0, 2000, 0), (88.0, 1000, 0))
twice = shown("loss", (0.5, 1000, 1), (0.5, 1000, 1))
points = len(client.get_metric_history(run, "loss"))
print(f"88 after 91, same step and millisecond: {tie:g}; 88 after 91 from a clock a second behind: {behind:g}; "
      f"a point written twice: {points} in the history")
found = client.search_runs([client.get_run(run).info.experiment_id], "metrics.accuracy > 90")
if not (tie == behind == 91.0 and twice == 0.5 and points == 1 and len(found) == 1):
    sys.exit("changed: MLflow shows another point of a metric than the one largest in step, time and value.")
PY
