"""A study whose disk is filled while it trains pauses, and ends with the bits of its uninterrupted twin."""

import os
import signal
import threading

import pytest
from small_disks import fill, small_disk
from tiny_studies import ABLATION, ONE_SEED, Study, outcome

pytestmark = pytest.mark.long  # test_io_faults.py fills the disk of a study in this process

EPOCHS = ABLATION["base"]["epochs"]
FULL_SECONDS = 4.0


@pytest.fixture(scope="module")
def paused(tmp_path_factory, shared_ray):
    """Half of the small ablation; after its third epoch nothing fits on its disk, for four seconds: (study, what it said)."""
    folder, said = tmp_path_factory.mktemp("paused"), []
    with small_disk(folder, 2**26), pytest.MonkeyPatch.context() as patch:
        study = Study(folder, ABLATION | ONE_SEED)
        patch.setattr("fsg.execution.disk_space._to_stderr", said.append)
        fillers = []

        def listener(event):
            if event["event"] == "epoch" and event["metrics"]["epoch"] == 3 and not fillers:
                fillers.append(fill(folder))
                threading.Timer(FULL_SECONDS, fillers[0].unlink).start()

        study.complete = study.run(listener)
        yield study, said


def test_it_ends_by_itself_with_the_bits_of_its_uninterrupted_twin(paused, finished):
    study, _ = paused
    assert study.complete
    assert {place: outcome(record) for place, record in study.trials.items()} == {
        place: outcome(record) for place, record in finished.trials.items() if place[1] == 0
    }


def test_it_says_once_that_it_waits_and_once_that_it_goes_on(paused):
    study, said = paused
    assert [sentence.split(":")[0] for sentence in said[::2]] == ["paused"] * (len(said) // 2)
    assert f"no room in {study.folder.path}" in said[0]
    assert f"there is room in {study.folder.path} again" in said[-1]


def test_a_trial_that_met_the_full_disk_lost_an_epoch_at_most_and_nobody_else_is_blamed(paused):
    study, _ = paused
    for record in study.trials.values():
        assert {retry["cause"] for retry in record.retries} <= {"disk"}
        assert len(study.of(record.key, "epoch")) <= EPOCHS + len(record.retries)


def test_nothing_half_written_is_left(paused):
    study, _ = paused
    assert not [
        path.name for path in study.folder.path.rglob("*") if {"partial", "torn", "damaged"} & set(path.name.split("."))
    ]
    assert not list(study.folder.path.glob("ledger.jsonl.*"))


def test_ctrl_c_ends_the_wait_and_leaves_every_trial_to_go_on_with(tmp_path, shared_ray, monkeypatch):
    said = []

    def say(sentence):
        said.append(sentence)
        threading.Timer(0.5, os.kill, [os.getpid(), signal.SIGINT]).start()

    monkeypatch.setattr("fsg.execution.disk_space._to_stderr", say)
    with small_disk(tmp_path, 2**26):
        study = Study(tmp_path, ABLATION | ONE_SEED | {"base": ABLATION["base"] | {"epochs": 200}})
        fillers = []

        def listener(event):
            if event["event"] == "epoch" and not fillers:
                fillers.append(fill(tmp_path))

        assert not study.run(listener, cpus_per_trial=2)
        assert [sentence.split(":")[0] for sentence in said] == ["paused"]
        assert {record.status for record in study.trials.values()} <= {"running", "planned"}
