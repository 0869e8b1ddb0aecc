"""Proof of fsg/study/design.py: which arms a design has, which trials a study has, and keys that mean one trial."""

import pytest

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.parts import names
from fsg.study.plan import sweep_trial, trial_key


def test_the_full_arm_has_every_switch_on_whatever_the_base_says(files, ablation_text):
    spec = files.load(ablation_text, ("gradient: fsg", "gradient: {lre: false, beta: 0.3}"))
    arms = spec.plan.arms
    assert (arms["full"].gradient.lre, arms["no_lre"].gradient.lre) == (True, False)
    assert {arm: config.gradient.beta for arm, config in arms.items() if arm != "ste"} == {"full": 0.3, "no_lre": 0.3}


def test_arms_are_ordered_as_design_then_arms_then_baselines(files, ablation_text):
    spec = files.load(
        ablation_text, ("baselines: [ste]", "baselines: [ste, ema]\narms: {slow: {optimizer: {lr: 1e-4}}}")
    )
    assert list(spec.plan.arms) == ["full", "no_lre", "slow", "ste", "ema"]


def test_an_override_keeps_what_the_base_says_beside_it(files, ablation_text):
    base = ("gradient: fsg", "gradient: {beta: 0.3, slow: {d_inner: 16}}\n  optimizer: {lr: 0.5, weight_decay: 0.1}")
    arms = (
        "baselines: [ste]",
        "arms:\n  slow: {optimizer: {lr: 1e-4}}\n  wide: {gradient: {name: fsg, slow: {d_state: 8}}}",
    )
    configs = files.load(ablation_text, base, arms).plan.arms
    assert (configs["slow"].optimizer.lr, configs["slow"].optimizer.weight_decay) == (1e-4, 0.1)
    assert configs["wide"].gradient.beta == 0.3
    assert (configs["wide"].gradient.slow.d_inner, configs["wide"].gradient.slow.d_state) == (16, 8)


def test_a_baseline_changes_the_estimator_and_what_it_says_and_nothing_else(files, ablation_text):
    spec = files.load(
        ablation_text, ("[ste]", "{ste: {optimizer: {lr: 0.5}}, ema: {gradient: {beta: 0.9}}, scalar: {}}")
    )
    arms = spec.plan.arms
    assert [arms[name].gradient.name for name in ("ste", "ema", "scalar")] == ["ste", "ema", "scalar"]
    assert (arms["ste"].optimizer.lr, arms["ema"].gradient.beta) == (0.5, 0.9)
    assert arms["scalar"] == spec.base.model_copy(update={"gradient": arms["scalar"].gradient})


def test_estimators_are_those_of_the_trial_configuration():
    assert {"ste", "ema", "scalar", "multi_fc", "fsg"} <= set(names("gradient"))
    assert [parse_trial({"gradient": name}).gradient.name for name in names("gradient")] == names("gradient")


def test_trials_are_ordered_by_seed_so_that_an_interrupted_study_has_whole_pairs(ablation):
    trials = [(trial.seed, trial.arm) for trial in ablation.plan.trials()]
    assert trials == [(seed, arm) for seed in (0, 1) for arm in ("full", "no_lre", "ste")]


def test_a_trial_carries_its_seed_in_its_configuration(ablation):
    assert all(trial.config.seed == trial.seed for trial in ablation.plan.trials())


def test_every_trial_has_a_key_of_its_own(files, ablation_text):
    keys = [trial.key for trial in files.load(ablation_text, ("[0, 1]", "20")).plan.trials()]
    assert len(keys) == len(set(keys)) == 60
    assert all(len(key) == 12 and set(key) <= set("0123456789abcdef") for key in keys)


def test_more_seeds_or_arms_leave_the_keys_of_the_others_alone(files, ablation, ablation_text):
    extended = files.load(ablation_text, ("[0, 1]", "[0, 5, 1]"), ("[ste]", "[ema, ste]"))
    assert {trial.key for trial in ablation.plan.trials()} < {trial.key for trial in extended.plan.trials()}


def test_a_key_is_the_same_on_another_device_and_another_in_another_study(files, ablation, ablation_text):
    keys = [trial.key for trial in ablation.plan.trials()]
    assert [t.key for t in files.load(ablation_text, ("epochs: 2", "epochs: 2\n  device: cpu")).plan.trials()] == keys
    assert not {t.key for t in files.load(ablation_text, ("name: small", "name: other")).plan.trials()} & set(keys)
    assert not {t.key for t in files.load(ablation_text, ("epochs: 2", "epochs: 3")).plan.trials()} & set(keys)


def test_a_key_depends_on_study_arm_seed_and_configuration():
    config = parse_trial({})
    keys = [trial_key("s", "a", 0, config), trial_key("t", "a", 0, config), trial_key("s", "b", 0, config)]
    keys += [trial_key("s", "a", 1, config), trial_key("s", "a", 0, parse_trial({"epochs": 3}))]
    assert len(set(keys)) == 5


def test_a_key_does_not_drift_with_the_code():
    # Ledgers on disk hold these keys. A new field of TrialConfig changes them all: a study begun before is another one.
    keys = {trial_key("s", "a", 0, parse_trial({})), trial_key("s", "a", 0, parse_trial({"device": "cpu"}))}
    assert len(keys) == 1


def test_a_sweeps_trial_has_the_point_the_fixed_values_and_the_seed(sweep):
    trial = sweep_trial(sweep, {"optimizer.lr": 0.02, "gradient.length": 3, "gradient.gain": "locked"})
    assert (trial.arm, trial.seed, trial.config.seed) == ("sweep", 4, 4)
    assert (trial.config.optimizer.lr, trial.config.gradient.length, trial.config.gradient.gain) == (0.02, 3, "locked")
    assert trial.config.schedule.name == "cosine"
    assert trial.config.epochs == 9


def test_the_same_point_is_the_same_trial(sweep):
    point = {"optimizer.lr": 0.02, "gradient.length": 3, "gradient.gain": "locked"}
    assert sweep_trial(sweep, point) == sweep_trial(sweep, dict(reversed(point.items())))
    assert sweep_trial(sweep, point | {"gradient.length": 4}).key != sweep_trial(sweep, point).key


def test_a_point_that_makes_no_trial_is_refused(sweep):
    with pytest.raises(
        ConfigError, match=r"has values for optimizer\.lr, gradient\.length, gradient\.gain; found optimizer\.lr"
    ):
        sweep_trial(sweep, {"optimizer.lr": 0.02})
    with pytest.raises(ConfigError, match=r'"gradient\.length" is 0'):
        sweep_trial(sweep, {"optimizer.lr": 0.02, "gradient.length": 0, "gradient.gain": "locked"})
