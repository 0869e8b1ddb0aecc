#!/usr/bin/env bash
# A model that is logged to a run by its id lies in another experiment than the run.
#
# Date: 2026-11-28
# Packages: mlflow 3.17.2, numpy 2.4.6
# Guess: Model.log(run_id=...) puts the model where the run is: in the run's experiment, with its artifacts.
# Seen: the run lists the model among its outputs, but the model is made in the process's active experiment, which is
#   "Default" if none was set, and its files are written where Default's lie. search_logged_models of the study's own
#   experiment finds nothing. A model made first, by create_logged_model with the experiment's id, and given as model_id
#   lies where the run does.
# Means: a registry filled from finished runs mixes the models of all studies in one experiment, whose files may lie on
#   another disk, and which nobody cleans up with its study.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'mlflow==3.17.2' 'numpy==2.4.6'
cd "$work"
export MLFLOW_DISABLE_TELEMETRY=true
"$work/venv/bin/python" -W ignore - <<'PY'
import logging
import sys

import mlflow
import mlflow.pyfunc
from mlflow.models import Model

logging.getLogger("mlflow").setLevel(logging.ERROR)
print(f"mlflow {mlflow.__version__}")
mlflow.set_tracking_uri("sqlite:///store.db")
client = mlflow.MlflowClient()
study = client.create_experiment("study")


class Doubles(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return 2 * model_input


def logged(**where):
    """The experiment of a model that is logged to a finished run of the study."""
    run = client.create_run(study)
    client.set_terminated(run.info.run_id)
    if where.pop("made_first", False):
        where = {"model_id": client.create_logged_model(study, "doubles", run.info.run_id).model_id}
    info = Model.log(
        artifact_path=None, flavor=mlflow.pyfunc, run_id=run.info.run_id, python_model=Doubles(),
        pip_requirements=["mlflow"], **where,
    )
    assert [output.model_id for output in client.get_run(run.info.run_id).outputs.model_outputs] == [info.model_id]
    return client.get_experiment(client.get_logged_model(info.model_id).experiment_id).name


by_run, made_first = logged(name="doubles"), logged(made_first=True)
print(f"of a run in study: by run_id the model is in {by_run}; made first in {made_first}")
if (by_run, made_first) != ("Default", "study"):
    sys.exit("changed: a model that is logged by run_id lies in the run's experiment.")
PY
