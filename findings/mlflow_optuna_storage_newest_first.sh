#!/usr/bin/env bash
# MLflow's storage for Optuna hands out trials newest first, and CMA-ES stands still on it.
#
# Date: 2026-11-28
# Packages: mlflow 3.17.2, optuna 5.0.0, cmaes 0.13.1
# Guess: mlflow.optuna.storage.MlflowStorage is one more storage: the same seed proposes the same points on it as in
#   memory, and study.trials is in order of number, as on every storage of Optuna's own.
# Seen: study.trials[0] is the newest trial. CmaEsSampler looks for the last stored state of its distribution from the
#   end of the list, finds the first one that was ever stored, and asks from generation 2 for ever. In memory 22
#   trials in fours come to generation 5. No error, no warning; random search and TPE seem to work.
# Means: one store for search and tracking costs the search. Keep Optuna's memory in one of its own storages and copy
#   results to MLflow; where trials come from elsewhere, sort them by number before any index is taken.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'mlflow==3.17.2' 'optuna==5.0.0' 'cmaes==0.13.1'
cd "$work"
export MLFLOW_DISABLE_TELEMETRY=true MLFLOW_LOGGING_LEVEL=ERROR
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys
import warnings

import mlflow
import optuna
from mlflow.optuna.storage import MlflowStorage

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
print(f"mlflow {mlflow.__version__}, optuna {optuna.__version__}", flush=True)


def search(storage, trials):
    """CMA-ES in generations of four: the numbers of study.trials as they come, and the last generation asked from."""
    sampler = optuna.samplers.CmaEsSampler(seed=0, popsize=4)
    study = optuna.create_study(storage=storage, study_name="search", sampler=sampler)
    for _ in range(trials):
        trial = study.ask()
        x, y = trial.suggest_float("x", -5, 5), trial.suggest_float("y", -5, 5)
        study.tell(trial, (x - 1) ** 2 + (y + 2) ** 2)
    found = study.trials
    generations = {trial.number: trial.system_attrs.get("cma:generation", 0) for trial in found}
    return [trial.number for trial in found], generations[max(generations)]


mlflow.set_tracking_uri("sqlite:///mlflow.db")
numbers, generation = search(None, 22)
print(f"in memory:     trials {numbers[0]} .. {numbers[-1]}, generation {generation}")
numbers, mlflow_generation = search(MlflowStorage(mlflow.create_experiment("search")), 22)
print(f"MlflowStorage: trials {numbers[0]} .. {numbers[-1]}, generation {mlflow_generation}")
if not (numbers == sorted(numbers, reverse=True) and mlflow_generation == 2 < generation):
    sys.exit("changed: MlflowStorage gives trials in another order, or CMA-ES goes on from it.")
PY
