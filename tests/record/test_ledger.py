"""Proof of fsg/record/ledger.py: what was acknowledged is there, and damage is never read as a value."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsg.config import TrialConfig
from fsg.errors import StudyError
from fsg.formats import FIRST, FORMAT
from fsg.identity import completed
from fsg.record import ledger as ledger_module
from fsg.record.ledger import FIELDS, Ledger, StudyState, TrialRecord, fold

HEADER = {
    "format": FORMAT,
    "study_id": "s1",
    "name": "small",
    "kind": "ablation",
    "spec_digest": "abc",
    "versions": {"fsg": "0.1.0", "ray": None},
    "git_commit": None,
}


def plan_one(ledger, key="k1", arm="full", seed=0):
    ledger.append("planned", key=key, arm=arm, seed=seed, config={"epochs": 2, "optimizer": {"lr": 1e-05}})


def run_one(ledger, key="k1", epochs=2):
    plan_one(ledger, key)
    ledger.append("started", key=key, attempt=1, node="n", device="cpu")
    for epoch in range(1, epochs + 1):
        ledger.append("epoch", key=key, metrics={"epoch": epoch, "train_loss": 1 / epoch, "val_accuracy": 90.0})
        ledger.append("checkpoint", key=key, epoch=epoch, path=f"checkpoints/{key}/{epoch}")
    ledger.append("finished", key=key, metrics={"epoch": epochs, "val_accuracy": 90.0, "test_accuracy": 89.5})


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    yield ledger
    ledger.close()


def state(ledger):
    return fold(ledger.read())


# Writing and reading --------------------------------------------------------------------------------------------------
def test_a_ledger_that_is_not_there_has_no_events(tmp_path):
    assert Ledger(tmp_path / "nowhere" / "ledger.jsonl").read() == []
    assert fold([]) == StudyState()


def test_events_are_read_as_they_were_appended(ledger):
    before = time.time()
    appended = [ledger.append("study", **HEADER)]
    run_one(ledger)
    events = ledger.read()
    assert events[0] == appended[0]
    assert [e["event"] for e in events] == ["study", "planned", "started", *["epoch", "checkpoint"] * 2, "finished"]
    assert all(before <= e["time"] <= time.time() for e in events)
    assert {key: events[0][key] for key in HEADER} == HEADER


def test_every_line_is_one_json_object_with_a_crc_of_the_rest(ledger):
    run_one(ledger)
    for line in ledger.path.read_text().splitlines():
        record = json.loads(line)
        crc = record.pop("crc")
        rest = json.dumps(record, sort_keys=True, separators=(",", ":"))
        assert f"{zlib.crc32(rest.encode()):08x}" == crc


def test_an_appended_event_is_on_disk_when_append_returns(ledger, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_size))
    ledger.append("study", **HEADER)
    assert synced[-1] == ledger.path.stat().st_size
    count = len(synced)
    plan_one(ledger)
    assert len(synced) == count + 1
    assert synced[-1] == ledger.path.stat().st_size


def test_the_name_of_a_new_ledger_is_on_disk_too(ledger, monkeypatch):
    folders = []
    monkeypatch.setattr(ledger_module, "sync_folder", folders.append)
    ledger.append("study", **HEADER)
    plan_one(ledger)
    assert folders == [ledger.path.parent]


def test_appending_is_fast_besides_the_disk(ledger, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    plan_one(ledger)
    metrics = {f"metric_{i}": i / 7 for i in range(15)}
    times = []
    for epoch in range(1, 201):
        start = time.perf_counter()
        ledger.append("epoch", key="k1", metrics={"epoch": epoch, **metrics})
        times.append(time.perf_counter() - start)
    assert sorted(times)[100] < 1e-3


def test_a_metric_that_is_no_finite_number_is_null(ledger):
    plan_one(ledger)
    ledger.append("epoch", key="k1", metrics={"epoch": 1, "gain": float("nan"), "train_loss": float("inf"), "lr": 0.1})
    assert state(ledger).trials["k1"].epochs == [{"epoch": 1, "gain": None, "train_loss": None, "lr": 0.1}]


@pytest.mark.parametrize(
    ("event", "fields", "message"),
    [
        ("halted", {"key": "k"}, "\"event\" is 'halted', expected one of study, planned, started"),
        ("failed", {"key": "k"}, '"failed" has key, expected key, reason'),
        ("failed", {"key": "k", "reason": "r", "more": 1}, '"failed" has key, more, reason, expected key, reason'),
        ("epoch", {"key": "k", "metrics": {"val_loss": 1.0}}, 'needs its number in metrics["epoch"]'),
        ("epoch", {"key": "k", "metrics": {"epoch": 1.0}}, 'needs its number in metrics["epoch"]'),
        ("failed", {"key": "k", "reason": {1, 2}}, 'cannot record "failed": Object of type set is not JSON'),
        ("failed", {"key": "k", "reason": float("nan")}, 'cannot record "failed": Out of range float'),
    ],
)
def test_what_is_no_event_is_refused_and_not_written(ledger, event, fields, message):
    with pytest.raises(StudyError) as caught:
        ledger.append(event, **fields)
    assert message in str(caught.value)
    assert not ledger.path.exists()


def test_two_threads_never_mix_their_lines(ledger, monkeypatch):
    write = os.write  # in pieces: only a lock keeps a line whole
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(os, "write", lambda descriptor, data: (write(descriptor, data[:100]), time.sleep(0))[0])
    for thread in range(4):
        plan_one(ledger, f"k{thread}")

    def work(key):
        for epoch in range(1, 101):
            ledger.append("epoch", key=key, metrics={"epoch": epoch, "text": "x" * 200})

    threads = [threading.Thread(target=work, args=(f"k{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(trial.epochs) for trial in state(ledger).trials.values()] == [100] * 4


def test_a_line_written_in_pieces_is_written_whole(ledger, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    run_one(ledger)
    assert state(ledger).trials["k1"].status == "finished"


def test_a_full_disk_is_an_error_and_the_ledger_goes_on_after_it(ledger, monkeypatch):
    plan_one(ledger)
    write = os.write

    def half_then_full(descriptor, data):
        if len(data) > 20:
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StudyError, match=r"No space left on device.*Make space"):
        patch.setattr(os, "write", lambda d, data: half_then_full(d, data[:21] if len(data) > 21 else b""))
        ledger.append("failed", key="k1", reason="r")
    assert len(ledger.path.read_bytes().splitlines()) == 1, "half a line stayed"
    ledger.append("failed", key="k1", reason="again")
    assert state(ledger).trials["k1"].reason == "again"
    assert not list(ledger.path.parent.glob("*.torn-*"))


# Torn and damaged lines -----------------------------------------------------------------------------------------------
def test_a_torn_last_line_is_left_out_and_reading_changes_nothing(ledger):
    run_one(ledger)
    whole = ledger.path.read_bytes()
    ledger.path.write_bytes(whole[:-5])
    assert [e["event"] for e in ledger.read()][-1] == "checkpoint"
    assert ledger.path.read_bytes() == whole[:-5]
    assert [file.name for file in ledger.path.parent.iterdir()] == ["ledger.jsonl"]


def test_a_torn_last_line_is_moved_aside_by_the_next_append(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for number in (1, 2):
        first = Ledger(path)
        plan_one(first, f"k{number}")
        first.close()
        with path.open("ab") as file:
            file.write(b'{"cut off %d' % number)
    Ledger(path).append("failed", key="k1", reason="r")
    assert [e["event"] for e in Ledger(path).read()] == ["planned", "planned", "failed"]
    assert (tmp_path / "ledger.jsonl.torn-1").read_bytes() == b'{"cut off 1'
    assert (tmp_path / "ledger.jsonl.torn-2").read_bytes() == b'{"cut off 2'


def test_a_ledger_of_nothing_but_a_torn_line_begins_again(ledger):
    ledger.path.write_bytes(b'{"crc"')
    plan_one(ledger)
    assert len(ledger.read()) == 1
    assert ledger.path.with_name("ledger.jsonl.torn-1").read_bytes() == b'{"crc"'


def test_a_damaged_line_is_refused_with_its_number_and_what_to_do(ledger):
    run_one(ledger)
    lines = ledger.path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b'"cpu"', b'"gpu"')
    ledger.path.write_bytes(b"\n".join(lines))
    with pytest.raises(StudyError) as caught:
        ledger.read()
    assert str(caught.value).startswith(
        f"{ledger.path}:2: damaged line: it does not match its crc. Nothing was changed."
    )
    assert "fsg resume sets the line aside" in str(caught.value)


@pytest.mark.parametrize(
    "line", [b"", b"[]", b"3", b"{}", b'{"crc":3}', b'{"crc":null,"event":"study"}', b"\xff", b"[" * 9000]
)
def test_a_line_that_is_no_event_is_refused(ledger, line):
    plan_one(ledger)
    ledger.path.write_bytes(ledger.path.read_bytes() + line + b"\n")
    with pytest.raises(StudyError, match=r"ledger\.jsonl:2: damaged line"):
        ledger.read()


def test_a_ledger_that_is_a_folder_is_refused(tmp_path):
    with pytest.raises(StudyError, match="cannot be read"):
        Ledger(tmp_path).read()
    with pytest.raises(StudyError, match="cannot be written"):
        plan_one(Ledger(tmp_path))


POSITIONS = st.integers(0, 10**6)
VALUES = (
    st.none() | st.booleans() | st.integers(-9, 10**6) | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)


@st.composite
def ledgers(draw):
    """The bytes of a small valid ledger, and its events."""
    keys = draw(st.lists(st.sampled_from(["a1", "b2", "c3"]), min_size=1, unique=True))
    events = [("study", HEADER)]
    events += [
        ("planned", {"key": k, "arm": draw(st.text(max_size=5)), "seed": 0, "config": {"lr": draw(VALUES)}})
        for k in keys
    ]
    for _ in range(draw(st.integers(0, 5))):
        name = draw(st.sampled_from(["started", "epoch", "checkpoint", "pruned", "failed", "finished"]))
        fields = {field: draw(VALUES) for field in sorted(FIELDS[name])} | {"key": draw(st.sampled_from(keys))}
        if "metrics" in fields:
            fields["metrics"] = {"epoch": draw(st.integers(1, 3)), "val_loss": draw(VALUES)}
        if "attempt" in fields:
            fields["attempt"] = draw(st.integers(1, 3))
        events.append((name, fields))
    return events


def rewritten(folder, events):
    path = folder / "ledger.jsonl"
    path.unlink(missing_ok=True)
    ledger = Ledger(path)
    with patch.object(ledger_module.time, "time", lambda: 1.8e9):
        for name, fields in events:
            ledger.append(name, **fields)
    ledger.close()
    return path, path.read_bytes()


@given(events=ledgers(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_prefix_is_the_state_at_some_moment(tmp_path_factory, events, data):
    path, whole = rewritten(tmp_path_factory.getbasetemp(), events)
    everything = Ledger(path).read()
    size = data.draw(POSITIONS) % (len(whole) + 1)
    path.write_bytes(whole[:size])
    found = Ledger(path).read()
    assert found == everything[: len(found)]
    assert len(found) == whole[:size].count(b"\n")
    fold(found)


@given(events=ledgers(), data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_byte_is_refused_or_cuts_off_the_end_and_never_changes_a_value(tmp_path_factory, events, data):
    path, whole = rewritten(tmp_path_factory.getbasetemp(), events)
    everything = Ledger(path).read()
    at = data.draw(POSITIONS) % len(whole)
    damaged = bytearray(whole)
    damaged[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(damaged)
    try:
        found = Ledger(path).read()
        fold(found)
    except StudyError as error:
        assert str(path) in str(error)
    else:
        assert found == everything[: len(found)]
        assert len(found) >= len(everything) - 1


def test_every_single_flipped_bit_of_a_ledger_is_noticed(ledger):
    plan_one(ledger)
    ledger.append("finished", key="k1", metrics={"epoch": 1, "val_accuracy": 1e-05})
    whole = ledger.path.read_bytes()
    for at in range(len(whole) - 1):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            ledger.path.write_bytes(damaged)
            with pytest.raises(StudyError, match="damaged line"):
                ledger.read()


KILLED_WRITER = """
import sys
from fsg.record.ledger import Ledger
ledger = Ledger(sys.argv[1])
ledger.append("planned", key="k", arm="a", seed=0, config={})
epoch = 0
while True:
    epoch += 1
    ledger.append("epoch", key="k", metrics={"epoch": epoch, "text": "x" * 4000})
    print(epoch, flush=True)
"""


@pytest.mark.parametrize("wait", [0.0, 0.013, 0.05])
def test_a_killed_writer_loses_nothing_it_acknowledged(tmp_path, wait):
    path = tmp_path / "ledger.jsonl"
    process = subprocess.Popen([sys.executable, "-c", KILLED_WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "1\n"
    time.sleep(wait)
    process.send_signal(signal.SIGKILL)
    acknowledged = [1, *(int(line) for line in process.stdout.read().splitlines())]
    process.wait()
    process.stdout.close()
    plan_one(Ledger(path), "another")
    epochs = [entry["epoch"] for entry in state(Ledger(path)).trials["k"].epochs]
    assert epochs == list(range(1, len(epochs) + 1))
    assert len(epochs) >= acknowledged[-1]


# What the events add up to --------------------------------------------------------------------------------------------
def test_the_life_of_a_trial(ledger):
    ledger.append("study", **HEADER)
    plan_one(ledger)
    whole = completed({"epochs": 2, "optimizer": {"lr": 1e-05}}, TrialConfig, FIRST)
    assert state(ledger).trials["k1"] == TrialRecord("k1", "full", 0, whole)
    started = ledger.append("started", key="k1", attempt=1, node="n", device="cpu")
    ledger.append("epoch", key="k1", metrics={"epoch": 1, "val_accuracy": 80.0})
    ledger.append("checkpoint", key="k1", epoch=1, path="checkpoints/k1/1")
    trial = state(ledger).trials["k1"]
    assert (trial.status, trial.attempts, trial.started, trial.ended) == ("running", 1, started["time"], None)
    assert trial.checkpoint == {"epoch": 1, "path": "checkpoints/k1/1"}
    ended = ledger.append("finished", key="k1", metrics={"epoch": 1, "test_accuracy": 79.0})
    trial = state(ledger).trials["k1"]
    assert (trial.status, trial.final, trial.ended) == ("finished", {"epoch": 1, "test_accuracy": 79.0}, ended["time"])
    assert trial.epochs == [{"epoch": 1, "val_accuracy": 80.0}]
    assert state(ledger).header["study_id"] == "s1"


def test_an_epoch_run_again_counts_once_as_last_written(ledger):
    plan_one(ledger)
    for epoch, loss in [(2, 2.0), (1, 3.0), (3, 1.0), (2, 2.5)]:
        ledger.append("epoch", key="k1", metrics={"epoch": epoch, "train_loss": loss})
    epochs = state(ledger).trials["k1"].epochs
    assert [(e["epoch"], e["train_loss"]) for e in epochs] == [(1, 3.0), (2, 2.5), (3, 1.0)]


def test_the_first_epoch_of_every_attempt_is_known(ledger):
    """The second attempt goes on from the checkpoint of epoch 1 and runs epoch 2 again; a third has begun."""
    plan_one(ledger)
    for attempt, numbers in ((1, (1, 2)), (2, (2, 3)), (3, ())):
        ledger.append("started", key="k1", attempt=attempt, node="n", device="cpu")
        for number in numbers:
            ledger.append("epoch", key="k1", metrics={"epoch": number})
    (record,) = state(ledger).trials.values()
    assert record.first_epochs == {1, 2, 0}, "0: that of the third is to come"
    ledger.append("epoch", key="k1", metrics={"epoch": 4})
    ledger.append("started", key="k1", attempt=4, node="n", device="cpu")
    ledger.append("epoch", key="k1", metrics={"epoch": 3})
    ledger.append("epoch", key="k1", metrics={"epoch": 4})
    (record,) = state(ledger).trials.values()
    assert record.first_epochs == {1, 2, 3}, "epoch 4 was run again, and not first"


@pytest.mark.parametrize(
    ("event", "fields"), [("failed", {"reason": "out of memory"}), ("pruned", {"epoch": 3, "reason": "asha"})]
)
def test_a_trial_that_ended_early_says_why_and_can_start_again(ledger, event, fields):
    plan_one(ledger)
    first = ledger.append("started", key="k1", attempt=1, node="n", device="cpu")
    ledger.append(event, key="k1", **fields)
    trial = state(ledger).trials["k1"]
    assert (trial.status, trial.reason) == (event, fields["reason"])
    assert trial.ended is not None
    ledger.append("started", key="k1", attempt=2, node="n", device="cpu")
    trial = state(ledger).trials["k1"]
    assert (trial.status, trial.reason, trial.ended, trial.attempts) == ("running", None, None, 2)
    assert trial.started == first["time"]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ("planned", {"arm": "full", "seed": 0, "config": {}}),
        ("started", {"attempt": 2, "node": "n", "device": "cpu"}),
        ("epoch", {"metrics": {"epoch": 1, "val_accuracy": 0.0}}),
        ("checkpoint", {"epoch": 9, "path": "x"}),
        ("failed", {"reason": "late"}),
        ("pruned", {"epoch": 1, "reason": "late"}),
        ("finished", {"metrics": {"epoch": 2, "val_accuracy": 0.0}}),
    ],
)
def test_a_finished_trial_stays_as_it_finished(ledger, event, fields):
    run_one(ledger)
    before = state(ledger)
    ledger.append(event, key="k1", **fields)
    assert state(ledger) == before


def test_trials_are_in_the_order_they_were_planned(ledger):
    for key in ("b", "a", "c", "a"):
        plan_one(ledger, key)
    assert list(state(ledger).trials) == ["b", "a", "c"]


def test_a_resumed_study_keeps_its_first_header(ledger):
    ledger.append("study", **HEADER)
    ledger.append("study", **HEADER | {"versions": {"fsg": "0.2.0"}})
    assert state(ledger).header["versions"]["fsg"] == "0.1.0"


def test_two_studies_in_one_ledger_are_refused(ledger):
    ledger.append("study", **HEADER)
    ledger.append("study", **HEADER | {"study_id": "s2"})
    with pytest.raises(StudyError, match="holds two studies, s1 and s2"):
        state(ledger)


def test_an_event_of_a_trial_that_was_never_planned_is_refused(ledger):
    plan_one(ledger)
    ledger.append("failed", key="k9", reason="r")
    with pytest.raises(StudyError, match='"failed" of trial k9, which was never planned'):
        state(ledger)


def test_a_large_ledger_is_read_quickly(ledger, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    plan_one(ledger)
    metrics = {f"metric_{i}": i / 7 for i in range(14)}
    for epoch in range(1, 5001):
        ledger.append("epoch", key="k1", metrics={"epoch": epoch, **metrics})
    start = time.perf_counter()
    assert len(state(ledger).trials["k1"].epochs) == 5000
    assert time.perf_counter() - start < 1.0


def test_events_that_belong_together_are_written_at_once_and_heard_in_order(tmp_path, monkeypatch):
    syncs, heard = [], []
    ledger = Ledger(tmp_path / "ledger.jsonl", listener=heard.append)
    ledger.append("stopped", reason="first")
    monkeypatch.setattr("fsg.record.ledger.os.fsync", syncs.append)
    events = [("epoch", {"key": "a", "metrics": {"epoch": 1}}), ("checkpoint", {"key": "a", "epoch": 1, "path": "p"})]
    assert ledger.append_all(events) == heard[1:] == ledger.read()[1:]
    assert [event["event"] for event in heard] == ["stopped", "epoch", "checkpoint"]
    assert len(syncs) == 1


def test_of_events_that_belong_together_none_is_written_if_one_is_wrong(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    with pytest.raises(StudyError, match="cannot record"):
        ledger.append_all([("stopped", {"reason": "fine"}), ("epoch", {"key": "a", "metrics": {}})])
    assert ledger.read() == []


def test_a_secret_in_a_reason_does_not_reach_the_disk(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("failed", key="a", reason="crashed: ValueError: cannot open http://me:hunter22@host with hunter22")
    assert b"hunter22" not in ledger.path.read_bytes()
    assert ledger.read()[0]["reason"].startswith("crashed: ValueError: cannot open http://***@host")
