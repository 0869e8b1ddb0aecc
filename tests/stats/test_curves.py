import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fsg.stats.curves import area, area_difference, band, epochs_to_target, summarise_reached
from fsg.stats.paired import mean_interval

curves = arrays(float, (3, 5), elements=st.floats(-100, 100))
quick = settings(max_examples=40, deadline=None)


def test_area_of_a_straight_line_is_its_middle_and_of_a_constant_its_height():
    assert area([[0.0, 1.0, 2.0, 3.0], [7.0, 7.0, 7.0, 7.0]]).tolist() == [1.5, 7]
    assert area([[4.0]]).tolist() == [4]


@quick
@given(curves)
def test_area_is_numpys_trapezoid_per_epoch(y):
    assert area(y) == pytest.approx(np.trapezoid(y, axis=1) / 4, abs=1e-9)


@quick
@given(curves, st.floats(-10, 10))
def test_a_curve_lifted_everywhere_differs_by_the_lift(y, lift):
    found = area_difference(y + lift, y)
    assert found.estimate == pytest.approx(lift, abs=1e-9)
    assert area_difference(y, y + lift).estimate == pytest.approx(-found.estimate, abs=1e-9)


def test_band_is_the_t_interval_of_each_epoch():
    y = np.random.default_rng(0).standard_normal((6, 4))
    found = band(y, 0.9)
    for e in range(4):
        expected = mean_interval(y[:, e], 0.9)
        assert (found.mean[e], found.low[e], found.high[e]) == pytest.approx(
            (expected.estimate, expected.low, expected.high)
        )


def test_band_leaves_out_what_was_not_recorded_and_says_how_many_remain():
    found = band([[1.0, 2.0, math.nan], [3.0, math.nan, math.nan]])
    assert found.n.tolist() == [2, 1, 0]
    assert found.mean[:2].tolist() == [2, 2] and math.isnan(found.mean[2])
    assert math.isfinite(found.low[0]) and math.isnan(found.low[1])


def test_epochs_to_target_count_from_one_and_never_is_infinite():
    losses = [[2.0, 1.0, 0.5], [2.0, math.nan, 1.9], [0.1, 3.0, 3.0]]
    assert epochs_to_target(losses, 1.0, "min").tolist() == [2, math.inf, 1]
    assert epochs_to_target(losses, [2.0, 5.0, 3.0], "max").tolist() == [1, math.inf, 2]


@quick
@given(curves, st.floats(-100, 100))
def test_a_harder_target_never_comes_earlier(y, target):
    assert np.all(epochs_to_target(y, target + 1, "max") >= epochs_to_target(y, target, "max"))


def test_a_seed_that_never_arrives_counts_as_last():
    assert summarise_reached([3.0, math.inf, 5.0]).median == 5
    assert summarise_reached([3.0, math.inf]).median == math.inf
    found = summarise_reached([2.0, 4.0])
    assert (found.median, found.reached, found.n) == (3, 2, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: area([1.0, 2.0]), r"has shape \(2,\), expected \(seeds, epochs\)"),
        (lambda: area([[1.0, math.nan]]), r"not finite for seeds at rows \[0\]"),
        (lambda: area_difference([[1.0, 2.0]], [[1.0]]), "same seeds and epochs"),
        (lambda: epochs_to_target([[1.0]], math.nan, "max"), "target: not finite"),
        (lambda: epochs_to_target([[1.0]], 1.0, "high"), 'mode is "high"'),
        (lambda: summarise_reached([]), "expected .seeds,. without NaN"),
    ],
)
def test_what_cannot_be_compared_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
