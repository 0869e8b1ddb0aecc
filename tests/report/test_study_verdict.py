import pytest
from handmade import HEADER, arms, state, trial

from fsg.errors import StudyError
from fsg.report.study_report import make_report
from fsg.report.verdict import verdict
from fsg.stats.paired import holm
from fsg.stats.sequential import AnyLook, plan_looks
from fsg.study.spec import parse_study
from fsg.yaml_source import YamlSource
from tests.report.test_exercised_arms import ARMS as IDLE_ARMS
from tests.report.test_exercised_arms import SPEC as IDLE_SPEC

PLAN = {
    "name": "components",
    "seeds": [0, 1, 2, 3, 4, 5],
    "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
    "arms": {"full": {"gradient": {"name": "fsg"}}, "tuned": {"optimizer": {"lr": 0.003}}},
    "baselines": ["ste", "scalar"],
    "analysis": {"reference": "full", "baseline": "ste", "smallest_effect_of_interest": 0.5},
}
SEEDS = (90.0, 90.5, 89.7, 90.2, 90.1, 89.9)
# By how much each arm is above ste, seed by seed.
OVER = {
    "full": (2.0, 2.2, 1.9, 2.1, 2.0, 2.3),
    "tuned": (0.5, -0.6, 0.4, -0.3, 0.1, -0.2),
    "scalar": (0.02, -0.03, 0.01, 0.0, -0.02, 0.02),
}


def spec(**changes):
    return parse_study(YamlSource("study.yaml", PLAN | changes))


def study(**over):
    values = {arm: tuple(s + d for s, d in zip(SEEDS, diff, strict=False)) for arm, diff in (OVER | over).items()}
    return arms(**values, ste=SEEDS)


@pytest.mark.parametrize(
    ("arm", "against", "answer", "code"),
    [
        ("full", None, "better", 0),
        ("full", "ste", "better", 0),
        ("ste", None, "worse", 3),
        ("ste", "full", "worse", 3),
        ("scalar", None, "equivalent", 4),
        ("tuned", "ste", "not yet known", 5),
        ("scalar", "full", "worse", 3),
    ],
)
def test_each_answer_has_its_exit_code(arm, against, answer, code):
    found = verdict(spec(), study(), arm, against)
    assert (found.answer, found.exit_code) == (answer, code)


def test_where_less_is_better_the_lower_arm_is_better():
    less = spec(metric={"name": "val_accuracy", "mode": "min"})
    assert verdict(less, study(), "ste", "full").answer == "better"
    assert verdict(less, study(), "full", "ste").answer == "worse"


@pytest.mark.parametrize("arm", ["full", "tuned", "scalar"])  # scalar is a sham
def test_its_numbers_are_those_of_the_comparison(arm):
    found = verdict(spec(), study(), arm)
    row = next(row for row in make_report(spec(), study()).comparison.rows if row.arm == arm)
    assert (found.compared, found.marks) == (row.vs_baseline, row.verdict_baseline)
    assert found.effect.estimate == row.vs_baseline.estimate and found.effect.n == row.vs_baseline.n
    assert found.effect.half_width > row.vs_baseline.half_width  # every look against one
    assert found.smallest_effect == 0.5


def test_an_arm_against_any_other_has_the_numbers_of_a_comparison_with_that_one():
    found = verdict(spec(), study(), "scalar", "tuned")
    other = PLAN["analysis"] | {"baseline": "tuned"}
    row = next(r for r in make_report(spec(analysis=other), study()).comparison.rows if r.arm == "scalar")
    assert (found.compared, found.marks) == (row.vs_baseline, row.verdict_baseline)


def test_the_interval_and_the_p_hold_at_any_look_and_holm_corrects_over_all_arms():
    found = verdict(spec(), study(), "tuned")
    assert (found.effect.low, found.effect.high) == pytest.approx(
        (AnyLook().interval(OVER["tuned"]).low, AnyLook().interval(OVER["tuned"]).high)
    )
    p = holm([AnyLook().p(d) for d in OVER.values()])[1]
    assert found.claims.p_differs == pytest.approx(p) and found.family == 3


def test_seeds_added_by_a_rule_have_the_interval_of_its_looks_and_of_the_comparison():
    rule = spec(seeds={"min": 3, "max": 8, "until": {"half_width": 0.1}})
    found = verdict(rule, study(), "full")
    row = next(row for row in make_report(rule, study()).comparison.rows if row.arm == "full")
    assert found.effect == found.compared == row.vs_baseline
    assert found.effect.high == pytest.approx(plan_looks(3, 8).interval(OVER["full"]).high)
    assert found.answer == "better" and found.marks is None


def test_too_few_seeds_say_nothing_and_how_many_have_been_is_said():
    for n, said in (
        (1, "+2.00 points of val_accuracy over 1 paired seed"),
        (2, "+2.1 points of val_accuracy over 2 paired seeds"),
    ):
        found = verdict(spec(), study(full=OVER["full"][:n]), "full")
        assert found.answer == "not yet known" and found.seeds == tuple(range(n))
        assert said in " ".join(found.sentences)
    started = [trial(arm, 0, None, status="running") for arm in ("full", "ste", "tuned", "scalar")]
    nothing = verdict(spec(), state(*started), "full")
    assert nothing.answer == "not yet known" and nothing.effect is None
    assert "share no finished seed; at least two are needed" in " ".join(nothing.sentences)


def test_differences_without_spread_are_refused_and_why_is_said():
    found = verdict(spec(), study(scalar=(0.0,) * 6), "scalar")
    assert (found.answer, found.claims, found.more) == ("not yet known", None, None)
    assert "the difference is 0 in every one of 6 seeds" in found.refused[0]
    assert any(sentence.startswith("No verdict: the difference is 0") for sentence in found.sentences)


def test_what_is_not_yet_known_says_how_many_more_seeds_and_what_they_cost():
    trials = study(full=(1.0, 0.2, 0.6, 0.9, 0.1, 0.7)).trials.values()
    for record in trials:
        record.started, record.ended = 1.8e9, 1.8e9 + {"full": 7200, "ste": 1800}.get(record.arm, 360)
        record.attempts = 1
    found = verdict(spec(), state(*trials), "full")
    assert found.answer == "not yet known" and 0 < found.more.half <= found.more.likely
    assert found.seed_hours == pytest.approx((2.5, 2.7))
    text = " ".join(found.sentences)
    assert f"by {found.more.half} more paired seeds, in 80% by {found.more.likely}." in text
    assert (
        f"{found.more.likely} more seeds take {2.5 * found.more.likely:.2g} hours of training for these two arms"
        in text
    )


def test_a_trial_that_was_interrupted_does_not_count_towards_the_cost():
    trials = study().trials.values()
    for record in trials:
        record.started, record.ended, record.attempts = (
            1.8e9,
            1.8e9 + 3600 * (1 + 99 * (record.seed > 1)),
            1 + (record.seed > 1),
        )
    assert verdict(spec(), state(*trials), "tuned").seed_hours == pytest.approx((2.0, 4.0))


def test_a_level_of_its_own_takes_the_place_of_holms_correction():
    loose, strict = (verdict(spec(), study(), "full", level=level) for level in (0.05, 1e-9))
    assert (loose.answer, strict.answer) == ("better", "not yet known")
    assert loose.claims.p_differs == pytest.approx(AnyLook().p(OVER["full"])) and loose.family == 1


def test_an_arm_of_a_cross_is_held_against_one_of_its_own_block():
    cross = spec(
        design={"kind": "cross", "quantizers": ["dorefa", "bwn"]}, arms={"full": {"gradient": "fsg"}}, baselines=["ste"]
    )
    trials = [trial(f"{block}/{arm}", seed, SEEDS[seed] + (OVER["full"][seed] * sign if arm == "full" else 0))
              for block, sign in (("dorefa", 1), ("bwn", -1)) for arm in ("full", "ste") for seed in range(6)]  # fmt: skip
    answers = [verdict(cross, state(*trials), f"{block}/full", "ste").answer for block in ("dorefa", "bwn")]
    assert answers == ["better", "worse"]
    assert verdict(cross, state(*trials), "bwn/full").against == "bwn/ste"
    with pytest.raises(StudyError, match='has no arm "dorefa/ste" beside bwn/full'):
        verdict(cross, state(*trials), "bwn/full", "dorefa/ste")


@pytest.mark.parametrize(
    ("arm", "against", "message"),
    [
        ("ful", None, r'components has no arm "ful". Did you mean "full"\? Its arms: full, tuned, ste, scalar.'),
        ("full", "st", r'components has no arm "st" beside full. Did you mean "ste"\?'),
        ("full", "full", "full against itself is no question; name another arm: --against ARM"),
    ],
)
def test_an_arm_that_is_none_is_refused(arm, against, message):
    with pytest.raises(StudyError, match=message):
        verdict(spec(), study(), arm, against)


def test_a_sweep_has_no_verdict():
    sweep = {
        "name": "s",
        "metric": {"name": "val_accuracy", "mode": "max"},
        "space": {"optimizer.lr": {"loguniform": [0.001, 0.1]}},
        "search": {"trials": 3},
    }
    with pytest.raises(StudyError, match="s: a sweep has no arms; a verdict is of an arm of an ablation"):
        verdict(parse_study(YamlSource("s.yaml", sweep)), state(header=HEADER), "full")


def test_the_first_sentence_is_the_answer():
    assert verdict(spec(), study(), "full").sentences[:2] == [
        "full is better than ste.",
        "+2.08 [+1.79, +2.38] points of val_accuracy over 6 paired seeds; the 95% interval holds at every look.",
    ]
    assert verdict(spec(), study(), "scalar").sentences[0] == (
        "scalar is equivalent to ste: it differs by less than 0.5 points of val_accuracy, the smallest effect of interest."
    )


def test_two_arms_that_differ_in_a_part_that_did_not_act_get_no_verdict():
    trials = [record for found in IDLE_ARMS.values() for record in found]
    found = verdict(IDLE_SPEC, state(*trials), "no_hgs", "full")
    assert (found.answer, found.exit_code, found.compared, found.claims) == ("not yet known", 5, None, None)
    assert "the two differ in hgs alone, which was not exercised" in found.refused[0]
    assert verdict(IDLE_SPEC, state(*trials), "no_fsg", "full").refused != found.refused
