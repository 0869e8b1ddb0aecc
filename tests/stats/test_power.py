import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from fsg.stats.paired import sign_flip_test
from fsg.stats.power import detectable_effect, exact_floor, exact_seeds, plan_from_pilot, power, seeds_needed

quick = settings(max_examples=40, deadline=None)


def test_half_a_standard_deviation_needs_the_well_known_34_pairs():
    assert seeds_needed(0.5, 1.0) == 34
    assert seeds_needed(-0.25, 0.5) == 34
    assert power(33, 0.5, 1.0) < 0.8 <= power(34, 0.5, 1.0)


@quick
@given(st.integers(2, 60), st.floats(0.01, 3))
def test_power_is_scipys_noncentral_t(n, effect):
    edge = stats.t.ppf(0.975, n - 1)
    expected = stats.nct.sf(edge, n - 1, effect * math.sqrt(n)) + stats.nct.sf(edge, n - 1, -effect * math.sqrt(n))
    assume(math.isfinite(expected))  # scipy gives NaN where a tail is tiny
    assert power(n, effect, 1.0) == pytest.approx(expected, abs=1e-5)


def test_power_is_what_a_simulation_finds():
    x = np.random.default_rng(0).standard_normal((40_000, 6)) + 1.2
    found = (stats.ttest_1samp(x, 0, axis=1).pvalue < 0.05).mean()
    assert power(6, 1.2, 1.0) == pytest.approx(found, abs=0.01)


def test_without_an_effect_power_is_alpha():
    assert power(5, 0.0, 1.0, 0.01) == pytest.approx(0.01, rel=1e-4)


@quick
@given(st.floats(0.2, 5), st.floats(0.5, 0.95))
def test_needed_seeds_are_the_least_and_shrink_with_the_effect(effect, goal):
    n = seeds_needed(effect, 1.0, goal)
    assert power(n, effect, 1.0) >= goal
    assert n == 2 or power(n - 1, effect, 1.0) < goal
    assert seeds_needed(2 * effect, 1.0, goal) <= n


def test_a_hopeless_effect_needs_more_seeds_than_are_counted():
    assert seeds_needed(0.001, 1.0) is None


def test_a_huge_effect_is_certain_to_be_seen():
    assert power(10, 1e6, 1.0) == 1
    assert seeds_needed(1e6, 1.0) == 2


@pytest.mark.parametrize("n", [2, 5, 40])
def test_detectable_effect_inverts_power(n):
    assert power(n, detectable_effect(n, 2.0), 2.0) == pytest.approx(0.8)


def test_exact_tests_need_six_seeds_for_five_percent():
    assert exact_floor(5) == 0.0625 and exact_seeds() == 6 and exact_seeds(0.01) == 8
    assert sign_flip_test(np.arange(1.0, 6.0)).p == exact_floor(5)


def test_a_plan_from_a_pilot_is_cautious_about_its_spread():
    plan = plan_from_pilot([0.1, 1.1, -0.4, 0.9], effect=0.5)
    assert plan.sd == pytest.approx(np.std([0.1, 1.1, -0.4, 0.9], ddof=1))
    assert plan.sd_upper == pytest.approx(plan.sd * math.sqrt(3 / stats.chi2.ppf(0.2, 3)))
    assert plan.seeds == seeds_needed(0.5, plan.sd) < plan.cautious == seeds_needed(0.5, plan.sd_upper)
    assert plan.exact_seeds == 6


def test_the_cautious_spread_is_too_small_for_one_pilot_in_five():
    rng = np.random.default_rng(1)
    low = sum(plan_from_pilot(rng.standard_normal(4), 3.0).sd_upper < 1 for _ in range(400))
    assert 0.14 < low / 400 < 0.26


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: seeds_needed(0.0, 1.0), "effect is 0"),
        (lambda: seeds_needed(1.0, 0.0), "sd above 0"),
        (lambda: seeds_needed(math.nan, 1.0), "expected finite numbers"),
        (lambda: seeds_needed(1.0, 1.0, goal=1.0), "goal is 1.0"),
        (lambda: power(1, 1.0, 1.0), "at least 2 seeds"),
        (lambda: power(3, 1.0, 1.0, alpha=5), "alpha is 5"),
        (lambda: detectable_effect(3, 1.0, goal=0.01), "goal is 0.01"),
        (lambda: exact_floor(0), "at least 1 pair"),
        (lambda: plan_from_pilot([0.5, 0.5, 0.5], 0.5), "all equal"),
        (lambda: plan_from_pilot([0.5], 0.5), "needs at least 2"),
    ],
)
def test_what_cannot_be_planned_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
