"""Proof of fsg/search/curve_sampler.py: what the model is told, and that a halving hears of it."""

import math

import optuna
import pytest

from fsg.config import digest
from fsg.search.curve_sampler import CurveSampler, _thinned
from fsg.search.decisions import Halving
from fsg.search.proposals import Proposals
from fsg.study.space import Space

SPACE = Space.model_validate({"gradient.beta": {"uniform": [0.0, 1.0]}, "optimizer.lr": {"loguniform": [1e-3, 1]}})
STATE = optuna.trial.TrialState


def proposals(mode="max", longest=9, seed=0, startup=None):
    return Proposals(SPACE, CurveSampler(SPACE, longest, seed, startup), None, "val_accuracy", mode, digest, seed=seed)


def slow(point, epoch):
    """The larger beta, the better the end and the worse the first epoch."""
    return 100 * point["gradient.beta"] * (1 - 2 * (1 - math.log(epoch) / math.log(9)))


def run(searcher, count, value, epochs=lambda n: 9):
    """Trials one after another; the points and keys."""
    asked = []
    for n in range(count):
        key, point = searcher.ask()
        last = epochs(n)
        for epoch in range(1, last + 1):
            searcher.report(key, {"epoch": epoch, "val_accuracy": value(point, epoch)})
        searcher.end(key, "finished" if last == 9 else "pruned")
        asked.append((key, point))
    return asked


@pytest.mark.parametrize(
    ("steps", "state", "value", "found"),
    [
        ({1: 1.0, 2: 2.0, 3: 3.0}, STATE.PRUNED, None, {1: 1.0, 2: 2.0, 3: 3.0}),
        ({n: float(n) for n in range(1, 10)}, STATE.COMPLETE, 8.5, {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0, 9: 8.5}),
        ({}, STATE.COMPLETE, 5.0, {9: 5.0}),
        ({1: float("nan"), 2: 2.0}, STATE.FAIL, None, {2: 2.0}),
        ({}, STATE.RUNNING, None, {}),
    ],
)
def test_a_trial_gives_its_values_at_powers_of_two_and_at_its_last_epoch(steps, state, value, found):
    trial = optuna.trial.create_trial(state=STATE.WAITING, intermediate_values=steps)
    trial.state, trial.values = state, None if value is None else [value]
    assert dict(_thinned(trial, 9)) == found


def test_before_the_model_leads_nothing_is_expected():
    searcher = proposals()
    key, _ = searcher.ask()
    assert searcher.expected(1, {key: 50.0}) is None


@pytest.mark.parametrize("mode", ["max", "min"])
def test_stopped_trials_are_expected_to_end_as_their_neighbours_did(mode):
    sign = 1 if mode == "max" else -1
    searcher = proposals(mode, startup=16)
    asked = run(searcher, 16, lambda p, e: sign * slow(p, e), epochs=lambda n: 9 if n % 2 else 1)
    stopped = [(key, point) for n, (key, point) in enumerate(asked) if not n % 2]
    ends = searcher.expected(1, {key: sign * slow(point, 1) for key, point in stopped})
    low = [ends[key] for key, point in stopped if point["gradient.beta"] < 0.4]
    high = [ends[key] for key, point in stopped if point["gradient.beta"] > 0.6]
    assert low and high and max(low) < min(high)


def test_the_newest_value_is_known_before_the_searcher_is_told():
    """Ray asks its scheduler first."""
    searcher = proposals()
    run(searcher, 10, slow)
    key, _ = searcher.ask()
    searcher.expected(1, {key: -30.0})
    trial = searcher._study.trials[-1]
    assert trial.intermediate_values == {1: -30.0}


def test_running_trials_push_the_next_point_away():
    searcher = proposals()
    run(searcher, 12, slow)
    waiting = [searcher.ask()[1] for _ in range(4)]
    assert len({round(point["optimizer.lr"], 6) for point in waiting}) == 4


def test_a_halving_keeps_what_a_model_expects_to_end_well():
    values = {digest(n): float(n) for n in range(9)}
    rule = Halving(1, 3, 9)
    rule.rungs[1] = dict(values)
    assert rule.stop("slow", 1, -1.0) == "10 of 10 at epoch 1, where the best 3 go on"
    del rule.rungs[1]["slow"]
    rule.expected = lambda epoch, seen: {key: -value for key, value in seen.items()}
    assert rule.stop("slow", 1, -1.0) is None
    assert rule.stop("fast", 1, 100.0) is None, "a model stops nothing that its value keeps"
    assert rule.stop("middle", 1, 4.5) == "6 of 12 at epoch 1, and 7 by its expected end, where the best 4 go on"
    rule.expected = lambda epoch, seen: None
    assert rule.stop("other", 1, -2.0)
