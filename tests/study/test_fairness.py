"""What every arm may spend: epochs that follow from measured costs, the same on every run of the study."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.study.extension import extends
from fsg.study.fairness import Fairness, measured
from fsg.study.spec import load_study, parse_study, to_yaml
from fsg.yaml_source import YamlSource

METRIC = {"name": "val_accuracy", "mode": "max", "unit": "%"}


def study(**over):
    base = {"gradient": "fsg", "epochs": 12, "schedule": {"name": "step", "step_epochs": 4, "warmup_epochs": 2}}
    data = {"name": "s", "base": base, "seeds": [0, 1], "metric": METRIC, "arms": {"full": {}}, "baselines": ["ste"]}
    return parse_study(YamlSource(Path("s.yaml"), {**data, **over}))


@pytest.mark.parametrize("equal", ["time", "flops"])
def test_an_arm_that_costs_half_trains_twice_as_long_and_its_schedule_stretches_with_it(equal):
    arms = study(fairness={"equal": equal, "costs": {"full": 3.0, "ste": 1.5}}).plan.arms
    assert {name: config.epochs for name, config in arms.items()} == {"full": 12, "ste": 24}
    assert (arms["ste"].schedule.step_epochs, arms["ste"].schedule.warmup_epochs) == (8, 4)
    assert arms["full"].schedule.step_epochs == 4


def test_equal_epochs_and_no_word_on_it_leave_the_epochs_as_they_are():
    for fairness in ({}, {"equal": "epochs"}):
        assert {config.epochs for config in study(fairness=fairness).plan.arms.values()} == {12}


@given(st.floats(0.1, 10), st.floats(0.1, 10), st.integers(1, 300))
def test_no_arm_is_off_by_more_than_half_an_epoch(reference, cost, epochs):
    fairness = Fairness(equal="time", costs={"full": reference, "x": cost})
    found = fairness.budgeted("x", TrialConfig(epochs=epochs), "full")
    assert found.epochs == 1 or abs(found.epochs * cost - epochs * reference) <= cost / 2 * (1 + 1e-9)
    TrialConfig.model_validate(found.model_dump())


def test_in_a_cross_every_block_pays_by_its_own_reference():
    costs = {"sgd/full": 2.0, "sgd/ste": 1.0, "adam/full": 4.0, "adam/ste": 1.0}
    spec = study(design={"kind": "cross", "optimizers": ["sgd", "adam"]}, fairness={"equal": "time", "costs": costs})
    assert {name: config.epochs for name, config in spec.plan.arms.items()} == {
        "sgd/full": 12,
        "sgd/ste": 24,
        "adam/full": 12,
        "adam/ste": 48,
    }


def test_costs_are_measured_once_and_the_resolved_study_plans_the_same_trials(tmp_path):
    spec = study(fairness={"equal": "time"})
    asked = []

    def measure(arms):
        asked.append(list(arms))
        return {"full": 3.0, "ste": 1.0}

    fairness = measured(spec.fairness, spec.plan.arms, Fairness(), measure)
    spec = spec.model_copy(update={"fairness": fairness})
    (tmp_path / "spec.yaml").write_bytes(to_yaml(spec))
    again = load_study(tmp_path / "spec.yaml")
    assert [trial.key for trial in again.plan.trials()] == [trial.key for trial in spec.plan.trials()]
    assert measured(study(fairness={"equal": "time"}).fairness, spec.plan.arms, again.fairness, measure) == fairness
    assert asked == [["full", "ste"]]


def test_a_new_arm_is_measured_beside_a_known_one_and_scaled_to_it():
    known = Fairness(equal="time", costs={"full": 3.0, "ste": 1.0})
    spec = study(fairness={"equal": "time"}, arms={"full": {}, "no_lre": {"gradient": {"lre": False}}})
    slow_today = {"full": 6.0, "no_lre": 4.0}
    found = measured(spec.fairness, spec.plan.arms, known, lambda arms: {arm: slow_today[arm] for arm in arms})
    assert found.costs == {"full": 3.0, "no_lre": 2.0, "ste": 1.0}
    old = study(fairness={"equal": "time", "costs": known.costs})
    assert extends(old, spec.model_copy(update={"fairness": found}))


def test_other_costs_are_another_study():
    one, other = (study(fairness={"equal": "time", "costs": {"full": 3.0, "ste": ste}}) for ste in (1.0, 2.0))
    assert not extends(one, other)


def test_costs_of_another_kind_are_not_taken_over():
    known = Fairness(equal="flops", costs={"full": 1e9, "ste": 1e8})
    spec = study(fairness={"equal": "time"})
    found = measured(spec.fairness, spec.plan.arms, known, lambda arms: dict.fromkeys(arms, 1.0))
    assert found.costs == {"full": 1.0, "ste": 1.0}


@pytest.mark.parametrize("equal", ["epochs", "time", "flops"])
def test_an_arm_with_epochs_of_its_own_contradicts_an_equal_budget(equal):
    with pytest.raises(ConfigError, match=f'arm "long": it sets "epochs", but fairness.equal is {equal}'):
        study(fairness={"equal": equal}, arms={"full": {}, "long": {"epochs": 30}})


def test_an_unknown_kind_of_equality_is_refused():
    with pytest.raises(ConfigError, match=r"fairness\.equal"):
        study(fairness={"equal": "steps"})


def test_a_study_that_began_keeps_its_epochs_when_the_machine_is_slower_later(tmp_path, monkeypatch):
    from fsg.driver.arm_costs import with_costs
    from fsg.record.folder import StudyFolder

    seconds = {"full": 3.0, "ste": 1.0}
    monkeypatch.setattr("fsg.train.cost.epoch_seconds", lambda arms: {arm: seconds[arm] for arm in arms})
    first = with_costs(study(fairness={"equal": "time"}), str(tmp_path), 1, 0)
    StudyFolder.create_or_open(first, tmp_path)
    seconds |= {"full": 9.0, "ste": 9.0}
    again = with_costs(study(fairness={"equal": "time"}), str(tmp_path), 1, 0)
    assert [trial.key for trial in again.plan.trials()] == [trial.key for trial in first.plan.trials()]
    assert StudyFolder.create_or_open(again, tmp_path).spec() == first
