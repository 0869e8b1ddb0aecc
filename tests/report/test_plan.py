"""A plan in numbers: what has ended, and hours where trials have shown them."""

import copy

import pytest
import yaml

from fsg.record.ledger import StudyState
from fsg.report.plan import plan_of, trial_hours
from fsg.study.spec import load_study

BASE = {"gradient": "ste", "epochs": 4, "data": "digits"}
METRIC = {"name": "val_accuracy", "mode": "max"}
ABLATION = {
    "name": "rates",
    "base": BASE,
    "seeds": [0, 1, 2],
    "metric": METRIC,
    "arms": {"slow": {"optimizer": {"lr": 0.0001}, "epochs": 6}},
    "baselines": ["ste"],
}
SWEEP = {
    "name": "search",
    "base": BASE,
    "metric": METRIC,
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "search": {"sampler": "random", "trials": 6, "seed": 0},
}


@pytest.fixture
def load(tmp_path):
    def load(data):
        (tmp_path / "study.yaml").write_text(yaml.safe_dump(data))
        return load_study(tmp_path / "study.yaml")

    return load


def state_of(spec, ended):
    """A ledger of which these (arm, seed) have ended after so many hours."""
    state = StudyState()
    for trial in spec.plan.trials():
        record = ledger_record(trial)
        if (trial.arm, trial.seed) in ended:
            record.status, record.attempts = "finished", 1
            record.started, record.ended = 1e9, 1e9 + 3600 * ended[trial.arm, trial.seed]
        state.trials[trial.key] = record
    return state


def ledger_record(trial):
    from fsg.record.ledger import TrialRecord

    return TrialRecord(trial.key, trial.arm, trial.seed, {})


def test_a_study_that_has_not_begun_has_trials_and_no_hours(load):
    found = plan_of(load(ABLATION), StudyState())
    assert {arm.name: (arm.epochs, arm.trials, arm.over, arm.hours) for arm in found.arms} == {
        "slow": (6, 3, 0, None),
        "ste": (4, 3, 0, None),
    }
    assert (found.trials, found.over, found.hours) == (6, 0, None)
    assert found.notes == ("Seeds 0, 1, 2, the same in every arm.",)


def test_hours_are_those_of_the_median_trial_for_what_is_left(load):
    spec = load(ABLATION)
    state = state_of(spec, {("slow", 0): 1.0, ("slow", 1): 3.0, ("ste", 0): 0.5})
    assert trial_hours(state) == {"slow": 2.0, "ste": 0.5}
    found = plan_of(spec, state)
    assert (found.over, found.hours) == (3, pytest.approx(1 * 2.0 + 2 * 0.5))


def test_an_arm_of_which_none_has_run_leaves_the_hours_open_until_nothing_of_it_is_left(load):
    spec = load(ABLATION)
    assert plan_of(spec, state_of(spec, {("slow", 0): 1.0})).hours is None
    every = {(arm, seed): 1.0 for arm in ("slow", "ste") for seed in (0, 1, 2)}
    assert plan_of(spec, state_of(spec, every)).hours == 0


def test_a_trial_that_was_interrupted_tells_no_hours(load):
    state = state_of(load(ABLATION), {("slow", 0): 1.0, ("ste", 0): 9.0})
    for record in state.trials.values():
        if record.arm == "ste":
            record.attempts = 2
    assert trial_hours(state) == {"slow": 1.0}


def test_a_trial_with_another_configuration_is_not_over(load):
    state = state_of(load(ABLATION), {("slow", 0): 1.0, ("ste", 0): 1.0})
    changed = copy.deepcopy(ABLATION)
    changed["arms"]["slow"]["optimizer"]["lr"] = 0.0002
    assert {arm.name: arm.over for arm in plan_of(load(changed), state).arms} == {"slow": 0, "ste": 1}


def test_epochs_that_follow_from_costs_are_open_until_those_are_measured(load):
    by_time = ABLATION | {"arms": {"slow": {"optimizer": {"lr": 0.0001}}}, "fairness": {"equal": "time"}}
    assert {arm.epochs for arm in plan_of(load(by_time), StudyState()).arms} == {None}
    known = by_time | {"fairness": {"equal": "time", "costs": {"slow": 2.0, "ste": 1.0}}}
    assert {arm.name: arm.epochs for arm in plan_of(load(known), StudyState()).arms} == {"slow": 4, "ste": 8}


def test_a_sweep_has_one_row_and_its_space(load):
    found = plan_of(load(SWEEP), StudyState())
    assert [(arm.name, arm.epochs, arm.trials) for arm in found.arms] == [("sweep", 4, 6)]
    assert found.notes[0].startswith("Searched: optimizer.lr")
