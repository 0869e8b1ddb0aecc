"""The one sentence that a report begins with: which arm is better, by how much, or that nobody can tell yet."""

from dataclasses import replace

import pytest
from handmade import Metric, arms, state, trial
from test_study_report import FACTORIAL, factorial_state, study
from test_top import configured

from fsg.report.answer import answer, answer_of_search, effects_in_words
from fsg.report.comparison import compare
from fsg.report.factors import factor_report
from fsg.report.study_report import StudyReport, make_report
from fsg.report.top import top_configurations
from fsg.stats.sequential import plan_looks


def answered(study, **more):
    more = {"metric": Metric(), "reference": "full", "baseline": "ste", "smallest_effect": 0.5} | more
    return answer(compare(study, **more))


FIVE = (0.0, 1.0, 2.0, 3.0, 4.0)
FAR = arms(
    full=tuple(92.0 + v + e for v, e in zip(FIVE, (0.1, -0.1, 0.2, -0.2, 0.0), strict=True)),
    ste=tuple(90.0 + v for v in FIVE),
)


def test_a_difference_that_stands_is_said_with_its_interval_in_the_direction_it_goes():
    found = answered(FAR)
    assert found.finding == "better"
    assert found.sentence == (
        "full is better than ste: its val_accuracy is 2.00 ± 0.20 points higher (95% interval 1.80 to 2.20, 5 paired seeds)."
    )


def test_of_a_loss_higher_is_worse_and_the_interval_keeps_its_sign():
    found = answered(FAR, metric=Metric(name="val_accuracy", mode="min", unit=""))
    assert found.finding == "worse" and "is 2.00 ± 0.20 higher (95% interval 1.80 to 2.20" in found.sentence
    found = answered(FAR, reference="ste", baseline="full")
    assert found.finding == "worse" and "2.00 ± 0.20 points lower (95% interval 1.80 to 2.20" in found.sentence


def test_what_lies_within_the_smallest_effect_is_equivalent_even_where_it_is_certain():
    near = arms(full=(90.2, 91.2, 92.21, 93.19), ste=(90.0, 91.0, 92.0, 93.0))
    found = answered(near)
    assert found.finding == "equivalent" and found.sentence.endswith("within the ±0.5 that would matter.")


def test_what_the_seeds_do_not_tell_is_not_called_better():
    found = answered(arms(full=(92.0, 90.0, 91.0), ste=(90.0, 91.0, 90.5)))
    assert found.finding == "not yet known" and found.sentence.startswith(
        "3 paired seeds do not tell full from ste: its"
    )
    found = answered(arms(full=(92.0,), ste=(90.0,)))
    assert (
        found.sentence
        == "One seed does not tell full from ste: its val_accuracy is 2.00 points higher, and one pair has no interval."
    )
    found = answered(arms(full=(92.0, 93.0), ste=(90.0, 91.0)))
    assert found.finding == "not yet known"
    assert found.sentence.endswith("is 2.00 points higher in each of them, and equal differences prove no spread.")


def test_seeds_added_one_by_one_are_judged_by_the_interval_of_every_look():
    assert answered(FAR, looks=plan_looks(3, 10)).finding == "better"


def test_without_a_baseline_the_best_other_arm_stands_against_the_reference():
    found = answered(arms(full=(90.0, 91.0, 92.5), a=(91.0, 92.1, 93.4), b=(92.0, 93.1, 94.4)), baseline=None)
    assert found.sentence.startswith("b is better than full: its val_accuracy is 2.0")


def test_of_arms_that_differ_in_nothing_that_acted_nothing_is_claimed():
    found = compare(FAR, metric=Metric(), reference="full", baseline="ste")
    full, ste = found.rows
    idle = replace(found, rows=(replace(full, vs_baseline=None, refused_baseline="hgs"), ste))
    assert (
        answer(idle).sentence == "No verdict on full and ste: hgs was not exercised, and they differ in nothing else."
    )


def test_a_study_without_a_pair_says_how_far_it_is():
    nothing = state(trial("full", 0, None, status="running"), trial("ste", 0, 90.0))
    assert answered(nothing).sentence == "Not yet known: 1 of 2 trials finished, and no two arms pair."


def test_effects_are_told_from_those_that_are_not():
    noise = ((0.1, -0.2, 0.15, 0.05), (-0.1, 0.2, 0.1, -0.15), (0.05, 0.1, -0.1, 0.0), (0.2, -0.1, 0.0, 0.1))
    levels = {"full": (1, 1), "no_lre": (1, 0), "no_hgs": (0, 1), "no_hgs_lre": (0, 0)}
    values = {a: tuple(90.0 + 2 * hgs + e for e in es) for (a, (hgs, _)), es in zip(levels.items(), noise, strict=True)}
    found = compare(arms(**values), metric=Metric(), reference="full", baseline=None)
    said = effects_in_words(found, factor_report(found, ["hgs", "lre"], levels))
    idle = effects_in_words(found, replace(factor_report(found, ["hgs", "lre"], levels), idle=frozenset({"lre"})))
    assert idle.endswith("points; no verdict on lre, which did not act.")
    assert said.startswith("Of the switches, hgs is worth +1.99 ± 0.17 points") and said.endswith(
        "points; lre cannot be told from nothing."
    )


@pytest.mark.parametrize(("seeds", "said"), [(1, "97.00 % (one seed, so no interval"), (3, "(95% interval")])
def test_a_search_names_the_best_it_found_and_never_calls_it_told_without_a_test(seeds, said):
    trials = [configured(lr, s, 95.0 + lr * 10 + s) for lr in (0.1, 0.2) for s in range(seeds)]
    top = top_configurations(state(*trials), Metric())
    found = answer_of_search(top)
    assert found.sentence.startswith("The best configuration found is 0.2-0: val_accuracy 9") and said in found.sentence
    assert "not told from the 1 other by a test" in found.sentence
    assert StudyReport("search", "", (), {}, state(*trials), ranking=top).answers == [found]


def test_mlflows_note_is_the_question_its_answer_and_as_many_tables_as_there_is_room_for(monkeypatch):
    report = make_report(study(**FACTORIAL), factorial_state())
    question, sentence = report.note.split("\n\n")[:2]
    assert (question, sentence.replace("\\", "")) == (
        "**Q?**",
        report.answers[0].sentence,
    ) and "| full |" in report.note
    monkeypatch.setattr("fsg.report.study_report.MOST_NOTE", 300)
    assert report.note == f"{question}\n\n{sentence}"
    assert set(report.arm_meanings) == {name for numbers in report.arm_metrics.values() for name in numbers} | {
        "ci_half"
    }
