"""The thread that follows a ledger: beside a store that answers, one that is away, and one that comes back."""

import time

import pytest
from fake_studies import lines_of, runs_of, study

from fsg.tracking import FollowingExporter, following


def write(path, events):
    with path.open("a") as file:
        file.write(lines_of(events))


def wait_for(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "ledger.jsonl"


def test_ledger_that_grows_is_in_mlflow_when_closed(uri, client, ledger):
    events = study()
    follower = FollowingExporter(ledger, uri, interval=0.05)
    assert follower.status == "MLflow: up to date"
    for start in range(0, len(events), 7):
        write(ledger, events[start : start + 7])
        time.sleep(0.03)
    assert follower.close(30) is None
    assert follower.status == "MLflow: up to date"
    assert {run.info.status for run in runs_of(client).values()} == {"FINISHED"}
    follower.exporter.log_report([], "", [], {"ste": {"acc": 1.0}})


def test_one_that_waits_touches_no_store_before_it_begins(ledger, monkeypatch):
    exported = []

    class Store:
        def __init__(self, *about):
            pass

        def export(self, events):
            exported.extend(events)

        def settle(self):
            pass

    monkeypatch.setattr(following, "Exporter", Store)
    write(ledger, study())
    follower = FollowingExporter(ledger, "sqlite:///nowhere.db", interval=0.02, waits=True)
    wait_for(lambda: follower._behind)
    time.sleep(0.2)
    assert follower.status == "MLflow: from the first epoch on" and follower.exporter is None
    follower.begin()
    wait_for(lambda: exported)
    assert follower.close(30) is None and follower.status == "MLflow: up to date"
    assert len(exported) == len(study())


def test_one_that_waits_writes_all_of_it_when_closed(uri, client, ledger):
    write(ledger, study())
    assert FollowingExporter(ledger, uri, waits=True).close(30) is None
    assert {run.info.status for run in runs_of(client).values()} == {"FINISHED"}


def test_close_of_an_interrupted_study_leaves_no_running_run(uri, client, ledger):
    write(ledger, study()[:9])
    assert FollowingExporter(ledger, uri, interval=0.05).close(30) is None
    assert {run.info.status for run in runs_of(client).values()} == {"KILLED"}


def test_server_away_is_told_without_its_password_and_costs_the_caller_nothing(ledger):
    events = study()
    write(ledger, events)
    before = time.monotonic()
    follower = FollowingExporter(ledger, "http://me:secret@127.0.0.1:9", interval=0.05)
    assert time.monotonic() - before < 0.2
    wait_for(lambda: "away since" in follower.status)
    assert follower.status.startswith(f"MLflow: {len(events)} events behind, away since ")
    told = follower.close(2)
    assert f"is {len(events)} events behind" in told and "fsg sync" in told
    assert "secret" not in told + follower.status
    assert time.monotonic() - before < 10


def test_server_that_comes_back_gets_everything(uri, client, ledger, monkeypatch):
    from fsg.tracking import exporter

    def away(_):
        raise ConnectionError("refused")

    with monkeypatch.context() as patch:
        patch.setattr(exporter, "open_client", away)
        write(ledger, study())
        follower = FollowingExporter(ledger, uri, interval=0.05)
        wait_for(lambda: "away since" in follower.status)
    assert follower.close(30) is None
    assert len(runs_of(client)) == 7


def test_run_deleted_under_the_follower_is_made_again_whole(uri, client, ledger):
    events = study(arms=("ste",), seeds=(0,), epochs=4)
    write(ledger, events[:4])
    follower = FollowingExporter(ledger, uri, interval=0.05)
    wait_for(lambda: follower.exporter is not None and follower.status.endswith("date"))
    client.delete_run(runs_of(client)["ste/seed0"].info.run_id)
    write(ledger, events[4:])
    assert follower.close(30) is None
    history = client.get_metric_history(runs_of(client)["ste/seed0"].info.run_id, "val_loss")
    assert [point.step for point in history] == [1, 2, 3, 4]
