"""A clock that jumps, back by an hour or forward by a day, changes no result and loses nothing."""

import itertools
import time

import pytest

from fsg.record.ledger import Ledger, fold
from fsg.report.progress import Progress
from fsg.search.budget import Meter
from fsg.tracking.runs import StudyRuns

CONFIG = {"epochs": 2, "gradient": {"name": "ste"}}


def events(path, monkeypatch, jump):
    """Two trials' events, written while the clock jumps in the middle of the first."""
    clock = itertools.chain(iter([1000.0, 1001.0, 1002.0, 1003.0]), (1004.0 + jump + n for n in itertools.count()))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    ledger = Ledger(path)
    header = {"study_id": "x", "name": "s", "kind": "ablation", "spec_digest": "0", "versions": {}, "git_commit": None}
    ledger.append("study", **header)
    for key in ("a", "b"):
        ledger.append("planned", key=key, arm="ste", seed=0, config=CONFIG)
        ledger.append("started", key=key, attempt=1, node="here", device="cpu")
        for epoch in (1, 2):
            ledger.append("epoch", key=key, metrics={"epoch": epoch, "val_accuracy": 50.0 + epoch})
        ledger.append("finished", key=key, metrics={"epoch": 2, "val_accuracy": 52.0})
    ledger.close()
    monkeypatch.undo()
    return ledger.read()


@pytest.mark.parametrize("jump", [-3600.0, 86400.0])
def test_a_clock_that_jumps_changes_no_result(tmp_path, monkeypatch, jump):
    found = events(tmp_path / "ledger.jsonl", monkeypatch, jump)
    state = fold(found)
    assert [(t.status, [e["epoch"] for e in t.epochs], t.final["val_accuracy"]) for t in state.trials.values()] == [
        ("finished", [1, 2], 52.0)
    ] * 2
    runs = StudyRuns(found[0])
    for event in found:
        runs.fold(event)
    assert {run.status for run in runs.runs.values()} == {"FINISHED"}
    progress = Progress("s", 2, 2, "val_accuracy", "max")
    progress.recall(state)
    assert progress.done == 2


def test_a_clock_that_jumps_back_costs_no_negative_budget(tmp_path, monkeypatch):
    meter = Meter()
    for event in events(tmp_path / "ledger.jsonl", monkeypatch, -3600.0):
        meter.see(event)
    spent = meter.spent()
    assert spent.trials == 2
    assert 0 <= spent.wall_time <= 10
