"""The live display: what it counts, and how it looks on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

import fsg.report.progress as progress_module
from fsg.report.progress import Display, Progress, clock
from fsg.study.ledger import StudyState, TrialRecord


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


def test_time_left_follows_the_pace_of_this_run(progress, now):
    assert progress.seconds_left() is None
    assert progress.lines()[1] == "0:00 elapsed · starting"
    now[0] += 30
    train(progress, "k0")
    train(progress, "k1", epochs=1, end=None)  # 3 of 8 epochs in 30 s
    assert progress.seconds_left() == pytest.approx(50)
    assert progress.lines()[1] == "0:30 elapsed · about 0:50 left"


def test_what_an_earlier_run_finished_counts_as_done_but_not_for_the_pace(now):
    progress = Progress("small", trials=4, epochs=2, metric="val_accuracy", mode="max")
    record = TrialRecord("k0", "full", 0, {}, "finished", [], {"val_accuracy": 91.0})
    progress.recall(StudyState(None, {"k0": record, "k1": TrialRecord("k1", "ste", 0, {}, "running")}))
    assert progress.done == 1
    assert progress.best() == ("full", 91.0, 1)
    now[0] += 10
    train(progress, "k1", epochs=1, end=None)
    assert progress.seconds_left() == pytest.approx(50)


@pytest.mark.parametrize(("mode", "best"), [("max", ("ste", 95.0, 1)), ("min", ("full", 91.0, 2))])
def test_the_best_arm_is_that_of_the_best_mean(mode, best, now):
    progress = Progress("small", trials=4, epochs=1, metric="val_accuracy", mode=mode)
    for key, arm, value in (("a", "full", 90.0), ("b", "full", 92.0), ("c", "ste", 95.0)):
        progress.see({"event": "planned", "key": key, "arm": arm, "seed": 0})
        train(progress, key, value, epochs=1)
    assert progress.best() == best
    assert progress.lines()[3] == f"best arm so far: {best[0]} {best[1]:.2f} (n = {best[2]})"


def test_a_sweep_has_one_arm_and_shows_its_mean(now):
    progress = Progress("search", trials=2, epochs=1, metric="val_accuracy", mode="max")
    progress.see({"event": "planned", "key": "a", "arm": "sweep", "seed": 0})
    train(progress, "a", 90.0, epochs=1)
    assert progress.lines()[3] == "mean val_accuracy so far: 90.00 (n = 1)"


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
