#!/usr/bin/env bash
# Optuna's GPSampler tells constraints apart by the order in which a trial set them, not by their names.
#
# Date: 2026-11-28
# Packages: optuna 5.0.0, torch 2.15.0, scipy 1.17.1
# Guess: Trial.set_constraint(name, value), new in Optuna 5, keeps each constraint under its name; in which order a
#   trial sets its two constraints is nobody's business.
# Seen: the sampler puts the values of each trial in a row by the order of setting and fits one model a column. Trials
#   that set "latency" first and trials that set "memory" first share columns that mean nothing. No error, no warning:
#   of 16 proposals all were feasible where the order was always the same, none where it changed from trial to trial.
# Means: a search under several constraints is misled for good by one code path that sets them the other way round (a
#   constraint that is cheap to know is set early in some trials). Set all of them in one place, sorted by name.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'optuna==5.0.0' 'torch==2.15.0' 'scipy==1.17.1'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" - <<'PY'
import sys
import warnings

import optuna
import torch

warnings.simplefilter("ignore")
optuna.logging.set_verbosity(optuna.logging.ERROR)
print(f"optuna {optuna.__version__}, torch {torch.__version__}")


def feasible(order, random=10, asked=26):
    """How many of the model's proposals, those after ``random`` ones, keep both constraints: x <= 0.5 and y >= 0.5."""
    study = optuna.create_study(sampler=optuna.samplers.GPSampler(seed=0, n_startup_trials=random))
    for number in range(asked):
        trial = study.ask()
        x, y = trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)
        broken = {"latency": x - 0.5, "memory": 0.5 - y}
        for name in sorted(broken, reverse=order == "mixed" and number % 2 == 1):
            trial.set_constraint(name, broken[name])
        study.tell(trial, (x - 0.9) ** 2 + (y - 0.1) ** 2)
    return sum(all(value <= 0 for value in trial.constraints.values()) for trial in study.trials[random:])


same, mixed = feasible("same"), feasible("mixed")
print(f"feasible among the model's 16 proposals: {same} where every trial sets latency first, "
      f"{mixed} where every other one does")
if not (same >= 8 and mixed <= 4):
    sys.exit("changed: the order in which constraints are set no longer misleads the GPSampler.")
PY
