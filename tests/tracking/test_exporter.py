"""Real MLflow on SQLite: what is in it after exports, repeated, interrupted, doubled."""

import json
import shutil

import pytest
from fake_studies import content, runs_of, study
from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException

from fsg.errors import BackendUnavailable, StudyError
from fsg.tracking import Exporter
from fsg.tracking.store import open_client
from fsg.tracking.view import TAG_PREFIX


def count(client, view=ViewType.ACTIVE_ONLY):
    experiment = client.get_experiment_by_name("components")
    return len(client.search_runs([experiment.experiment_id], run_view_type=view, max_results=1000))


def test_exported_study_is_read_back_through_mlflows_client(uri, client):
    events = study()
    Exporter(uri, events[0]).export(events)
    runs = runs_of(client)
    seed, arm, whole = runs["ste/seed0"], runs["ste"], runs["components"]
    assert seed.data.tags["mlflow.parentRunId"] == arm.info.run_id
    assert arm.data.tags["mlflow.parentRunId"] == whole.info.run_id
    assert [runs[name].data.tags["fsg.level"] for name in ("components", "ste", "ste/seed0")] == [
        "study",
        "arm",
        "seed",
    ]
    assert seed.data.params["gradient.fast.hidden"] == "16"
    assert seed.data.tags["fsg.trial_key"] == next(e["key"] for e in events if e.get("arm") == "ste")
    assert seed.data.tags["fsg.device"] == "cpu"
    assert seed.data.tags["fsg.version.torch"] == "2.13.0"
    assert seed.data.tags["mlflow.source.git.commit"] == "0123abc"
    history = client.get_metric_history(seed.info.run_id, "val_accuracy")
    told = [e for e in events if e["event"] == "epoch" and e["key"] == seed.data.tags["fsg.trial_key"]]
    assert [(p.step, p.timestamp, p.value) for p in history] == [
        (e["metrics"]["epoch"], round(e["time"] * 1000), e["metrics"]["val_accuracy"]) for e in told
    ]
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_exporting_again_changes_nothing(uri, client):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    before = content(client)
    exporter.export([])
    Exporter(uri, events[0]).export(events)
    assert content(client) == before


def test_copy_made_in_pieces_by_several_processes_equals_copy_made_at_once(uri, client):
    events = study()
    for end in (1, 4, 6, 7, 9, 13, 20, len(events)):
        Exporter(uri, events[0]).export(events[:end])
    pieces = content(client)
    other = [{**events[0], "name": "at-once", "study_id": "at-once"}, *events[1:]]
    Exporter(uri, other[0]).export(other)
    whole = content(client, "at-once")
    assert whole.pop("at-once")[5] == pieces.pop("components")[5]
    for name, (*rest, tags, params, history) in whole.items():
        *expected, tags_then, params_then, history_then = pieces[name]
        assert (rest, params, history) == (expected, params_then, history_then), name
        apart = dict.fromkeys(("fsg.study", "fsg.study_id", "mlflow.parentRunId"), "")
        assert tags | apart == tags_then | apart


@pytest.mark.parametrize("call", range(1, 14))
def test_killed_export_leaves_one_run_a_trial_and_nothing_missing(uri, client, monkeypatch, call):
    """The store dies in its n-th writing call, before or after it took effect; the next exporter completes the copy."""
    events = study(seeds=(0,), epochs=2)
    calls = iter(range(1, 10_000))

    class Killed(BaseException):
        pass

    def dying(method):
        def wrapper(*args, **kwargs):
            number = next(calls)
            if number == call and number % 2:
                raise Killed
            result = method(*args, **kwargs)
            if number == call:
                raise Killed
            return result

        return wrapper

    exporter = Exporter(uri, events[0])
    store = exporter._store()
    for name in ("create_run", "log_batch", "set_terminated", "set_experiment_tag"):
        monkeypatch.setattr(store, name, dying(getattr(store, name)))
    with pytest.raises(Killed):
        exporter.export(events)
    monkeypatch.undo()
    Exporter(uri, events[0]).export(events)
    runs = runs_of(client)
    assert len(runs) == count(client) == 5
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    for arm in ("full", "ste"):
        history = client.get_metric_history(runs[f"{arm}/seed0"].info.run_id, "val_loss")
        assert [point.step for point in history] == [1, 2]
        assert runs[f"{arm}/seed0"].data.params["optimizer.lr"] == "0.01"


def test_same_exporter_goes_on_after_an_error(uri, client, monkeypatch):
    events = study(seeds=(0,), epochs=2)
    exporter = Exporter(uri, events[0])
    store = exporter._store()

    def away(*args, **kwargs):
        raise MlflowException("server away")

    monkeypatch.setattr(store, "log_batch", away)
    with pytest.raises(BackendUnavailable, match="server away"):
        exporter.export(events)
    monkeypatch.undo()
    exporter.export([])
    assert {run.info.status for run in runs_of(client).values()} == {"FINISHED"}
    assert count(client) == 5


def test_two_exporters_that_each_made_a_run_end_with_one(uri, client):
    events = study(seeds=(0,), epochs=2)
    first, second = Exporter(uri, events[0]), Exporter(uri, events[0])
    first._store(), second._store()  # neither knows of the other's runs
    first.export(events)
    second.export(events)
    assert count(client) == 10
    Exporter(uri, events[0]).export(events)
    assert count(client) == 5
    history = client.get_metric_history(runs_of(client)["ste/seed0"].info.run_id, "val_loss")
    assert [point.step for point in history] == [1, 2]


def test_deleted_copy_is_made_again_to_the_same_content(uri, client):
    events = study()
    Exporter(uri, events[0]).export(events)
    before = content(client)
    for run in runs_of(client).values():
        client.delete_run(run.info.run_id)
    client.delete_experiment(client.get_experiment_by_name("components").experiment_id)
    Exporter(uri, events[0]).export(events)
    assert content(client) == before


def experiments(client):
    """Those of the store by name, deleted ones too, without the one that MLflow makes."""
    found = client.search_experiments(ViewType.ALL)
    return {each.name: each for each in found if each.name != "Default"}


@pytest.fixture
def renamed(uri, client):
    """Half of a study in MLflow, in an experiment that somebody renamed: (all events, the experiment's id)."""
    events = study()
    Exporter(uri, events[0]).export(events[:9])
    experiment = client.get_experiment_by_name("components").experiment_id
    client.rename_experiment(experiment, "the paper's it's \"third\"")
    return events, experiment


def test_a_renamed_experiment_is_gone_on_with_by_another_process(renamed, uri, client):
    events, experiment = renamed
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([], "", [], ARM_METRICS)
    (name,) = experiments(client)
    assert name == "the paper's it's \"third\""
    runs = runs_of(client, name)
    assert len(runs) == 7 and {run.info.status for run in runs.values()} == {"FINISHED"}
    assert f"#/experiments/{experiment}/runs?viewStateShareKey=fsg-5eed5eed" in exporter.study_url("http://h")
    view = json.loads(client.get_experiment(experiment).tags[TAG_PREFIX + "fsg-5eed5eed"])
    assert view["selectedColumns"][0] == "metrics.`acc`"


def test_an_experiment_may_be_renamed_while_it_is_written(uri, client):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events[:9])
    client.rename_experiment(client.get_experiment_by_name("components").experiment_id, "other")
    exporter.export(events[9:])
    assert list(experiments(client)) == ["other"] and len(runs_of(client, "other")) == 7


def test_a_renamed_experiment_is_the_study_s_though_another_has_its_old_name(renamed, uri, client):
    events, experiment = renamed
    client.create_experiment("components")
    Exporter(uri, events[0]).export(events)
    assert len(client.search_runs([experiment])) == 7 and count(client) == 0


def test_another_study_of_the_old_name_gets_an_experiment_of_its_own(renamed, uri, client):
    events, experiment = renamed
    other = study(study_id="5eed", arms=("ste",), seeds=(0,))  # an id that the other begins with
    Exporter(uri, other[0]).export(other)
    Exporter(uri, events[0]).export(events)
    assert len(experiments(client)) == 2 and count(client) == 3 and len(client.search_runs([experiment])) == 7


def test_an_experiment_that_was_made_and_never_written_to_is_found_after_it_was_renamed(uri, client):
    events = study()
    Exporter(uri, events[0])._store()  # and then the process was killed
    client.rename_experiment(client.get_experiment_by_name("components").experiment_id, "other")
    Exporter(uri, events[0]).export(events)
    assert list(experiments(client)) == ["other"] and len(runs_of(client, "other")) == 7


def test_an_experiment_that_was_made_by_hand_is_found_by_its_name(uri, client):
    events = study()
    client.create_experiment("components")
    Exporter(uri, events[0]).export(events)
    assert list(experiments(client)) == ["components"] and count(client) == 7


def test_a_renamed_experiment_that_was_deleted_is_restored(renamed, uri, client):
    events, experiment = renamed
    client.delete_experiment(experiment)
    Exporter(uri, events[0]).export(events)
    (found,) = experiments(client).values()
    assert (found.experiment_id, found.lifecycle_stage) == (experiment, "active")
    assert len(runs_of(client, found.name)) == 7


def test_of_two_experiments_of_a_study_the_one_that_is_not_deleted_is_its_own(renamed, uri, client):
    """As a version that looked for the name alone left them."""
    events, first = renamed
    view = client.get_experiment(first).tags[TAG_PREFIX + "fsg-5eed5eed"]
    second = client.create_experiment("components", tags={TAG_PREFIX + "fsg-5eed5eed": view})
    Exporter(uri, events[0]).export(events)
    assert (len(client.search_runs([first])), len(client.search_runs([second]))) == (7, 0)
    client.delete_experiment(first)
    Exporter(uri, events[0]).export(events)
    assert client.get_experiment(first).lifecycle_stage == "deleted"
    assert len(client.search_runs([second])) == 7


def test_run_deleted_while_it_grows_asks_for_the_whole_ledger(uri, client):
    events = study(arms=("ste",), seeds=(0,))
    exporter = Exporter(uri, events[0])
    exporter.export(events[:4])
    client.delete_run(runs_of(client)["ste/seed0"].info.run_id)
    with pytest.raises(BackendUnavailable):
        exporter.export(events[4:])
    with pytest.raises(StudyError, match="export the whole ledger again"):
        exporter.export([])


@pytest.mark.parametrize(
    ("event", "status", "state", "reason"),
    [
        ({"event": "failed", "reason": "TrialDiverged: loss"}, "FAILED", "failed", "TrialDiverged: loss"),
        ({"event": "pruned", "epoch": 1, "reason": "asha"}, "KILLED", "pruned", "asha"),
    ],
)
def test_how_a_trial_ended_is_its_status_and_reason(uri, client, event, status, state, reason):
    events = study(arms=("ste",), seeds=(0,))[:4]
    events.append({**event, "time": 1_800_000_100.0, "key": events[1]["key"]})
    Exporter(uri, events[0]).export(events)
    run = runs_of(client)["ste/seed0"]
    assert (run.info.status, run.data.tags["fsg.status"], run.data.tags["fsg.reason"]) == (status, state, reason)
    assert run.info.end_time == 1_800_000_100_000


def test_retried_trial_is_running_again_without_its_old_reason(uri, client):
    events = study(arms=("ste",), seeds=(0,))[:4]
    key = events[1]["key"]
    events.append({"event": "failed", "time": 1_800_000_100.0, "key": key, "reason": "node lost"})
    Exporter(uri, events[0]).export(events)
    events.append({"event": "started", "time": 1_800_000_200.0, "key": key, "attempt": 2, "node": "b", "device": "cpu"})
    Exporter(uri, events[0]).export(events)
    run = runs_of(client)["ste/seed0"]
    assert run.info.status == "RUNNING"
    assert "fsg.reason" not in run.data.tags
    assert run.data.tags["fsg.attempts"] == "2"


def test_settled_study_leaves_no_running_run_and_a_resume_takes_it_up(uri, client):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events[:9])
    exporter.settle()
    runs = runs_of(client)
    assert "RUNNING" not in {run.info.status for run in runs.values()}
    assert runs["components"].data.tags["fsg.status"] == "interrupted"
    Exporter(uri, events[0]).export(events)
    assert {run.info.status for run in runs_of(client).values()} == {"FINISHED"}
    assert {run.data.tags["fsg.status"] for run in runs_of(client).values()} == {"finished"}


def test_more_points_and_parameters_than_one_request_takes(uri, client):
    events = study(arms=("ste",), seeds=(0,), epochs=200)
    events[1]["config"]["many"] = {f"p{i}": i for i in range(150)}
    Exporter(uri, events[0]).export(events)
    run = runs_of(client)["ste/seed0"]
    assert len(client.get_metric_history(run.info.run_id, "lr")) == 200
    assert run.data.params["many.p149"] == "149"


ARM_METRICS = {
    "full": {"acc": 96.123456, "vs_full": None, "vs_ste": 1.23456, "n": 3},
    "ste": {"acc": 94.888888, "vs_full": -1.23456, "vs_ste": float("nan"), "n": 3},
}
MEANINGS = {"acc": "accuracy", "vs_full": "less full's", "vs_ste": "less ste's", "n": "seeds"}


def test_report_stands_with_the_study_run_and_its_numbers_with_the_arms(uri, client, tmp_path, monkeypatch):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    page = tmp_path / "report.html"
    page.write_text("<p>report</p>")
    for mean in (1.0, 96.12):  # a second report replaces the first
        seeds = [{"arm": "full", "seed": 0, "acc": mean, "missing": ""}]
        said = f"**Which?** full, by {mean}"
        exporter.log_report(
            [{"arm": "full", "mean": mean, "p": float("nan")}], "# Table", [page], ARM_METRICS, seeds, said, MEANINGS
        )
    runs = runs_of(client)
    whole = runs["components"].info
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)  # load_table reads this, not its client's store
    table = client.load_table(whole.experiment_id, "comparison.json", run_ids=[whole.run_id])
    assert table.to_dict("records") == [{"arm": "full", "mean": 96.12, "p": pytest.approx(float("nan"), nan_ok=True)}]
    each = client.load_table(whole.experiment_id, "seeds.json", run_ids=[whole.run_id])
    assert each.to_dict("records") == [{"arm": "full", "seed": 0, "acc": 96.12, "missing": ""}]
    assert {file.path for file in client.list_artifacts(whole.run_id)} == {
        "comparison.json",
        "seeds.json",
        "comparison.md",
        "report",
    }
    assert runs["components"].data.tags["mlflow.note.content"] == "**Which?** full, by 96.12"
    assert client.get_experiment(whole.experiment_id).tags["mlflow.note.content"] == "**Which?** full, by 96.12"
    assert runs["ste"].data.tags["mlflow.note.content"] == "- `acc`: accuracy\n- `vs_full`: less full's\n- `n`: seeds"
    assert runs["full"].data.metrics == {"acc": 96.12, "vs_ste": 1.23, "n": 3}
    assert runs["ste"].data.metrics == {"acc": 94.89, "vs_full": -1.23, "n": 3}
    assert (tmp_path / "mlartifacts").is_dir()


def test_same_report_again_adds_no_metric_point(uri, client):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([], "", [], ARM_METRICS)
    exporter.log_report([], "", [], ARM_METRICS)
    assert len(client.get_metric_history(runs_of(client)["ste"].info.run_id, "acc")) == 1


def test_report_of_a_study_cut_off_before_an_arm_began_stands_with_the_arms_that_did(uri, client):
    events = study()[:7]  # the header, four plans, and the first epoch of the first arm
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([], "", [], ARM_METRICS)
    runs = runs_of(client)
    assert runs["full"].data.metrics["acc"] == 96.12
    assert "ste" not in runs


def test_study_cut_off_anywhere_takes_its_report_and_leaves_no_running_run(empty_store, tmp_path):
    events = study(seeds=(0,), epochs=1)
    planned = 3  # events until both arms are
    for length in range(planned, len(events) + 1):
        store = f"sqlite:///{shutil.copy(empty_store, tmp_path / f'{length}.db')}"
        exporter = Exporter(store, events[0])
        exporter.export(events[:length])
        exporter.settle()
        exporter.log_report([{"arm": "full"}], "# Table", [], ARM_METRICS)
        runs = runs_of(open_client(store))
        assert "RUNNING" not in {run.info.status for run in runs.values()}, f"cut off after {length} events"
        assert runs["components"].data.tags["mlflow.note.content"] == "# Table"


def test_report_on_an_arm_that_nobody_planned_is_refused(uri):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    with pytest.raises(StudyError, match=r"No trial of arm fulll is in the ledger; its arms are: full, ste\."):
        exporter.log_report([], "", [], {"fulll": {"acc": 1.0}})


def test_shared_view_shows_the_arms_with_the_reports_columns_and_survives_another_export(uri, client):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([], "", [], ARM_METRICS)
    Exporter(uri, events[0]).export(events)
    experiment = client.get_experiment_by_name("components")
    view = json.loads(experiment.tags[TAG_PREFIX + "fsg-5eed5eed"])
    assert view["selectedColumns"] == [f"metrics.`{name}`" for name in ("acc", "vs_full", "vs_ste", "n")]
    assert (view["orderByKey"], view["orderByAsc"]) == ("metrics.`acc`", False)
    shown = client.search_runs([experiment.experiment_id], view["searchFilter"], order_by=["metrics.`acc` DESC"])
    assert [run.info.run_name for run in shown] == ["full", "ste"]
    assert exporter.study_url("http://127.0.0.1:5000/") == (
        f"http://127.0.0.1:5000/#/experiments/{experiment.experiment_id}/runs"
        "?viewStateShareKey=fsg-5eed5eed&workflowType=machine_learning"
    )


def test_view_of_a_sweep_shows_trials_with_metric_and_varied_parameters(uri, client):
    events = study(arms=("t0", "t1"), seeds=(0,), kind="sweep")
    for known in ([events[0], events[1], events[3]], events):  # a sweep learns of its trials as it goes
        Exporter(uri, events[0], metric="val_loss", mode="min").export(known)
    experiment = client.get_experiment_by_name("components")
    view = json.loads(experiment.tags[TAG_PREFIX + "fsg-5eed5eed"])
    assert view["selectedColumns"] == ["metrics.`val_loss`", "params.`gradient.name`"]
    assert view["orderByAsc"] is True
    assert "'seed'" in view["searchFilter"]


def test_two_studies_of_one_name_stay_apart(uri, client):
    for study_id in ("aaaa", "bbbb"):
        events = study(arms=("ste",), seeds=(0,), study_id=study_id)
        Exporter(uri, events[0]).export(events)
    assert count(client) == 6


def test_real_ledger_exports(uri, client, tmp_path):
    from fsg.record.ledger import Ledger

    ledger = Ledger(tmp_path / "ledger.jsonl")
    for event in study():
        kind = event.pop("event")
        event.pop("time")
        ledger.append(kind, **event)
    events = ledger.read()
    Exporter(uri, events[0]).export(events)
    runs = runs_of(client)
    assert len(runs) == 7
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


@pytest.mark.parametrize("start", [0, 1_900_000_000_000], ids=["older than all", "newer than all"])
@pytest.mark.parametrize("moment", [1, 2, 3])
def test_a_run_that_somebody_makes_while_the_runs_are_read_costs_no_other_run(uri, client, monkeypatch, moment, start):
    events = study()
    Exporter(uri, events[0]).export(events)
    experiment = client.get_experiment_by_name("components").experiment_id
    pages = iter(range(1, 100))
    real = type(client).search_runs

    def search_runs(self, *args, **options):
        if next(pages) == moment:
            tags = {"fsg.study_id": events[0]["study_id"], "fsg.level": "seed", "fsg.trial_key": "new"}
            client.create_run(experiment, start_time=start, tags=tags)
        return real(self, *args, **options)

    monkeypatch.setattr("fsg.tracking.store.PAGE", 2)
    monkeypatch.setattr(type(client), "search_runs", search_runs)
    Exporter(uri, events[0]).export(events)
    monkeypatch.undo()
    assert count(client) == 7 + 1
    assert count(client, ViewType.DELETED_ONLY) == 0


def test_every_twin_goes_though_the_pages_shift_as_twins_are_deleted(uri, client, monkeypatch):
    events = study()
    first, second = Exporter(uri, events[0]), Exporter(uri, events[0])
    first._store(), second._store()
    first.export(events)
    second.export(events)
    assert count(client) == 14
    monkeypatch.setattr("fsg.tracking.store.PAGE", 3)
    Exporter(uri, events[0]).export(events)
    assert (count(client), len(runs_of(client))) == (7, 7)


def test_a_report_of_a_machine_whose_clock_is_behind_replaces_the_one_before(uri, client, monkeypatch):
    events = study()
    exporter = Exporter(uri, events[0])
    exporter.export(events)
    exporter.log_report([], "", [], {"ste": {"acc": 91.0}})
    monkeypatch.setattr("fsg.tracking.exporter.time.time", lambda: 1_700_000_000.0)
    exporter.log_report([], "", [], {"ste": {"acc": 88.0}})
    assert runs_of(client)["ste"].data.metrics["acc"] == 88.0


def test_an_epoch_that_ran_again_is_shown_by_its_newer_value_whatever_the_clock_said(uri, client):
    events = study(arms=("ste",), seeds=(0,))
    *before, last = events[:5]  # up to the second epoch
    assert last["event"] == "epoch"
    again = [
        {**last, "time": last["time"] - behind, "metrics": {**last["metrics"], "val_accuracy": value}}
        for behind, value in ((0, 50.0), (3600, 40.0))
    ]
    Exporter(uri, events[0]).export([*before, last, *again])
    run = runs_of(client)["ste/seed0"]
    assert run.data.metrics["val_accuracy"] == 40.0
    assert len(client.get_metric_history(run.info.run_id, "val_accuracy")) == 4
