"""Which trials fit together, and what ``fused`` does to a trial's key: nothing, where it is off."""

import re

import pytest

from fsg.config import TrialConfig, digest
from fsg.fusing import estimator_shape, settled, shape_of, why_alone


def trial(**over):
    return TrialConfig.model_validate(over)


def test_a_trial_that_is_not_fused_has_the_key_it_had():
    assert "fused" not in trial().identity()
    assert digest(trial().identity()) != digest(trial(fused=True).identity())


def test_seeds_rates_lengths_schedules_and_estimators_fit_together():
    base = shape_of(trial())
    for over in (
        {"seed": 7},
        {"epochs": 3},
        {"optimizer": {"lr": 0.5}},
        {"schedule": {"name": "step", "warmup_epochs": 2}},
        {"gradient": {"name": "fsg", "beta": 0.1, "fast": {"lr": 0.1}}},
        {"gradient": {"name": "fsg", "lre": False}},
        {"gradient": "ste"},
    ):
        assert shape_of(trial(**over)) == base, over


def test_estimators_of_equal_sizes_and_switches_are_computed_as_one():
    base = estimator_shape(trial())
    assert estimator_shape(trial(gradient={"name": "fsg", "beta": 0.1, "fast": {"lr": 0.1}}, optimizer="sgd")) == base
    for over in ("ste", {"length": 3}, {"lre": False}, {"gain": "free"}, {"slow": {"d_conv": 4}}):
        other = {"name": "fsg"} | over if isinstance(over, dict) else over
        assert estimator_shape(trial(gradient=other)) != base, over


def test_what_changes_a_shape_does_not_fit():
    base = shape_of(trial())
    for over in (
        {"quantizer": "bwn"},
        {"model": "resnet20"},
        {"data": {"batch_size": 32}},
        {"optimizer": {"name": "sgd"}},
        {"optimizer": {"weight_decay": 0.1}},
        {"dtype": "float64"},
        {"evaluate": {"ema_weights": 0.5}},
        {"checkpoint_every_steps": 5},
    ):
        assert shape_of(trial(**over)) != base, over


@pytest.mark.parametrize(
    ("over", "why"),
    [
        ({"gradient": "lstm_fc"}, "gradient lstm_fc has no twin"),
        ({"gradient": "gate"}, "gradient gate has no twin"),
        ({"gradient": {"name": "fsg", "slow_net": "lstm"}}, "gradient fsg has no twin .* as it is configured"),
        ({"gradient": {"name": "fsg", "layout": "flattened"}}, "gradient fsg has no twin"),
        ({"gradient": {"name": "multi_fc", "update": "reference"}}, "gradient multi_fc has no twin"),
        ({"optimizer": {"name": "rmsprop"}}, "optimizer rmsprop has no twin"),
        ({"quantizer": "none"}, "quantizer none"),
        ({"cuda_graph": True}, "cuda_graph"),
        ({"autocast": "bfloat16"}, "autocast"),
    ],
)
def test_a_trial_that_trains_alone_says_why_and_is_not_fused(over, why):
    config = trial(**over, fused=True)
    found = why_alone(config)
    assert found is not None
    assert re.search(why, found), found
    assert not settled(config).fused and settled(trial(fused=True)).fused
