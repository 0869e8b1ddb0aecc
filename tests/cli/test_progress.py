"""The live display: what it counts, and how it looks on a terminal and elsewhere."""

import io
import json

import pytest
from rich.console import Console

import fsg.report.progress as progress_module
from fsg.record.ledger import StudyState, TrialRecord
from fsg.report.progress import Display, Progress, clock


@pytest.fixture
def now(monkeypatch):
    """A clock that stands still until it is moved: ``now[0] += 10``."""
    time = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: time[0])
    return time


@pytest.fixture
def progress(now):
    made = Progress("small", trials=4, epochs=2, metric="val_accuracy", mode="max")
    for n, (arm, seed) in enumerate([("full", 0), ("ste", 0), ("full", 1), ("ste", 1)]):
        made.see({"event": "planned", "key": f"k{n}", "arm": arm, "seed": seed})
    return made


def train(progress, key, value=90.0, epochs=2, end="finished"):
    progress.see({"event": "started", "key": key})
    for epoch in range(1, epochs + 1):
        progress.see({"event": "epoch", "key": key, "metrics": {"epoch": epoch, "val_accuracy": value}})
    if end == "finished":
        progress.see({"event": "finished", "key": key, "metrics": {"val_accuracy": value}})
    elif end:
        progress.see({"event": end, "key": key, "reason": "because"})


def test_trials_are_counted_as_done_running_and_left(progress):
    assert progress.lines()[0] == "0 of 4 trials done · 0 running · 4 left"
    train(progress, "k0")
    train(progress, "k1", epochs=1, end=None)
    assert progress.lines()[0] == "1 of 4 trials done · 1 running · 2 left"
    assert progress.lines()[2] == "running: ste/0 1/2"


def test_pruned_and_failed_trials_are_done_and_named(progress):
    train(progress, "k0", end="pruned", epochs=1)
    train(progress, "k1", end="failed", epochs=0)
    assert progress.lines()[0] == "2 of 4 trials done · 1 pruned · 1 failed · 0 running · 2 left"
    assert progress.best() is None


def test_an_interrupted_trial_runs_no_longer_and_is_said_with_its_cause(progress):
    console = Console(file=io.StringIO(), width=200)
    train(progress, "k0", epochs=1, end=None)
    display = Display(progress, console, lambda: "")
    display.see({"event": "retried", "key": "k0", "cause": "lost", "epoch": 1, "reason": "lost: its node went away."})
    assert progress.lines()[0] == "0 of 4 trials done · 1 retried · 0 running · 4 left"
    assert console.file.getvalue() == "full/0: lost: its node went away. It goes on from its checkpoint.\n"


@pytest.fixture
def clocked(now):
    """See events at their moments: ``clocked(progress, (0, "started", "k0"), (30, 1, "k0"), ...)``; a number is an epoch."""

    def see(progress, *events):
        begun = now[0]
        for seconds, event, key in events:
            now[0] = begun + seconds
            progress.see({"event": "planned", "key": key, "arm": "full", "seed": 0})
            if isinstance(event, int):
                progress.see({"event": "epoch", "key": key, "metrics": {"epoch": event, "val_accuracy": 90.0}})
            else:
                progress.see({"event": event, "key": key, "metrics": {"val_accuracy": 90.0}, "reason": "why"})

    return see


def test_time_left_follows_the_pace_of_this_run_without_what_a_new_worker_compiled(clocked):
    progress = Progress("small", trials=4, epochs=10, metric="val_accuracy", mode="max")
    assert progress.seconds_left() is None
    assert progress.lines()[1] == "0:00 elapsed · starting"
    clocked(progress, (0, "started", "k0"), (0, "started", "k1"), (30, 1, "k0"), (32, 1, "k1"))
    assert progress.seconds_left() is None, "30 s of imports and compilation tell nothing of the other 38 epochs"
    assert progress.lines()[1] == "0:32 elapsed"
    clocked(progress, (0, 2, "k0"))  # 2 s after its first one
    assert progress.seconds_left() == pytest.approx(37 * 2 / 2)
    assert progress.lines()[1] == "0:32 elapsed · about 0:37 left"


def test_the_first_epoch_counts_on_a_worker_that_trained_before_and_not_after_an_interruption(clocked):
    progress = Progress("small", trials=4, epochs=1, metric="val_accuracy", mode="max")
    clocked(progress, (0, "started", "k0"), (30, 1, "k0"), (30, "finished", "k0"), (31, "started", "k1"))
    assert progress.seconds_left() is None
    clocked(progress, (3, 1, "k1"), (3, "finished", "k1"), (3, "started", "k2"))
    assert progress.seconds_left() == pytest.approx(2 * 3)
    clocked(progress, (1, "retried", "k2"), (2, "started", "k2"), (60, 1, "k2"), (60, "finished", "k2"))
    assert progress.seconds_left() == pytest.approx(3), "a retried trial has a new process"
    clocked(progress, (0, "started", "k3"), (5, 1, "k3"), (5, "finished", "k3"))
    assert progress.seconds_left() == 0


def test_a_members_epochs_after_a_pause_count_and_the_pause_does_not(clocked):
    progress = Progress("small", trials=1, epochs=4, metric="val_accuracy", mode="max")
    clocked(
        progress,
        (0, "started", "a"),
        (30, 1, "a"),
        (31, 2, "a"),
        (31, "paused", "a"),
        (90, "started", "a"),
        (91, 3, "a"),
    )
    assert progress.seconds_left() == pytest.approx(1)


def test_the_last_trials_do_not_run_faster_than_one_another(clocked):
    """Two ran side by side; of the third alone nothing is halved."""
    progress = Progress("small", trials=3, epochs=3, metric="val_accuracy", mode="max")
    clocked(progress, (0, "started", "a"), (0, "started", "b"), (9, 1, "a"), (9, 1, "b"))
    clocked(progress, (2, 2, "a"), (2, 2, "b"), (4, 3, "a"), (4, 3, "b"), (4, "finished", "a"), (4, "finished", "b"))
    assert progress.seconds_left() == pytest.approx(3 * 2)


def test_what_an_earlier_run_finished_counts_as_done_but_not_for_the_pace(clocked):
    progress = Progress("small", trials=4, epochs=3, metric="val_accuracy", mode="max")
    record = TrialRecord("k0", "full", 0, {}, "finished", [], {"val_accuracy": 91.0})
    progress.recall(StudyState(None, {"k0": record, "k1": TrialRecord("k1", "ste", 0, {}, "running")}))
    assert progress.done == 1
    assert progress.best() == ("full", 91.0, 1)
    clocked(progress, (0, "started", "k1"), (10, 2, "k1"), (13, 3, "k1"))
    assert progress.seconds_left() == pytest.approx(6 * 3)


def test_a_sweep_that_ends_early_says_why_and_has_nothing_left(sweep, capsys):
    out = io.StringIO()
    why = "the space is exhausted: [/1] of it"
    with Display(sweep, Console(file=out, width=200), lambda: "") as display:
        train(sweep, "a", epochs=1)
        assert sweep.lines()[0] == "1 of 4 trials done · 0 running · 3 left"
        display.see({"event": "stopped", "reason": why})
    assert out.getvalue() == f"No further trial is begun: {why}.\n"
    assert sweep.lines()[0] == "1 of 4 trials done · 0 running · none to come"
    with Display(sweep, Console(file=out), lambda: "", "json") as display:
        display.see({"event": "stopped", "reason": why})
        display.say("complete", **sweep.summary())
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["stopped"] for t in told] == [why, why] and told[0]["reason"] == why
    again = Progress("search", trials=4, epochs=1, metric="val_accuracy", mode="max", sweep=True)
    assert again.summary()["stopped"] is None
    again.recall(StudyState(None, {}, stopped=why))
    assert again.lines()[0].endswith("none to come")


def test_seeds_that_may_be_spared_are_at_most_what_is_left():
    progress = Progress("s", trials=12, epochs=1, metric="val_accuracy", mode="max", sweep=True, at_most=True)
    assert progress.lines()[0] == "0 of 12 trials done · 0 running · at most 12 left"


@pytest.mark.parametrize(("mode", "best"), [("max", ("ste", 95.0, 1)), ("min", ("full", 91.0, 2))])
def test_the_best_arm_is_that_of_the_best_mean(mode, best, now):
    progress = Progress("small", trials=4, epochs=1, metric="val_accuracy", mode=mode)
    for key, arm, value in (("a", "full", 90.0), ("b", "full", 92.0), ("c", "ste", 95.0)):
        progress.see({"event": "planned", "key": key, "arm": arm, "seed": 0})
        train(progress, key, value, epochs=1)
    assert progress.best() == best
    assert progress.lines()[3] == f"best arm so far: {best[0]} {best[1]:.2f} (n = {best[2]})"


@pytest.fixture
def sweep(now):
    made = Progress(
        "search", trials=4, epochs=1, metric="val_accuracy", mode="max", sweep=True, budget=lambda: "3 of 9 trials"
    )
    for key, lr, seed in (("a", 0.1, 0), ("b", 0.2, 0), ("c", 0.1, 1)):
        made.see({"event": "planned", "key": key, "arm": "sweep", "seed": seed, "config": {"lr": lr, "seed": seed}})
    return made


def test_the_best_of_a_sweep_is_a_configuration_by_the_mean_of_its_seeds(sweep):
    for key, value in (("a", 90.0), ("b", 91.0), ("c", 96.0)):
        train(sweep, key, value, epochs=1)
    assert sweep.best() == ("a", 93.0, 2)
    assert sweep.lines()[3:] == ["best so far: a 93.00 (n = 2)", "used: 3 of 9 trials"]


def test_running_trials_are_a_table_and_a_paused_one_does_not_run(sweep, now):
    train(sweep, "a", 90.0, end=None, epochs=1)
    sweep.see({"event": "started", "key": "b"})
    assert sweep.table() == [("a/0", "1/1", "90.00"), ("b/0", "0/1", "")]
    sweep.see({"event": "paused", "key": "a", "epoch": 1})
    assert [row[0] for row in sweep.table()] == ["b/0"]
    now[0] += 30
    assert sweep.throughput() == "0 trials and 2 epochs a minute"


def test_json_is_one_object_a_line_for_each_start_and_end(sweep, capsys):
    out = io.StringIO()
    with Display(sweep, Console(file=out), lambda: "", "json") as display:
        for event in ("started", "epoch", "finished"):
            display.see({"event": event, "key": "a", "metrics": {"epoch": 1, "val_accuracy": 90.0}})
        display.see({"event": "pruned", "key": "b", "reason": "asha: why"})
        display.say("complete", folder="x")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [t["event"] for t in told] == ["started", "finished", "pruned", "complete"] and out.getvalue() == ""
    assert told[1]["val_accuracy"] == 90.0 and (told[1]["arm"], told[1]["done"], told[1]["trials"]) == ("a", 1, 4)
    assert told[2]["reason"] == "asha: why" and told[2]["best"] == {"name": "a", "val_accuracy": 90.0, "n": 1}


def test_quiet_says_nothing(sweep, capsys):
    out = io.StringIO()
    with Display(sweep, Console(file=out, force_terminal=True), lambda: "", "quiet") as display:
        display.see({"event": "finished", "key": "a", "metrics": {"epoch": 1, "val_accuracy": 90.0}})
        display.say("complete")
    assert (out.getvalue(), capsys.readouterr().out) == ("", "")


def test_a_finished_trial_without_the_metric_is_no_value(progress):
    train(progress, "k0", value=None)
    assert progress.best() is None
    assert progress.done == 1


def test_elsewhere_than_on_a_terminal_there_is_one_line_for_each_end(progress):
    out = io.StringIO()
    with Display(progress, Console(file=out, width=160), lambda: "MLflow: up to date") as display:
        for event in ("started", "epoch", "finished"):
            display.see({"event": event, "key": "k0", "metrics": {"epoch": 1, "val_accuracy": 90.0}})
        display.see({"event": "failed", "key": "k1", "reason": "because"})
    lines = out.getvalue().splitlines()
    assert [line.split(" · ")[0] for line in lines] == ["1 of 4 trials done", "2 of 4 trials done"]
    assert "1 failed" in lines[1]
    assert "\x1b" not in out.getvalue()


def test_on_a_terminal_the_display_is_redrawn_in_place_and_gone_at_the_end(progress):
    out = io.StringIO()
    console = Console(force_terminal=True, file=out, width=120, color_system=None, _environ={})
    with Display(progress, console, lambda: "MLflow: 3 events behind") as display:
        train(progress, "k0")
        display._live.refresh()
        drawn = out.getvalue()
    for piece in ("small", "1 of 4 trials done", "elapsed", "so far: 90.00", "MLflow: 3 events behind"):
        assert piece in drawn
    assert "\x1b[2K" in out.getvalue()[len(drawn) :], "the last drawing is erased"


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (9.7, "0:09"), (249, "4:09"), (3909, "1:05:09")])
def test_times_are_read_at_a_glance(seconds, text):
    assert clock(seconds) == text
