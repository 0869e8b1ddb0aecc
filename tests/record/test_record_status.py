"""Where a study stands: every number of it comes from the folder, with a driver and without one."""

import json

import pytest

from fsg.cli.status import ago, lines
from fsg.files import as_size
from fsg.record.driver_lock import StudyLock
from fsg.record.folder import StudyFolder
from fsg.record.ledger_header import begin
from fsg.record.status import status_of


@pytest.fixture
def folder(ablation, tmp_path):
    """A study of which one trial finished, one runs after an interruption, one failed, and one waits."""
    folder = StudyFolder.create_or_open(ablation, tmp_path)
    ledger = folder.ledger()
    begin(ledger, ablation)
    for seed, key in enumerate("abcd"):
        ledger.append("planned", key=key, arm="full", seed=seed, config={})
    for key in "abc":
        ledger.append("started", key=key, attempt=1, node="n", device="cpu")
        ledger.append("epoch", key=key, metrics={"epoch": 1, "val_accuracy": 50.0})
    ledger.append("finished", key="a", metrics={"epoch": 1, "val_accuracy": 50.0})
    ledger.append("retried", key="b", cause="lost", epoch=1, reason="lost: its node went away.")
    ledger.append("started", key="b", attempt=2, node="n", device="cpu")
    ledger.append("failed", key="c", reason="diverged: epoch 2")
    (folder.checkpoints / "a").mkdir()
    (folder.checkpoints / "a" / "last.pt.damaged").write_bytes(b"x" * 2_000_000)
    return folder


def test_without_a_driver_what_ran_is_interrupted(folder):
    found = status_of(folder)
    assert found["trials"] == {"planned": 1, "pruned": 0, "failed": 1, "finished": 1, "interrupted": 1, "paused": 0}
    assert (found["epochs"], found["retried"], found["retries"]) == (3, 1, {"lost": 1})
    assert [(r["key"], r["reason"]) for r in found["reasons"]] == [("c", "diverged: epoch 2")]
    assert found["last_event"]["event"] == "failed" and found["driver"] is None
    assert found["set_aside"] == ["checkpoints/a/last.pt.damaged"]
    assert found["disk"]["checkpoints"] == 2_000_000 < found["disk"]["total"]
    json.dumps(found)
    text = lines(found, found["last_event"]["time"] + 200)
    assert text[0] == "small: 4 trials: 1 planned, 1 failed, 1 finished, 1 interrupted"
    assert text[1] == "epochs: 3 recorded; last event: failed, 3 min ago"
    assert text[2] == f"driver: none; go on with: fsg resume {folder.path}", "not in the default storage: by its path"
    assert "retried: 1 (1 lost)" in text
    assert "  failed full/2 c: diverged: epoch 2" in text
    assert text[-1] == "disk: 2 MB (checkpoints 2 MB)"


def test_a_driver_that_lives_is_named_with_its_copy_in_mlflow(folder):
    lock = StudyLock(folder.path)
    lock.notes = lambda: {"mlflow": "MLflow: 12 events behind"}
    with lock:
        found = status_of(folder)
    assert found["trials"]["running"] == 1 and found["driver"]["alive"]
    assert "MLflow: 12 events behind" in lines(found, 0)
    assert any(line.startswith("driver: process ") for line in lines(found, 0))


def test_a_study_of_which_nothing_ran_says_so(ablation, tmp_path):
    found = status_of(StudyFolder.create_or_open(ablation, tmp_path))
    assert lines(found, 0)[:2] == ["small: no trial planned yet", "epochs: 0 recorded"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-1, "0 s ago"), (119, "119 s ago"), (121, "2 min ago"), (1e6, "12 d ago")]
)
def test_time_is_told_in_the_unit_that_fits(seconds, text):
    assert ago(seconds) == text


def test_sizes_have_three_digits():
    assert [as_size(n) for n in (0, 999, 12_345, 2.5e9, 3e12)] == ["0 B", "999 B", "12.3 kB", "2.5 GB", "3 TB"]
