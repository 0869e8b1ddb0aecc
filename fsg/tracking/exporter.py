"""Ledger -> MLflow, idempotently: exporting the same events again, or from another process, changes nothing.

A run is found by its tags (``fsg.study_id``, ``fsg.level``, ``fsg.arm`` / ``fsg.trial_key``) before one is made, and
carries these tags from its first moment, so a run whose making was interrupted is taken up again. The tag ``fsg.points``
says how many metric points a run holds; it is written in the same request, after them. Should two exporters have made a
run each for one trial, the one with the smaller id stays. Proof: ``tests/tracking/test_exporter.py``.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.errors import BackendUnavailable, FsgError, StudyError
from fsg.redaction import redact
from fsg.tracking.network import log_dataset, log_network
from fsg.tracking.runs import NOTE, Identity, Run, StudyRuns, described
from fsg.tracking.store import artifact_location, every_run, explain, open_client, store_address
from fsg.tracking.view import TAG_PREFIX, rounded, view_address, view_key, view_state

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment
    from torch import Tensor, nn

# MLflow takes 1000 entities a request: metrics, params (at most 100) and tags together.
POINTS_A_CALL = 850
PARAMS_A_CALL = 100
MOST_NOTE = 5000  # letters of a description, the most that an experiment's tag takes
TABLE_FILE, SEEDS_FILE, MARKDOWN_FILE = "comparison.json", "seeds.json", "comparison.md"
KEY_TAG = {"study": "fsg.study_id", "arm": "fsg.arm", "seed": "fsg.trial_key"}


@dataclass
class Remote:
    """What MLflow is known to hold of a run."""

    run_id: str
    status: str
    end_ms: int | None
    tags: dict[str, str]
    params: set[str]


class Exporter:
    """Writes one study into the MLflow store at ``tracking_uri``, into an experiment named like the study.

    That is made with the study's view, by which it is found again whatever somebody renamed it to.

    ``header`` is the ledger's "study" event. ``metric`` and ``mode`` ("max" or "min") are the study's: they order the
    shared view, and are a sweep's column in it. Nothing is opened before the first call that needs the store. Whatever the
    store raises becomes BackendUnavailable, with what went wrong and no password. Not for several threads at once.
    """

    def __init__(
        self, tracking_uri: str, header: Mapping[str, Any], metric: str = "val_accuracy", mode: str = "max"
    ) -> None:
        self.tracking_uri = tracking_uri
        self._metric, self._mode = metric, mode
        self._study = StudyRuns(header)
        self._client: MlflowClient | None = None
        self._experiment_id: str | None = None
        self._view: str | None = None
        self._remote: dict[Identity, Remote] | None = None

    def export(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Bring MLflow up to date with ``events``, which follow those of the calls before; returns how many there were.

        After BackendUnavailable they have been taken in: call again, with none or the next ones, to write them. Should a
        run have been deleted in MLflow after points of it were written, StudyError: a fresh Exporter and the whole
        ledger make it again.
        """
        new = 0
        for event in events:
            self._study.fold(event)
            new += 1
        if self._study.changed or self._view is None:
            with self._forgetting_on_error():
                self._store()
                for identity in sorted(self._study.changed, key=_parents_first):
                    run = self._study.runs[identity]
                    self._write(run)
                    self._study.changed.discard(identity)
                    if self._study.forget(run) and self._remote is not None:
                        del self._remote[identity]
                if self._study.is_sweep:
                    self._set_view("seed", [self._metric])
                elif self._view is None:
                    self._set_view("arm", [])
        return new

    def settle(self) -> None:
        """Close every run that is still RUNNING: nobody works on the study any more. A later start opens it again."""
        with self._forgetting_on_error():
            for run in self._study.runs.values():
                if run.status == "RUNNING":
                    self._write(run, interrupted_at=self._study.last_ms)

    def log_report(
        self,
        table: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]],
        markdown: str,
        files: Iterable[Path],
        arm_metrics: Mapping[str, Mapping[str, float | None]],
        seeds: Sequence[Mapping[str, Any]] = (),
        note: str = "",
        meanings: Mapping[str, str] | None = None,
    ) -> None:
        """Store the comparison with the study run and its numbers with the arm runs; replaces what an earlier call stored.

        ``table`` is rows or columns and becomes ``comparison.json`` (``mlflow.load_table`` reads it); ``seeds``, what each
        seed of each arm gave, becomes ``seeds.json``; ``files`` go to the folder ``report``. ``note`` describes the study run
        and the experiment, ``meanings`` (short name to sentence) the arms' numbers. ``arm_metrics`` maps arm to
        {short name: number}: the columns of the shared view, in this order, sorted by the first; rounded for reading, and
        left out where they are no finite number, or no trial of the arm has begun. Export first; StudyError for an arm that
        nobody planned.
        """
        numbers = rounded({arm: _finite(values) for arm, values in arm_metrics.items()})
        unknown = [arm for arm in numbers if arm not in self._study.arms]
        if unknown:
            known = ", ".join(self._study.arms) or "none"
            raise StudyError(f"No trial of arm {', '.join(unknown)} is in the ledger; its arms are: {known}.")
        with self._forgetting_on_error():
            client, study = self._store(), self._ensure(self._study.runs[self._study.root])
            self._log_files(client, study, {TABLE_FILE: table, SEEDS_FILE: seeds}, markdown, files)
            self._describe(client, study, note or markdown)
            log_dataset(client, study.run_id, self._study.shared)
            if note:
                assert self._experiment_id is not None
                client.set_experiment_tag(self._experiment_id, NOTE, note[:MOST_NOTE])
            for arm, values in numbers.items():
                if run := self._study.runs.get(("arm", arm)):
                    remote = self._ensure(run)
                    self._log_numbers(client, remote.run_id, values)
                    log_dataset(client, remote.run_id, run.params)
                    self._describe(client, remote, described({n: meanings[n] for n in values} if meanings else {}))
            shown = {name for values in numbers.values() for name in values}
            order = dict.fromkeys(name for values in arm_metrics.values() for name in values)
            self._set_view("arm", [name for name in order if name in shown])

    def register(self, trial: str, network: nn.Module, images: Tensor) -> str:
        """Store the network of the trial with this key with its run, and register it under the study's name; says as what.

        ``images`` (N, C, H, W), uint8: an example of what it takes. Export first; StudyError for a trial that has no run.
        """
        with self._forgetting_on_error():
            client = self._store()
            query = f"tags.`fsg.study_id` = '{self._study.study_id}' AND tags.`fsg.trial_key` = '{trial}'"
            run = next(iter(every_run(client, [str(self._experiment_id)], query)), None)
            if run is None:
                raise StudyError(f"Trial {trial} has no run in MLflow: export the ledger first.")
            address = store_address(self.tracking_uri)
            return (
                f"models:/{self._study.name}/{log_network(address, run.info.run_id, network, images, self._study.name)}"
            )

    def study_url(self, base: str) -> str:
        """The address of the study's shared view on the MLflow server at ``base``, e.g. "http://127.0.0.1:5000"."""
        with self._forgetting_on_error():
            self._store()
        assert self._experiment_id is not None
        return view_address(base, self._experiment_id, self._study.study_id)

    # The store --------------------------------------------------------------------------------------------------------
    @contextmanager
    def _forgetting_on_error(self) -> Iterator[None]:
        """After an error nobody can tell what was written: forget what was known of the store, to read it again."""
        try:
            yield
        except BaseException as error:
            self._experiment_id = self._remote = self._view = None
            if isinstance(error, FsgError) or not isinstance(error, Exception):
                raise
            raise BackendUnavailable(f"MLflow at {redact(self.tracking_uri)}: {explain(error)}.") from error

    def _store(self) -> MlflowClient:
        """The client, with the study's experiment made or found and its runs known."""
        if self._client is None:
            self._client = open_client(self.tracking_uri)
        if self._experiment_id is None:
            self._experiment_id = self._find_experiment(self._client)
        if self._remote is None:
            self._remote = self._find_runs(self._client, self._experiment_id)
        return self._client

    def _find_experiment(self, client: MlflowClient) -> str:
        from mlflow.exceptions import MlflowException

        name, view_tag = self._study.name, TAG_PREFIX + view_key(self._study.study_id)
        experiment = _with_tag(client, view_tag) or client.get_experiment_by_name(name)
        if experiment is None:
            view = self._view_of("seed", [self._metric]) if self._study.is_sweep else self._view_of("arm", [])
            try:
                created: str = client.create_experiment(
                    name,
                    artifact_location(self.tracking_uri, name),
                    tags={"mlflow.experimentKind": "custom_model_development", view_tag: view},  # runs, not prompts
                )
                self._view = view
                return created
            except MlflowException:
                experiment = client.get_experiment_by_name(name)  # somebody else was faster?
                if experiment is None:
                    raise
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        self._view = experiment.tags.get(view_tag)
        found: str = experiment.experiment_id
        return found

    def _find_runs(self, client: MlflowClient, experiment_id: str) -> dict[Identity, Remote]:
        found: dict[Identity, Remote] = {}
        extra = []
        for run in every_run(client, [experiment_id], f"tags.`fsg.study_id` = '{self._study.study_id}'"):
            tags = run.data.tags
            level = tags.get("fsg.level", "")
            identity = (level, tags.get(KEY_TAG.get(level, ""), ""))
            remote = Remote(run.info.run_id, run.info.status, run.info.end_time, dict(tags), set(run.data.params))
            twin = found.setdefault(identity, remote)
            if twin is not remote:
                found[identity], other = sorted((twin, remote), key=lambda r: r.run_id)
                extra.append(other.run_id)
        for run_id in extra:
            client.delete_run(run_id)
        return found

    def _ensure(self, run: Run) -> Remote:
        """The run in MLflow, made if there is none."""
        client = self._store()
        assert self._remote is not None and self._experiment_id is not None
        known = self._remote.get(run.identity)
        if known is not None:
            return known
        tags = dict(run.tags)
        if run.parent is not None:
            tags["mlflow.parentRunId"] = self._ensure(self._study.runs[run.parent]).run_id
        made = client.create_run(self._experiment_id, start_time=run.start_ms, tags=tags, run_name=run.name)
        remote = Remote(made.info.run_id, made.info.status, None, tags, set())
        self._remote[run.identity] = remote
        return remote

    def _write(self, run: Run, interrupted_at: int | None = None) -> None:
        """Make the run in MLflow what ``run`` says: parameters, points, tags, and last its status."""
        from mlflow.entities import Metric, Param, RunTag

        client, remote = self._store(), self._ensure(run)
        stored = int(remote.tags.get("fsg.points", 0))
        if stored < run.written:
            raise StudyError(
                f"MLflow lost run {run.name} while it was being written; export the whole ledger again to restore it."
            )
        skip = min(stored - run.written, len(run.points))
        pending = [Metric(p.name, p.value, p.time_ms, p.step) for p in run.points[skip:]]
        params = [Param(name, value) for name, value in run.params.items() if name not in remote.params]
        state = "interrupted" if interrupted_at is not None else run.state
        wanted = {**run.tags, "fsg.status": state}
        while True:
            batch, pending = pending[:POINTS_A_CALL], pending[POINTS_A_CALL:]
            some, params = params[:PARAMS_A_CALL], params[PARAMS_A_CALL:]
            stored += len(batch)
            if run.identity[0] == "seed":
                wanted["fsg.points"] = str(stored)
            tags = {name: value for name, value in wanted.items() if remote.tags.get(name) != value}
            if batch or some or tags:
                client.log_batch(remote.run_id, batch, some, [RunTag(*tag) for tag in tags.items()])
                remote.tags |= tags
                remote.params |= {param.key for param in some}
            if not (pending or params):
                break
        if "fsg.reason" in remote.tags and "fsg.reason" not in wanted:
            client.delete_tag(remote.run_id, "fsg.reason")
            del remote.tags["fsg.reason"]
        run.written += len(run.points)
        run.points.clear()
        self._write_status(client, run, remote, interrupted_at)

    def _write_status(self, client: MlflowClient, run: Run, remote: Remote, interrupted_at: int | None) -> None:
        status, end_ms = ("KILLED", interrupted_at) if interrupted_at is not None else (run.status, run.end_ms)
        if end_ms is None:
            if remote.status != status:
                client.update_run(remote.run_id, status=status)
                remote.status, remote.end_ms = status, None
        elif (remote.status, remote.end_ms) != (status, end_ms):
            client.set_terminated(remote.run_id, status=status, end_time=end_ms)
            remote.status, remote.end_ms = status, end_ms

    # The report -------------------------------------------------------------------------------------------------------
    def _log_files(
        self, client: MlflowClient, study: Remote, tables: Mapping[str, Any], markdown: str, files: Iterable[Path]
    ) -> None:
        tables = {name: table for name, table in tables.items() if table or name == TABLE_FILE}
        for name, table in tables.items():
            # mlflow's log_table would append to the table of the report before; this is its format, replaced as a whole.
            client.log_text(study.run_id, json.dumps(_split(table), allow_nan=False), name)
        client.log_text(study.run_id, markdown, MARKDOWN_FILE)
        for file in files:
            client.log_artifact(study.run_id, str(file), "report")
        listed = json.dumps([{"path": name, "type": "table"} for name in tables])
        self._set_tag(client, study, "mlflow.loggedArtifacts", listed)

    def _describe(self, client: MlflowClient, run: Remote, note: str) -> None:
        self._set_tag(client, run, NOTE, note[:MOST_NOTE])

    def _set_tag(self, client: MlflowClient, run: Remote, name: str, value: str) -> None:
        if run.tags.get(name, "") != value:
            client.set_tag(run.run_id, name, value)
            run.tags[name] = value

    def _log_numbers(self, client: MlflowClient, run_id: str, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        before = client.get_run(run_id).data.metrics
        now = round(time.time() * 1000)
        changed = []
        for name, value in values.items():
            if before.get(name) != value:
                # Of one step MLflow shows the latest point, by the clock of whoever wrote it, not the last one written.
                past = client.get_metric_history(run_id, name) if name in before else []
                changed.append(Metric(name, value, max([now, *(point.timestamp + 1 for point in past)]), 0))
        if changed:
            client.log_batch(run_id, changed)

    def _set_view(self, level: str, columns: Sequence[str]) -> None:
        assert self._client is not None and self._experiment_id is not None
        state = self._view_of(level, columns)
        if state != self._view:
            self._client.set_experiment_tag(self._experiment_id, TAG_PREFIX + view_key(self._study.study_id), state)
            self._view = state

    def _view_of(self, level: str, columns: Sequence[str]) -> str:
        names = [run.name for run in self._study.runs.values() if run.identity[0] == level]
        params = self._study.varied if self._study.is_sweep else []
        return view_state(self._study.study_id, level, columns, params, self._mode == "min", names)


def _with_tag(client: MlflowClient, tag: str) -> Experiment | None:
    """The experiment that has a tag which holds JSON: the oldest, one that was deleted only where there is no other."""
    from mlflow.entities import ViewType

    query = f"tags.`{tag}` LIKE '{{%'"
    found = client.search_experiments(ViewType.ALL, filter_string=query, order_by=["creation_time ASC"])
    return min(found, key=lambda each: each.lifecycle_stage == "deleted", default=None)


def _parents_first(identity: Identity) -> int:
    return ("study", "arm", "seed").index(identity[0])


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: float(v) for name, v in values.items() if v is not None and math.isfinite(v)}


def _split(table: Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows or columns as {"columns": names, "data": rows}; what is no finite number is null, other things are text."""
    if isinstance(table, Mapping):
        names = list(table)
        rows = [list(row) for row in zip(*table.values(), strict=True)]
    else:
        names = list(dict.fromkeys(name for row in table for name in row))
        rows = [[row.get(name) for name in names] for row in table]
    return {"columns": names, "data": [[_cell(value) for value in row] for row in rows]}


def _cell(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)
