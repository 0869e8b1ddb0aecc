#!/usr/bin/env bash
# Ray Tune's population based training leaves the domains it is given, and never moves the integers 1 and 2.
#
# Date: 2026-11-28
# Packages: ray 2.60.0
# Guess: hyperparam_mutations={"momentum": tune.uniform(0.5, 0.99), "depth": tune.randint(1, 9)} explores inside these
#   domains: a value is changed by a factor and brought back to the nearest one that the domain has.
# Seen: the domain is used to draw anew only. Otherwise a value is multiplied by 0.8 or 1.2 and kept: momentum passes
#   1. An integer is rounded after that: 1 and 2 come back as 1 and 2 whatever the factor, 3 becomes 2 or 4, so small
#   depths are traps that only a new draw leaves.
# Means: a population that searches momentum or a small count searches something else. Bring values back into their
#   domain, and move a value on steps by a step at least.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'ray[tune]==2.60.0'
cd "$work"
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 RAY_USAGE_STATS_ENABLED=0 RAY_AIR_NEW_OUTPUT=0 PYTHONWARNINGS=ignore
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import json
import logging
import os
import random
import sys
import tempfile
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

print(f"ray {ray.__version__}", flush=True)


def trial(config):
    """The larger ``rank`` is always the better; a checkpoint holds the number of the iteration."""
    checkpoint, start = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as folder:
            start = int(Path(folder, "iteration").read_text())
    for iteration in range(start + 1, 6):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "iteration").write_text(str(iteration))
            tune.report({"score": config["rank"] + 0.001 * iteration, "used": json.dumps(config)},
                        checkpoint=tune.Checkpoint.from_directory(folder))


random.seed(0)
quiet = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
ray.init(num_cpus=4, _temp_dir=f"{os.getcwd()}/ray", **quiet)
counts = tune.randint(1, 9)
scheduler = PopulationBasedTraining(
    time_attr="training_iteration", perturbation_interval=1, quantile_fraction=0.5, resample_probability=0, synch=True,
    hyperparam_mutations={"momentum": tune.uniform(0.5, 0.99), "depth": counts, "filters": counts},
)
tuner = tune.Tuner(
    tune.with_resources(trial, {"cpu": 1}),
    param_space={"rank": tune.grid_search([0, 1, 2, 3]), "momentum": 0.9, "depth": 2, "filters": 3},
    tune_config=tune.TuneConfig(metric="score", mode="max", scheduler=scheduler, reuse_actors=True),
    run_config=tune.RunConfig(storage_path=os.getcwd(), name="population", verbose=0),
)
frames = [result.metrics_dataframe for result in tuner.fit()]
used = [json.loads(text) for frame in frames for text in frame["used"]]
ray.shutdown()
momenta, depths, filters = ({config[name] for config in used} for name in ("momentum", "depth", "filters"))
print(f"momentum, drawn from 0.5 to 0.99: {min(momenta):.3f} to {max(momenta):.3f}; "
      f"depth, from 2: {sorted(depths)}; filters, from 3: {sorted(filters)}")
if not (max(momenta) > 0.99 and depths == {2} and len(filters) > 1):
    sys.exit("changed: population based training keeps to its domains, or moves small integers.")
PY
