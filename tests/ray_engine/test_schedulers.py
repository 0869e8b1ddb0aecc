"""Proof of fsg/search/decisions.py: results in, decisions out. No Ray, milliseconds."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import digest
from fsg.search.decisions import Brackets, Halving, MedianRule, Never


def run(rule, curves):
    """Trials side by side, epoch by epoch; how many epochs each was given."""
    alive, given_epochs = dict(curves), dict.fromkeys(curves, 0)
    for epoch in range(1, max(map(len, curves.values())) + 1):
        for key, curve in list(alive.items()):
            if epoch > len(curve):
                continue
            given_epochs[key] = epoch
            if epoch < len(curve) and rule.stop(key, epoch, curve[epoch - 1]):
                del alive[key]
    return given_epochs


def flat(count, epochs=9):
    """Trials that reach their number at once, the best first; keys as trials have them."""
    return {digest(n): [float(count - n)] * epochs for n in range(count)}


def test_without_a_rule_every_trial_runs_to_its_end():
    assert set(run(Never(), flat(5)).values()) == {9}


def test_the_best_third_goes_on_from_each_rung():
    curves = flat(27)
    rule = Halving(1, 3, 9)
    for values in curves.values():  # all have come to both rungs
        rule.rungs[1] = {key: values[0] for key, values in curves.items()}
    decisions = {key: rule.stop(key + "x", 1, values[0]) for key, values in curves.items()}
    assert sum(reason is None for reason in decisions.values()) <= 12
    assert decisions[digest(0)] is None
    assert decisions[digest(26)] is not None


def test_rungs_are_powers_of_the_factor_below_the_end():
    assert list(Halving(1, 3, 27).rungs) == [1, 3, 9]
    assert list(Halving(3, 2, 15).rungs) == [3, 6, 12]
    assert list(Halving(1, 3, 9).rungs) == [1, 3]


def test_the_first_trials_at_a_rung_go_on_and_a_reason_says_where_the_next_stood():
    rule = Halving(2, 3, 10)
    assert [rule.stop(key, 2, value) for key, value in [("a", 3.0), ("b", 1.0)]] == [None, None]
    assert rule.stop("c", 2, 2.0) == "2 of 3 at epoch 2, where the best 1 go on"
    assert rule.stop("d", 2, 4.0) is None
    assert rule.stop("a", 1, 0.0) is rule.stop("a", 3, 0.0) is None, "not at a rung"


def test_a_trial_is_judged_once_a_rung_and_at_the_first_value_after_it():
    rule = Halving(2, 2, 10)
    assert rule.stop("a", 2, 5.0) is None
    assert rule.stop("b", 3, 4.0), "its value at epoch 2 was not finite"
    assert rule.stop("a", 2, 0.0) is None, "a resumed trial reports an epoch again"


def test_equal_trials_are_not_told_apart():
    rule = Halving(1, 2, 10)
    assert not any(rule.stop(key, 1, 1.0) for key in "abcdef")


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=40), st.integers(2, 5))
def test_the_best_trial_so_far_is_never_stopped(values, factor):
    rule = Halving(1, factor, 100)
    for n, value in enumerate(values):
        reason = rule.stop(str(n), 1, value)
        assert reason is None or value < max(values[:n])


def test_brackets_decide_later_and_later_and_the_last_never():
    rule = Brackets(1, 3, 27)
    assert [list(h.rungs) for h in rule.halvings] == [[1, 3, 9], [3, 9], [9], []]


def test_a_bracket_follows_from_the_key_alone_in_hyperbands_proportions():
    rule = Brackets(1, 3, 27)
    counts = [0] * 4
    for n in range(4000):
        counts[rule.bracket(digest(n))] += 1
    expected = [27 / 4, 9 / 3, 3 / 2, 1]
    assert [c / 4000 for c in counts] == pytest.approx([w / sum(expected) for w in expected], abs=0.03)
    assert counts == sorted(counts, reverse=True)
    assert all(Brackets(1, 3, 27).bracket(digest(n)) == rule.bracket(digest(n)) for n in range(50))


def test_a_trial_competes_within_its_bracket():
    rule = Brackets(1, 3, 27)
    first = [digest(n) for n in range(40) if rule.bracket(digest(n)) == 0][:4]
    other = next(digest(n) for n in range(40) if rule.bracket(digest(n)) == 1)
    for key, value in zip(first[:3], (3.0, 2.5, 2.6), strict=True):
        rule.stop(key, 1, value)
    assert rule.stop(first[3], 1, 1.0).startswith("bracket 0: 4 of 4 at epoch 1")
    assert rule.stop(other, 1, 0.0) is None


def test_below_the_median_of_the_others_is_stopped_after_grace():
    rule = MedianRule(2, 3)
    for key, value in (("a", 1.0), ("b", 2.0), ("c", 3.0)):
        assert rule.stop(key, 1, value) is rule.stop(key, 2, value) is None
    assert rule.stop("low", 1, 0.0) is None, "grace"
    assert rule.stop("low", 2, 1.5) == "best 1.5 below 2, the median of 3 at epoch 2"
    assert rule.stop("high", 1, 0.0) is rule.stop("high", 2, 2.5) is None
    assert rule.stop("far", 3, 0.0) is None, "nobody else has come so far"


def test_the_median_is_of_means_and_a_trial_is_judged_by_its_best():
    rule = MedianRule(1, 2)
    for key in "ab":
        rule.stop(key, 1, 0.0)
        rule.stop(key, 2, 4.0)  # mean 2 up to epoch 2
    rule.stop("c", 1, 3.0)
    assert rule.stop("c", 2, 1.0) is None


@pytest.mark.parametrize("make", [lambda: Halving(1, 3, 9), lambda: Brackets(1, 3, 9), lambda: MedianRule(1, 3)])
def test_a_rule_told_an_earlier_runs_results_decides_as_if_never_interrupted(make):
    rng = random.Random(0)
    curves = {digest(n): [rng.random() + 0.1 * e for e in range(9)] for n in range(60)}
    told, whole, half = [], make(), make()
    keys = list(curves)
    for key in keys[:30]:
        for epoch, value in enumerate(curves[key][:-1], 1):
            told.append((key, epoch, value))
            if whole.stop(key, epoch, value):
                break
    for event in told:
        half.stop(*event)
    for key in keys[30:]:
        for epoch, value in enumerate(curves[key][:-1], 1):
            decision = whole.stop(key, epoch, value)
            assert decision == half.stop(key, epoch, value)
            if decision:
                break


@pytest.mark.parametrize("rule", [Halving(1, 3, 9), Brackets(1, 3, 9), MedianRule(1, 3)])
def test_most_epochs_go_to_good_trials(rule):
    rng = random.Random(1)
    keys = list(flat(60))
    quality = {key: rng.random() for key in keys}
    curves = {key: [quality[key] + 0.02 * rng.gauss(0, 1) for _ in range(9)] for key in keys}
    epochs = {key: 0 for key in keys}
    for key in keys:  # one after another, as a search goes
        for epoch, value in enumerate(curves[key], 1):
            epochs[key] = epoch
            if epoch < 9 and rule.stop(key, epoch, value):
                break
    ranked = sorted(keys, key=quality.get, reverse=True)
    assert sum(epochs.values()) < 0.75 * 9 * 60
    assert epochs[ranked[0]] == 9
    assert sum(epochs[k] for k in ranked[:20]) > 1.3 * sum(epochs[k] for k in ranked[-20:])
