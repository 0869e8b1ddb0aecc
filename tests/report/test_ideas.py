import pytest
from test_study_verdict import OVER, spec, study

from fsg.record.ideas import Idea, Look
from fsg.report.ideas import ideas_grid, look_of, standings
from fsg.report.verdict import verdict
from fsg.stats.online import next_level
from fsg.stats.sequential import AnyLook

A, B = Idea("first", "1", "full", "ste", "val_accuracy"), Idea("second", "2", "full", "ste", "val_accuracy")


def test_a_log_keeps_of_a_verdict_its_p_before_any_correction():
    found = verdict(spec(), study(), "full", level=0.05)
    look = look_of(found)
    assert (look.idea.arm, look.idea.against, look.seeds, look.better) == ("full", "ste", 6, True)
    assert look.p == pytest.approx(AnyLook().p(OVER["full"])) and look.effect == found.effect.estimate


def test_less_is_better_where_the_metric_says_so():
    less = spec(metric={"name": "val_accuracy", "mode": "min"})
    assert not look_of(verdict(less, study(), "full", level=0.05)).better


def test_a_verdict_without_a_p_is_no_look():
    assert look_of(verdict(spec(), study(scalar=(0.0,) * 6), "scalar", level=0.05)) is None


def test_arms_of_one_name_in_two_studies_are_two_ideas():
    found = standings(0.05, [Look(A, 3, 1.0, 0.5, True), Look(B, 3, 1.0, 0.5, True)])
    assert [found[A].number, found[B].number] == [1, 2]
    assert found[B].level == next_level(1, [])


def test_the_table_says_what_each_idea_was_found_to_be_and_when():
    looks = [
        Look(A, 3, 1.0, 0.5, True),
        Look(B, 4, -1.0, 1e-6, False),
        Look(A, 8, 0.9, 1e-4, True),
        Look(A, 9, 0.8, 0.2, True),
    ]
    grid = ideas_grid(0.05, looks)
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["1", "first: full against ste", "9", "+0.80", "0.2", "0.011", "better at 8 seeds"],
        ["2", "second: full against ste", "4", "−1.00", "<0.001", "0.0036", "worse at 4 seeds"],
    ]
    assert grid.notes[0].startswith(
        "2 of 2 ideas are discoveries; of all discoveries, at most 5% are expected to be false"
    )
