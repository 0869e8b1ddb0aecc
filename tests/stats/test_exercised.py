import numpy as np
import pytest

from fsg.stats.exercised import LEAST, exercise


def test_a_component_that_changes_nothing_was_not_exercised():
    for changes in ([0.0, 0.0, 0.0], [1e-7, 3e-8, 1e-7], [0.002, 0.003, 0.0025], [0.001]):
        assert exercise(changes).acted is False, changes


def test_one_that_changes_the_direction_in_every_seed_was():
    for changes in ([0.3, 0.31, 0.29], [0.02, 0.021, 0.022, 0.019], [0.05]):
        assert exercise(changes).acted is True, changes


def test_what_seeds_do_not_agree_on_is_open():
    assert exercise([0.001, 0.5, 0.02]).acted is None
    assert exercise([0.009, 0.011, 0.01]).acted is None
    assert exercise([0.02]).acted is None, "one seed shows no spread"


def test_the_change_is_the_geometric_mean_over_seeds():
    found = exercise([0.01, 0.04])
    assert found.change == pytest.approx(0.02, rel=1e-6) and found.n == 2
    assert found.low < 0.02 < found.high


@pytest.mark.parametrize("changes", [[], [-0.1, 0.2], [0.1, float("nan")]], ids=str)
def test_what_is_no_change_is_refused(changes):
    with pytest.raises(ValueError):
        exercise(changes)


@pytest.mark.parametrize("seeds", [1, 2, 3, 10])
@pytest.mark.parametrize("spread", [0.02, 0.2, 0.7])
def test_one_that_acts_at_the_limit_is_called_idle_in_fewer_than_one_study_in_20(seeds, spread):
    """4,000 studies; their share has a standard error of 0.35 points at 5 %, so 6 % is three of them away."""
    noise = np.random.default_rng(seeds).normal(0, spread, (4_000, seeds))
    called = sum(exercise(row).acted is False for row in LEAST * np.exp(noise))
    assert called / 4_000 < 0.06
    called = sum(exercise(row).acted is False for row in 2 * LEAST * np.exp(noise))
    assert called / 4_000 < 0.05, "twice the limit"


def test_one_that_does_nothing_is_called_idle_in_most_studies():
    noise = np.random.default_rng(0).normal(0, 0.4, (500, 3))
    assert sum(exercise(row).acted is False for row in 0.1 * LEAST * np.exp(noise)) > 475
