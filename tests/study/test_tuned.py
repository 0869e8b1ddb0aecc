"""Tuning every arm with the same budget before it is compared."""

from pathlib import Path

import pytest

from fsg.config import parse_trial
from fsg.errors import StudyError
from fsg.record.ledger import StudyState, TrialRecord
from fsg.record.tuned import tuned_config
from fsg.report.dry_run import sentences
from fsg.study.design import factor_levels
from fsg.study.spec import parse_study
from fsg.study.tuned import arm_sweeps
from fsg.yaml_source import YamlSource


def study(**over):
    data = {
        "name": "s",
        "base": {"gradient": "fsg"},
        "seeds": [0, 4],
        "metric": {"name": "test_accuracy", "mode": "max", "unit": "%"},
        "arms": {"full": {}},
        "baselines": ["ste"],
        "retune": {"trials_per_arm": 3, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}},
        **over,
    }
    return parse_study(YamlSource(Path("s.yaml"), data))


def test_every_arm_gets_the_same_budget_on_validation_under_a_seed_of_its_own():
    spec = study()
    sweeps = arm_sweeps(spec)
    assert list(sweeps) == ["full", "ste"]
    for arm, sweep in sweeps.items():
        assert sweep.search.trials == 3
        assert sweep.metric.name == "val_accuracy"
        assert sweep.seed == 5 not in spec.first_seeds
        assert sweep.base.gradient == spec.plan.arms[arm].gradient


def test_each_configuration_may_be_tuned_on_several_seeds_none_of_them_the_comparison_s():
    spec = study(
        retune={"trials_per_arm": 3, "seeds_per_config": 2, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}}
    )
    for sweep in arm_sweeps(spec).values():
        assert sweep.seeds == (5, 6)
    said = "Before that, 3 trials of search for each arm, each on up to 2 seeds, not counted here."
    assert said in sentences(spec)


def test_without_retune_nothing_is_tuned():
    assert arm_sweeps(study(retune=None)) == {}


def test_the_tuned_study_compares_the_found_configurations_under_the_same_names_and_seeds():
    spec = study()
    tuned = {
        arm: config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": lr})})
        for (arm, config), lr in zip(spec.plan.arms.items(), (0.03, 0.07), strict=True)
    }
    found = spec.with_tuned(tuned)
    assert {a: c.optimizer.lr for a, c in found.plan.arms.items()} == {"full": 0.03, "ste": 0.07}
    assert [t.seed for t in found.plan.trials()] == [0, 0, 4, 4]
    assert (found.analysis.reference, found.analysis.baseline) == ("full", "ste")
    assert found.retune is None and found.name == spec.name


def test_an_arm_that_its_search_left_as_it_was_is_still_an_arm():
    spec = study()
    assert list(spec.with_tuned(spec.plan.arms).plan.arms) == ["full", "ste"]


def test_a_tuned_cross_keeps_its_blocks_and_a_tuned_factorial_its_factors():
    design = {
        "kind": "cross",
        "of": {"kind": "full_factorial", "switches": ["hgs", "lre"]},
        "optimizers": ["sgd", "adam"],
    }
    spec = study(design=design, arms={})
    found = spec.with_tuned(spec.plan.arms)
    assert [block.name for block in found.plan.blocks] == ["sgd", "adam"]
    assert factor_levels(found, found.plan.blocks[0]) == factor_levels(spec, spec.plan.blocks[0])
    assert found.plan.arms == spec.plan.arms
    assert {sweep.name for sweep in arm_sweeps(spec).values()} >= {"sgd.full", "adam.no_hgs_lre"}


def test_the_best_finished_trial_of_a_search_is_taken_and_a_search_without_one_is_refused():
    sweep = arm_sweeps(study())["ste"]
    low, high = (parse_trial({"gradient": "ste", "optimizer": {"lr": lr}}) for lr in (0.01, 0.02))
    records = {
        k: TrialRecord(k, "sweep", 5, c.model_dump(mode="json"), status, final={"val_accuracy": v})
        for k, c, status, v in (("a", low, "finished", 80.0), ("b", high, "finished", 90.0), ("c", low, "pruned", 99.0))
    }
    assert tuned_config(sweep, StudyState(None, records)) == high
    with pytest.raises(StudyError, match='arm "ste" could not be tuned: none of its 0 trials finished'):
        tuned_config(sweep, StudyState(None, {}))
