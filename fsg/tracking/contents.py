"""What an MLflow store holds of a study, without what MLflow makes up: run ids and artifact places."""

from __future__ import annotations

from dataclasses import dataclass

from fsg.tracking.runs import Identity
from fsg.tracking.store import every_run, open_client

KEY_TAG = {"study": "fsg.study_id", "arm": "fsg.arm", "seed": "fsg.trial_key"}
# Made when a run is looked at or a report is stored, not copied from the ledger.
_PASSING = ("mlflow.user", "mlflow.note.content", "mlflow.loggedArtifacts", "mlflow.log-model.history")


@dataclass(frozen=True)
class RunContent:
    """One run: ``history`` has (step, time, value) of each metric, in order; ``parent`` is an identity.

    The numbers of an arm are a report's, written whenever one was made: the last of each stands, without its time.
    """

    status: str
    end_ms: int | None
    parent: Identity | None
    tags: dict[str, str]
    params: dict[str, str]
    history: dict[str, list[tuple[int, int, float]]]


def contents(tracking_uri: str, study_id: str) -> dict[Identity, list[RunContent]]:
    """By identity: (level, key). More than one run for an identity is a fault. Errors are mlflow's own."""
    client = open_client(tracking_uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs = every_run(client, experiments, f"tags.`fsg.study_id` = '{study_id}'")
    names = {run.info.run_id: _identity(run.data.tags) for run in runs}
    found: dict[Identity, list[RunContent]] = {}
    for run in runs:
        tags = {name: value for name, value in run.data.tags.items() if name not in _PASSING}
        parent = names.get(tags.pop("mlflow.parentRunId", ""))
        identity = names[run.info.run_id]
        if identity[0] == "seed":
            history = {
                name: [(p.step, p.timestamp, p.value) for p in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
            }
        else:
            history = {name: [(0, 0, value)] for name, value in run.data.metrics.items()}
        content = RunContent(run.info.status, run.info.end_time, parent, tags, dict(run.data.params), history)
        found.setdefault(identity, []).append(content)
    return found


def _identity(tags: dict[str, str]) -> Identity:
    level = tags["fsg.level"]
    return level, tags[KEY_TAG[level]]
