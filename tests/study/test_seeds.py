"""Proof of fsg/study/seeds.py: what seeds may be, and which trials come next until every difference is known."""

import pytest

from fsg.record.ledger import StudyState, TrialRecord
from fsg.record.remaining import next_seeds
from fsg.study.seeds import SequentialSeeds, Until
from fsg.study.spec import load_study, to_yaml

RULE = "{min: 3, max: 6, until: half_width <= 0.5}"


@pytest.fixture
def growing(files, ablation_text):
    return files.load(ablation_text, ("[0, 1]", RULE))


def after(trials, value=lambda trial: 90.0, status=lambda trial: "finished"):
    records = {}
    for trial in trials:
        done = status(trial)
        final = {"val_accuracy": value(trial)} if done == "finished" else None
        records[trial.key] = TrialRecord(trial.key, trial.arm, trial.seed, {}, status=done, final=final)
    return StudyState(trials=records)


def never(differences, half_width):
    return False


def always(differences, half_width):
    return True


def test_both_forms_of_the_rule_mean_the_same(files, ablation_text, growing):
    assert growing.seeds == SequentialSeeds(min=3, max=6, until=Until(half_width=0.5))
    assert files.load(ablation_text, ("[0, 1]", "{min: 3, max: 6, until: {half_width: 0.5}}")) == growing
    assert growing.first_seeds == (0, 1, 2)


def test_the_rule_survives_the_resolved_file(files, growing):
    files.path.write_bytes(to_yaml(growing))
    assert load_study(files.path) == growing


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("{min: 1, max: 6, until: half_width <= 1}", "min is 1 and max is 6, expected 2 <= min < max <= 200."),
        ("{min: 3, max: 3, until: half_width <= 1}", "expected 2 <= min < max <= 200."),
        ("{min: 3, max: 999, until: half_width <= 1}", "expected 2 <= min < max <= 200."),
        ("{min: 3.0, max: 6, until: half_width <= 1}", "min is 3.0, expected a whole number."),
        ("{min: 3, max: 6}", '"until" is missing'),
        ("{min: 3, max: 6, until: half_width <= 1, by: 2}", 'has an unknown key "by"'),
        ("{min: 3, max: 6, until: half_width <= 0}", "until is 'half_width <= 0', expected a positive width"),
        ("{min: 3, max: 6, until: half_width <= nan}", "expected a positive width"),
        ("{min: 3, max: 6, until: half_width < 1}", "expected a positive width"),
        ("{min: 3, max: 6, until: 0.3}", "until is 0.3, expected a positive width"),
        ("{min: 3, max: 6, until: {width: 1}}", "expected a positive width"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_at_its_line(files, ablation_text, rule, message):
    found = files.refused(ablation_text, ("[0, 1]", rule))
    assert found.startswith('study.yaml:6: "seeds": ')
    assert message in found


def test_one_seed_is_refused_where_intervals_are_asked_for(files, ablation_text):
    found = files.refused(ablation_text, ("[0, 1]", "[3]"))
    assert found == (
        "study.yaml:6: one seed has no spread, so no interval; give at least 2 seeds, or ask for none: "
        "analysis.interval: null."
    )
    assert files.load(ablation_text, ("[0, 1]", "[3]"), ("0.9", "null")).analysis.interval is None


def test_seeds_until_an_interval_need_an_interval(files, ablation_text):
    found = files.refused(ablation_text, ("[0, 1]", RULE), ("0.9", "null"))
    assert found.startswith("study.yaml:13: seeds are added until an interval is narrow enough")


def test_a_study_begins_with_its_first_seeds(growing):
    assert next_seeds(growing, StudyState(), always) == growing.plan.trials()
    assert {trial.seed for trial in growing.plan.trials()} == {0, 1, 2}


def test_a_seed_is_added_while_a_difference_is_not_known(growing):
    more = next_seeds(growing, after(growing.plan.trials()), never)
    assert [(trial.arm, trial.seed) for trial in more] == [("full", 3), ("no_lre", 3), ("ste", 3)]


def test_no_seed_is_added_when_all_differences_are_known(growing):
    assert next_seeds(growing, after(growing.plan.trials()), always) == []


def test_the_decision_is_asked_of_every_arm_against_reference_and_baseline(growing):
    worth = {"full": 3.0, "no_lre": 2.0, "ste": 0.0}
    asked = []
    next_seeds(
        growing,
        after(growing.plan.trials(), lambda t: worth[t.arm] + t.seed),
        lambda d, w: asked.append((d, w)) or True,
    )
    assert asked == [([d] * 3, 0.5) for d in (-1.0, -3.0, 3.0, 2.0)]


def test_one_wide_difference_is_enough_to_go_on(growing):
    state = after(growing.plan.trials(), lambda t: 10.0 * t.seed if t.arm == "no_lre" else 1.0)
    assert next_seeds(growing, state, lambda d, w: max(d) - min(d) <= w) != []


def test_what_has_not_ended_comes_first_after_a_kill(growing):
    begun = growing.plan.trials(range(4))
    stopped = begun[-1]
    state = after(begun, status=lambda t: "running" if t == stopped else "finished")
    assert next_seeds(growing, state, always) == [stopped]
    del state.trials[stopped.key]
    assert next_seeds(growing, state, always) == [stopped]


def test_the_last_seed_is_the_last_whatever_is_known(growing):
    assert next_seeds(growing, after(growing.plan.trials(range(6))), never) == []


def test_a_failed_trial_leaves_too_few_pairs_to_stop_on(growing):
    state = after(growing.plan.trials(), status=lambda t: "failed" if (t.arm, t.seed) == ("no_lre", 1) else "finished")
    assert {trial.seed for trial in next_seeds(growing, state, always)} == {3}


def test_an_arm_that_always_fails_does_not_keep_the_study_going(growing):
    state = after(growing.plan.trials(), status=lambda t: "failed" if t.arm == "no_lre" else "finished")
    assert next_seeds(growing, state, always) == []


def test_a_list_of_seeds_is_run_to_its_end_and_no_further(ablation):
    assert next_seeds(ablation, StudyState(), never) == ablation.plan.trials()
    assert next_seeds(ablation, after(ablation.plan.trials()), never) == []
