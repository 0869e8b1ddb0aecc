"""Events -> runs, without MLflow."""

import pytest
from fake_studies import header, study

from fsg.errors import StudyError
from fsg.tracking.runs import NOTE, Point, StudyRuns, flat, points


def folded(events):
    runs = StudyRuns(events[0])
    for event in events:
        runs.fold(event)
    return runs


def by_name(runs):
    return {run.name: run for run in runs.runs.values()}


def test_study_holds_arms_and_arms_hold_seeds():
    runs = by_name(folded(study(arms=("full", "ste"), seeds=(0, 1))))
    assert set(runs) == {"components", "full", "ste", "full/seed0", "full/seed1", "ste/seed0", "ste/seed1"}
    assert runs["ste/seed1"].parent == ("arm", "ste")
    assert runs["ste"].parent == ("study", "5eed5eed")


def test_sweep_has_no_arm_level():
    runs = by_name(folded(study(arms=("trial-0", "trial-1"), seeds=(0,), kind="sweep")))
    assert set(runs) == {"components", "trial-0", "trial-1"}
    assert runs["trial-0"].parent == ("study", "5eed5eed")


def test_epoch_becomes_points_at_its_step_and_ledger_time_without_what_is_no_number():
    found = points({"epoch": 3, "val_loss": 0.5, "gap": None, "bad": float("inf"), "note": "x", "n": 2}, 1234, 3)
    assert found == [Point("val_loss", 0.5, 1234, 3), Point("n", 2.0, 1234, 3)]


def test_finished_adds_only_what_the_last_epoch_did_not_say():
    run = by_name(folded(study(arms=("ste",), seeds=(0,), epochs=2)))["ste/seed0"]
    assert {p.name for p in run.points if p.step == 2 and p.name.startswith("test")} == {
        "test_accuracy",
        "test_accuracy_last10",
    }
    assert sum(p.name == "val_accuracy" for p in run.points) == 2


def test_finished_trial_stays_finished_whatever_follows():
    events = study(arms=("ste",), seeds=(0,))
    key = events[1]["key"]
    runs = folded([*events, {"event": "failed", "time": 2e9, "key": key, "reason": "late"}])
    assert by_name(runs)["ste/seed0"].status == "FINISHED"


def test_a_finished_trial_can_be_forgotten_and_counts_all_the_same():
    events = study(arms=("ste",), seeds=(0, 1))
    first = [event for event in events[1:] if event.get("seed") == 0 or event.get("key") == events[1]["key"]]
    second = [event for event in events[1:] if event not in first]
    runs = folded([events[0], *first])
    held = by_name(runs)
    assert runs.forget(held["ste/seed0"]) and not runs.forget(held["ste"])
    for event in [*first, *second]:  # the first trial's once more
        runs.fold(event)
    held = by_name(runs)
    assert set(held) == {"components", "ste", "ste/seed1"}
    assert held["ste"].status == held["components"].status == "FINISHED"


def test_a_trial_that_may_run_again_is_not_forgotten():
    runs = folded([*study(arms=("ste",), seeds=(0,))[:3]])
    run = by_name(runs)["ste/seed0"]
    assert not runs.forget(run)
    runs.fold({"event": "failed", "time": 1_800_000_009.0, "key": run.identity[1], "reason": "loss is nan"})
    assert not runs.forget(run)


def test_arm_is_over_only_when_every_planned_seed_is():
    events = study(arms=("ste",), seeds=(0, 1))
    assert by_name(folded(events[:-1]))["ste"].status == "RUNNING"
    assert by_name(folded(events))["ste"].status == "FINISHED"
    assert by_name(folded(events))["ste"].end_ms == round(events[-1]["time"] * 1000)


def test_study_that_only_failed_has_failed_and_a_retry_opens_it_again():
    events = study(arms=("ste",), seeds=(0,))[:3]
    key = events[1]["key"]
    events.append({"event": "failed", "time": 1_800_000_009.0, "key": key, "reason": "loss is nan"})
    runs = by_name(folded(events))
    assert {runs[name].status for name in ("components", "ste", "ste/seed0")} == {"FAILED"}
    assert runs["ste/seed0"].tags["fsg.reason"] == "loss is nan"
    events.append({"event": "started", "time": 1_800_000_010.0, "key": key, "attempt": 2, "node": "a", "device": "cpu"})
    runs = by_name(folded(events))
    assert {runs[name].status for name in ("components", "ste", "ste/seed0")} == {"RUNNING"}
    assert "fsg.reason" not in runs["ste/seed0"].tags
    events.append({"event": "device", "time": 1_800_000_011.0, "key": key, "device": "NVIDIA H200"})
    assert by_name(folded(events))["ste/seed0"].tags["fsg.device"] == "NVIDIA H200"


def test_epoch_run_again_is_a_newer_point_of_the_same_step():
    events = study(arms=("ste",), seeds=(0,), epochs=1)[:-1]
    again = {**events[-1], "time": events[-1]["time"] + 100}
    run = by_name(folded([*events, again]))["ste/seed0"]
    times = [p.time_ms for p in run.points if p.name == "val_loss"]
    assert len(times) == 2 and times[1] - times[0] == 100_000


def test_varied_parameters_are_those_that_differ_between_trials():
    assert folded(study(arms=("full", "ste"))).varied == ["gradient.name"]


def test_parameters_are_flattened_with_dots():
    assert flat({"a": {"b": 1, "c": {"d": "x"}}, "e": None}) == {"a.b": "1", "a.c.d": "x", "e": "None"}


def test_device_is_no_parameter_because_another_machine_may_finish_the_trial():
    events = study(arms=("ste",), seeds=(0,))
    events[1]["config"]["device"] = "cuda:0"
    assert "device" not in by_name(folded(events))["ste/seed0"].params


def test_ledger_without_header_or_plan_is_refused():
    with pytest.raises(StudyError, match="no study_id and no name"):
        StudyRuns({"event": "study", "time": 0.0})
    runs = StudyRuns(header())
    with pytest.raises(StudyError, match="was never planned"):
        runs.fold({"event": "started", "time": 1.0, "key": "k"})


def test_a_finished_trial_says_what_each_of_its_metrics_is():
    events = study(arms=("ste",), seeds=(0,))
    run = by_name(folded(events))["ste/seed0"]
    told = dict(line[2:].split(": ", 1) for line in run.tags[NOTE].splitlines())
    assert {f"`{point.name}`" for point in run.points} == set(told)
    assert told["`val_accuracy`"].startswith("share of validation images")
