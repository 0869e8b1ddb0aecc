#!/usr/bin/env bash
# Pages of MLflow's search_runs shift when a run is made or deleted between two of them: one run comes twice, another
# never.
#
# Date: 2026-11-28
# Packages: mlflow 3.17.2
# Guess: the token of a page is a cursor: reading page after page gives each run that was there at the start exactly
#   once, whatever others write meanwhile.
# Seen: the token is an offset in a list ordered newest first. A run made between two pages pushes everything down:
#   the last run of the page before is the first of the next one. A run deleted between two pages pulls everything up:
#   one run is never given.
# Means: a page is 1000 runs, so studies are small enough until one is not. Whoever reads all runs and takes what
#   comes twice for a duplicate deletes a run that was there once; whoever makes what is missing makes it a second
#   time. Compare run ids first, and read again what was not found before making it.
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

print(f"mlflow {mlflow.__version__}", flush=True)
client = MlflowClient("sqlite:///mlflow.db")


def read(name, meanwhile):
    """Six runs, numbered by age, read in pages of three; ``meanwhile`` happens after the first page."""
    experiment = client.create_experiment(name)
    runs = [client.create_run(experiment, start_time=1000 + n).info.run_id for n in range(6)]
    page = client.search_runs([experiment], max_results=3)
    seen = [run.info.run_id for run in page]
    meanwhile(experiment, runs)
    while page.token:
        page = client.search_runs([experiment], max_results=3, page_token=page.token)
        seen += [run.info.run_id for run in page]
    return [runs.index(run) for run in seen]


made = read("made", lambda experiment, runs: client.create_run(experiment, start_time=2000))
deleted = read("deleted", lambda experiment, runs: client.delete_run(runs[5]))
print(f"a run made between two pages:    {made}")
print(f"a run deleted between two pages: {deleted}")
if not (made.count(3) == 2 and 2 not in deleted):
    sys.exit("changed: pages of search_runs no longer shift.")
PY
