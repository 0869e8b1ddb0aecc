"""A real MLflow server behind a real proxy that answers 500, hangs, drops, refuses: training never waits, and one trial is
one run with the same content afterwards, whatever request was the last that got through."""

import json
import time

import pytest
from fake_studies import content, runs_of, study
from fuzzing import LONGER
from test_following import wait_for, write

from fsg.errors import BackendUnavailable
from fsg.tracking import Exporter, FollowingExporter, following
from fsg.tracking.store import open_client


def named(events, name):
    """The same study under a name of its own: the server is shared."""
    return [{**events[0], "name": name, "study_id": name}, *events[1:]]


@pytest.fixture
def events(request):
    return named(study(seeds=(0,), epochs=2), f"s{abs(hash(request.node.name)) % 10**8}")


@pytest.fixture
def impatient(monkeypatch):
    """Seconds of waiting become tenths."""
    monkeypatch.setattr(following, "FIRST_WAIT", 0.1)
    monkeypatch.setattr(following, "LONGEST_WAIT", 0.4)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


FAULTS = {
    "answers 500": (lambda n, path: 500, "it answered 500"),
    "answers 503": (lambda n, path: 503, "it answered 503"),
    "hangs": (lambda n, path: "hang", "no answer within 2 s"),
    "drops": (lambda n, path: "drop before", "the connection broke before the whole answer had come"),
    "drops in the middle of a batch": (
        lambda n, path: "drop after" if "log-batch" in path else None,
        "the connection broke before the whole answer had come",
    ),
    "cuts its answers": (lambda n, path: "half", "the connection broke before the whole answer had come"),
    "refuses the login": (lambda n, path: 401, "the login was refused (401): set MLFLOW_TRACKING_USERNAME"),
    "forbids": (lambda n, path: 403, "it answered 403"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_named_without_the_password_and_everything_is_there_afterwards(
    name, proxy, server, events, tmp_path, impatient, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "planted-secret")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    fault, said = FAULTS[name]
    proxy.again(fault)
    ledger = tmp_path / "ledger.jsonl"
    uri = proxy.address.replace("://", "://me:planted-secret@")
    began = time.monotonic()
    follower = FollowingExporter(ledger, uri, interval=0.05)
    write(ledger, events)
    assert time.monotonic() - began < 0.3, "the caller waited"
    wait_for(lambda: "away since" in follower.status, 20)
    assert said in follower.status
    assert "planted-secret" not in follower.status
    assert follower.status.startswith(f"MLflow: {len(events)} events behind")
    proxy.again()
    assert follower.close(30) is None
    runs = runs_of(open_client(server), events[0]["name"])
    assert sorted(runs) == sorted([events[0]["name"], "full", "full/seed0", "ste", "ste/seed0"])
    assert {run.info.status for run in runs.values()} == {"FINISHED"}


def test_refused_connection_is_named_and_a_server_that_comes_back_gets_everything(
    proxy, server, events, tmp_path, impatient
):
    proxy.refuse()
    ledger = tmp_path / "ledger.jsonl"
    write(ledger, events)
    follower = FollowingExporter(ledger, proxy.address, interval=0.05)
    wait_for(lambda: "connection refused" in follower.status)
    proxy.listen()
    wait_for(lambda: follower.status == "MLflow: up to date", 20)
    assert follower.close(30) is None


def test_slow_server_falls_behind_and_catches_up(proxy, server, events, tmp_path):
    proxy.again(lambda n, path: 0.3)
    ledger = tmp_path / "ledger.jsonl"
    follower = FollowingExporter(ledger, proxy.address, interval=0.05)
    write(ledger, events)
    wait_for(lambda: "events behind, catching up" in follower.status, 60)
    assert follower.close(120) is None
    assert len(runs_of(open_client(server), events[0]["name"])) == 5


def test_close_does_not_wait_for_a_server_that_was_away(proxy, events, tmp_path, impatient, monkeypatch):
    monkeypatch.setattr(following, "LAST_TRY", 1.0)
    proxy.again(lambda n, path: "hang")
    ledger = tmp_path / "ledger.jsonl"
    write(ledger, events)
    follower = FollowingExporter(ledger, proxy.address, interval=0.05)
    wait_for(lambda: "no answer" in follower.status, 20)
    began = time.monotonic()
    told = follower.close()
    assert time.monotonic() - began < 2
    assert f"is {len(events)} events behind: no answer within 2 s" in told
    assert "fsg sync STUDY" in told


def test_close_does_not_wait_for_a_server_that_is_found_away_only_then(proxy, events, tmp_path, impatient, monkeypatch):
    """A study may end before MLflow was ever asked; an hour is what close() would be given."""
    monkeypatch.setattr(following, "LAST_TRY", 1.0)
    proxy.again(lambda n, path: 500)
    ledger = tmp_path / "ledger.jsonl"
    follower = FollowingExporter(ledger, proxy.address, interval=3600)
    write(ledger, events)
    told = follower.close(timeout=3600)
    assert f"is {len(events)} events behind" in told


def test_an_outage_holds_one_piece_of_the_ledger_in_memory(proxy, server, events, tmp_path, impatient, monkeypatch):
    """The ledger on disk is the queue: 5,000 epochs behind, no more than one piece of them is held as points."""
    monkeypatch.setattr(following, "PIECE", 50)
    monkeypatch.setattr(following, "LAST_TRY", 60.0)  # 100 pieces take a busy machine more than the usual ten seconds
    proxy.again(lambda n, path: 500 if "log-batch" in path else None)
    ledger = tmp_path / "ledger.jsonl"
    *begun, _ = events
    write(ledger, begun[:4])
    follower = FollowingExporter(ledger, proxy.address, interval=0.02)
    wait_for(lambda: "away since" in follower.status)
    key = begun[1]["key"]
    epochs = [{"event": "epoch", "key": key, "time": begun[0]["time"] + n, "metrics": {"epoch": n, "val_loss": 1 / n}}
              for n in range(1, 5_001)]  # fmt: skip
    write(ledger, epochs)
    wait_for(lambda: follower.status.startswith(f"MLflow: {4 + len(epochs)} events behind"))
    tries = len(proxy.seen)
    wait_for(lambda: len(proxy.seen) > tries + 3)
    assert sum(len(run.points) for run in follower.exporter._study.runs.values()) <= 50 * 2
    proxy.again()
    assert follower.close(60) is None
    client = open_client(server)
    run = runs_of(client, events[0]["name"])["full/seed0"]
    assert [p.step for p in client.get_metric_history(run.info.run_id, "val_loss")] == list(range(1, 5_001))


def report(exporter):
    exporter.log_report([{"arm": "ste", "mean": 1.5}], "# Table", [], {"ste": {"acc": 1.5}})


@pytest.mark.parametrize("order", [0, 1] if LONGER > 1 else [0])
def test_killed_between_any_two_requests_and_synchronised_again_the_copy_is_the_same(order, proxy, server, impatient):
    """For every n: the exporter dies at its n-th request, before or after the server acted, and another does it again."""
    client = open_client(server)
    events = study(arms=("full", "ste") if LONGER > 1 else ("ste",), seeds=(0,), epochs=2)
    twin = named(events, f"killed{order}-twin")
    proxy.again()
    exporter = Exporter(proxy.address, twin[0])
    exporter.export(twin)
    report(exporter)
    expected, requests = plain(content(client, twin[0]["name"]), twin[0]["name"]), len(proxy.seen)
    for last in range(1, requests + 1):
        fault = ("drop before", "drop after")[(last + order) % 2]
        name = f"killed{order}-{last}"
        mine = named(events, name)
        proxy.again(lambda n, path, last=last, fault=fault: fault if n >= last else None)
        dying = Exporter(proxy.address, mine[0])
        with pytest.raises(BackendUnavailable):
            dying.export(mine)
            report(dying)
        proxy.again()
        second = Exporter(proxy.address, mine[0])
        second.export(mine)
        second.settle()
        report(second)
        assert plain(content(client, name), name) == expected, f"died at request {last}: {proxy.seen}"


def plain(seen, name):
    """A study's content without its name, and without the time at which its report was stored."""

    def clean(run):
        status, start, end, tags, params, history = run
        history = {m: [(s, v) if m == "acc" else (s, t, v) for s, t, v in points] for m, points in history.items()}
        return [status, start, end, tags, params, history]

    return json.loads(json.dumps({run: clean(said) for run, said in seen.items()}).replace(name, "NAME"))
