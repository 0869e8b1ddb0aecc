"""Who leads, and whether more than chance says so."""

import numpy as np
import pytest

from fsg.stats.leader import leader, stands_out


def of_seeds(*values):
    return dict(enumerate(values))


def test_the_leader_has_the_best_mean_among_those_with_the_most_seeds():
    values = {"a": of_seeds(1.0, 3.0), "b": of_seeds(2.0, 2.5), "lucky": {0: 9.0}, "none": {}}
    assert (leader(values, "max"), leader(values, "min")) == ("b", "a")
    assert leader({"none": {}}, "max") is None and leader({}, "max") is None


def test_an_arm_stands_out_where_every_test_tells_it_from_the_other():
    far, near, wild = of_seeds(9.0, 9.1, 9.3), of_seeds(5.0, 5.2, 5.1), of_seeds(1.0, 9.0, 9.2)
    assert stands_out({"a": far, "b": near}, "a", "max") and stands_out({"a": far, "b": near}, "b", "min")
    assert not stands_out({"a": far, "b": near}, "b", "max"), "it is told from the other, as the worse"
    assert not stands_out({"a": far, "b": near, "c": wild}, "a", "max")


@pytest.mark.parametrize(
    ("theirs", "why"),
    [({}, "nobody to be told from"), ({7: 1.0}, "no shared seed"), ({0: 1.0}, "one shared seed"),
     ({0: 8.0, 1: 9.0, 2: 10.0}, "the same difference in every seed")],
)  # fmt: skip
def test_without_spread_and_pairs_nobody_stands_out(theirs, why):
    assert not stands_out({"a": of_seeds(9.0, 10.0, 11.0), "b": theirs}, "a", "max"), why


@pytest.mark.parametrize("arms", [2, 3, 6])
def test_among_equal_arms_somebody_stands_out_in_one_study_of_twenty_at_most(arms):
    """5 seeds, 1,000 studies; the leader is chosen by the data that are tested. 70 of them is 2.9 sd above 50."""
    draw = np.random.default_rng(0).normal(size=(1_000, arms, 5)).tolist()
    studies = [{arm: of_seeds(*row) for arm, row in enumerate(study)} for study in draw]
    assert sum(stands_out(study, leader(study, "max"), "max") for study in studies) <= 70
