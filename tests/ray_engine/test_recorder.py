"""The recorder writes before anyone decides. A fake scheduler, no Ray running."""

import errno
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError
from ray.tune.schedulers import TrialScheduler

from fsg.config import parse_trial
from fsg.errors import StudyError
from fsg.execution.devices import OF_CLUSTER
from fsg.execution.recording import Recording
from fsg.execution.reports import ASSIGNMENT, EpochReport, TrialAssignment, TrialEnd, as_result, finite_or_none
from fsg.ray_engine.recorder import Recorder, StartRecorder
from fsg.record.ledger import Ledger, fold

KEY = "0123456789ab"


class Scheduler(TrialScheduler):
    """Notes what stands in the ledger whenever it is told something."""

    def __init__(self, path, decision):
        self.path, self.decision, self.seen = path, decision, []

    def look(self, about):
        events = Ledger(self.path).read()
        self.seen.append((about, [e["event"] for e in events if e["event"] not in ("study", "planned")]))

    def on_trial_result(self, controller, trial, result):
        self.look("result")
        return self.decision

    def on_trial_complete(self, controller, trial, result):
        self.look("complete")

    def on_trial_error(self, controller, trial):
        self.look("error")


@pytest.fixture
def recorder(tmp_path):
    def make(decision=TrialScheduler.CONTINUE):
        ledger = Ledger(tmp_path / "ledger.jsonl")
        ledger.append("planned", key=KEY, arm="sweep", seed=0, config={})
        return Recorder(Recording(ledger), Scheduler(ledger.path, decision))

    return make


def trial(error_file=None):
    config = {ASSIGNMENT: TrialAssignment(KEY, parse_trial({}), Path("last.pt"), {})}
    return SimpleNamespace(config=config, error_file=error_file, get_ray_actor_ip=lambda: "10.0.0.7")


def result(epoch, metrics=None, **fields):
    whole = {"epoch": epoch, "val_accuracy": 50.0} | (metrics or {})
    return as_result(EpochReport(epoch, whole, **({"layers": {}, "checkpoint": Path("last.pt")} | fields)))


def record_of(recorder):
    return fold(recorder.recording.ledger.read()).trials[KEY]


def test_an_epoch_is_on_disk_before_the_scheduler_decides(recorder):
    door = recorder()
    assert door.on_trial_result(None, trial(), result(1)) == TrialScheduler.CONTINUE
    assert door.inner.seen == [("result", ["epoch", "checkpoint"])]
    assert record_of(door).epochs == [{"epoch": 1, "val_accuracy": 50.0}]


def test_layers_are_recorded_where_there_are_any(recorder):
    door = recorder()
    door.on_trial_result(None, trial(), result(1, layers={"conv": {"gain": 1.0}}))
    assert door.inner.seen == [("result", ["epoch", "layers", "checkpoint"])]
    assert door.recording.ledger.read()[2]["layers"] == {"conv": {"gain": 1.0}}


def test_a_trial_corrects_what_the_ledger_says_it_computes_on(recorder):
    door = recorder()
    door.recording.device = OF_CLUSTER["cuda"]
    StartRecorder(door.recording).on_trial_start(0, [], trial())
    door.on_trial_result(None, trial(), result(1, device="NVIDIA H200"))
    assert record_of(door).device == "NVIDIA H200"
    door.recording.device = "NVIDIA H200"
    door.on_trial_result(None, trial(), result(2, device="NVIDIA H200"))
    assert [e["event"] for e in door.recording.ledger.read()].count("device") == 1


def test_a_worker_that_dies_as_it_starts_is_recorded_as_started(recorder):
    """Its address can no longer be asked for; found by killing workers of a real study."""
    door, started = recorder(), trial()

    def ask():
        raise RayActorError

    started.get_ray_actor_ip = ask
    StartRecorder(door.recording).on_trial_start(0, [], started)
    assert record_of(door).attempts == 1 and door.recording.ledger.read()[-1]["node"] == "unknown"


def test_a_stop_by_the_scheduler_is_a_pruned_trial_with_its_epoch_and_who_stopped_it(recorder):
    door = recorder(TrialScheduler.STOP)
    assert door.on_trial_result(None, trial(), result(2)) == TrialScheduler.STOP
    record = record_of(door)
    assert (record.status, record.reason) == ("pruned", "Scheduler")
    door.on_trial_complete(None, trial(), result(2))  # Ray says so afterwards
    assert record_of(door).status == "pruned"


def test_a_pruned_trial_keeps_its_newest_checkpoint_alone_and_one_that_goes_on_the_one_before_too(recorder, tmp_path):
    newest, before = tmp_path / "last.pt", tmp_path / "last.previous.pt"
    newest.touch()
    for decision, kept in ((TrialScheduler.CONTINUE, True), (TrialScheduler.STOP, False)):
        before.touch()
        recorder(decision).on_trial_result(None, trial(), result(2, checkpoint=newest))
        assert newest.exists() and before.exists() == kept


def test_the_last_epoch_and_the_end_are_on_disk_before_the_scheduler_hears_of_it(recorder):
    door = recorder()
    door.on_trial_complete(None, trial(), result(3, {"test_accuracy": 60.0}, status="finished"))
    assert door.inner.seen == [("complete", ["epoch", "checkpoint", "finished"])]
    assert record_of(door).final == {"epoch": 3, "val_accuracy": 50.0, "test_accuracy": 60.0}


def test_a_diverged_trial_is_failed_before_the_scheduler_hears_of_it(recorder):
    door = recorder()
    door.on_trial_complete(None, trial(), as_result(TrialEnd("diverged", "epoch 1: the training loss is nan.")))
    assert door.inner.seen == [("complete", ["failed"])]
    assert record_of(door).reason == "diverged: epoch 1: the training loss is nan."


def test_a_crash_is_recorded_by_the_last_line_of_its_error(recorder, tmp_path):
    written = tmp_path / "error.txt"
    written.write_text('Traceback (most recent call last):\n  File "x.py", line 1\nValueError: boom\n\n')
    door = recorder()
    door.on_trial_error(None, trial(str(written)))
    assert door.inner.seen == [("error", ["failed"])]
    assert record_of(door).reason == "crashed: ValueError: boom"


def test_a_worker_that_was_lost_is_to_run_again_until_it_has_been_lost_too_often(recorder, tmp_path):
    (tmp_path / "error.txt").write_text(
        "The actor is dead because its worker process has died. Exit type: SYSTEM_ERROR"
    )
    door = recorder()
    door.on_trial_result(None, trial(), result(1))
    for attempt in range(1, 4):
        door.on_trial_error(None, trial(str(tmp_path / "error.txt")))
        assert door.recording.runs_again(KEY) and not door.recording.runs_again(KEY)
        assert record_of(door).status == "planned"
        assert [(r["cause"], r["epoch"]) for r in record_of(door).retries] == [("lost", 1)] * attempt
    assert [about for about, _ in door.inner.seen] == ["result"], "the scheduler heard of a trial that goes on"
    door.on_trial_error(None, trial(str(tmp_path / "error.txt")))
    assert not door.recording.runs_again(KEY)
    record = record_of(door)
    assert (record.status, record.reason[:5], record.reason[-21:]) == ("failed", "lost:", "n. (after 4 attempts)")


def test_an_epoch_in_between_begins_the_count_anew_over_restarts_too(recorder, tmp_path):
    (tmp_path / "error.txt").write_text("The actor died unexpectedly")
    door = recorder()
    for epoch in range(1, 8):
        door.on_trial_result(None, trial(), result(epoch))
        door.on_trial_error(None, trial(str(tmp_path / "error.txt")))
        assert door.recording.runs_again(KEY)
        door = Recorder(Recording(door.recording.ledger, fold(door.recording.ledger.read()).trials), door.inner)
    assert len(record_of(door).retries) == 7


def test_a_user_error_stops_the_study_and_leaves_the_trial_to_be_run(recorder, tmp_path):
    (tmp_path / "error.txt").write_text("fsg.execution.retry.TrialEnded: user: data.root: no such folder\n")
    door = recorder()
    with pytest.raises(StudyError, match=r"data\.root: no such folder"):
        door.on_trial_error(None, trial(str(tmp_path / "error.txt")))
    assert door.recording.error is not None
    assert record_of(door).status == "planned"


def test_what_the_watch_blames_a_trial_for_goes_before_what_ray_saw(recorder, tmp_path):
    (tmp_path / "error.txt").write_text("The actor died unexpectedly")
    door = recorder()
    door.recording.blame(KEY, TrialEnd("hang", "nothing came from it for 60 s"))
    door.on_trial_error(None, trial(str(tmp_path / "error.txt")))
    assert record_of(door).retries == [{"cause": "hang", "epoch": 0, "reason": "hang: nothing came from it for 60 s"}]


@pytest.mark.parametrize("error_file", [None, "/nowhere/error.txt"])
def test_a_crash_without_a_word_is_recorded_all_the_same(recorder, error_file):
    door = recorder()
    door.on_trial_error(None, trial(error_file))
    assert record_of(door).reason == "crashed: the worker ended without a word"


def test_every_attempt_is_counted_over_restarts(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.append("planned", key=KEY, arm="sweep", seed=0, config={})
    for attempt in (1, 2):
        ledger.append("started", key=KEY, attempt=attempt, node="10.0.0.7", device="cpu")
    starts = StartRecorder(Recording(ledger, fold(ledger.read()).trials, device="cpu"))
    starts.on_trial_start(1, [], trial())
    event = ledger.read()[-1]
    assert (event["event"], event["attempt"], event["node"], event["device"]) == ("started", 3, "10.0.0.7", "cpu")


def test_metrics_that_are_no_number_are_null_in_the_ledger():
    assert finite_or_none({"loss": float("nan"), "gain": float("-inf"), "epoch": 2}) == {
        "loss": None,
        "gain": None,
        "epoch": 2,
    }


def test_an_error_of_our_own_at_the_end_of_a_trial_ends_the_run_and_is_not_put_down_to_the_trial(recorder):
    """Ray tells of it as of one of the trial's: the searcher was then never told that the trial had ended."""
    door, ended = recorder(), trial()
    door.on_trial_complete(None, ended, result(3, status="finished"))
    with pytest.raises(OSError, match="Too many open files"):
        try:
            raise OSError(errno.EMFILE, "Too many open files")
        except OSError:
            door.on_trial_error(None, ended)
    assert record_of(door).status == "finished"
