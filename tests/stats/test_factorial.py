import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fsg.stats.factorial import anova, effects, shapley
from fsg.stats.paired import mean_interval


def full(k):
    """All 2^k runs in standard order: the first switch changes fastest."""
    return np.array(list(itertools.product((0, 1), repeat=k)))[:, ::-1]


# Box, Hunter & Hunter's pilot plant: temperature, concentration, catalyst; two runs of each, standard order.
PLANT = np.array([[59, 74, 50, 69, 50, 81, 46, 79], [61, 70, 58, 67, 54, 85, 44, 81]], float)
PLANT_EFFECTS = {"T": 23, "C": -5, "K": 1.5, "T × C": 1.5, "T × K": 10, "C × K": 0, "T × C × K": 0.5}

outcomes = arrays(float, (4, 8), elements=st.integers(-1000, 1000).map(lambda i: i / 10))
quick = settings(max_examples=40, deadline=None)


def test_effects_of_the_pilot_plant_are_the_published_ones():
    found = effects(full(3), PLANT, "TCK")
    assert {e.name: pytest.approx(e.interval.estimate) for e in found} == PLANT_EFFECTS


def test_a_pooled_effect_is_the_least_squares_fit_with_seeds_as_blocks():
    rng = np.random.default_rng(0)
    x, y = full(3), rng.standard_normal((5, 8)) + 10 * rng.standard_normal((5, 1))
    signs = 2 * x - 1
    columns = [signs[:, list(c)].prod(axis=1) for s in (1, 2, 3) for c in itertools.combinations(range(3), s)]
    design = np.hstack([np.repeat(np.eye(5), 8, axis=0), np.tile(np.array(columns).T, (5, 1))])
    fit, residual, *_ = np.linalg.lstsq(design, y.ravel())
    error = np.sqrt(residual[0] / (40 - 12) * np.linalg.inv(design.T @ design)[5, 5])
    found = effects(x, y, "abc")
    assert [e.interval.estimate for e in found] == pytest.approx(2 * fit[5:])
    assert found[0].interval.half_width == pytest.approx(2 * error * 2.048407141795244)  # t, 28 degrees of freedom


def test_an_unpooled_effect_is_the_t_interval_of_its_own_contrast():
    found = effects(full(1), [[1.0, 4.0], [2.0, 4.0], [1.0, 9.0]], ["hgs"], pooled=False)
    assert found[0].interval == mean_interval([3.0, 2.0, 8.0])


def test_for_two_arms_pooled_and_unpooled_are_the_paired_t_test():
    y = [[1.0, 4.0], [2.0, 4.0], [1.0, 9.0]]
    (pooled,), (own,) = effects(full(1), y, ["hgs"]), effects(full(1), y, ["hgs"], pooled=False)
    assert pooled.interval.low == pytest.approx(own.interval.low)
    assert pooled.p == pytest.approx(own.p)


@quick
@given(outcomes)
def test_what_a_seed_adds_to_all_its_runs_cancels(y):
    shift = np.array([[100.0], [-50.0], [3.0], [0.0]])
    for before, after in zip(effects(full(3), y, "abc"), effects(full(3), y + shift, "abc"), strict=True):
        assert after.interval.low == pytest.approx(before.interval.low, abs=1e-6)


@quick
@given(outcomes)
def test_swapping_on_and_off_of_one_switch_flips_the_terms_that_hold_it(y):
    x = full(3)
    other = x.copy()
    other[:, 0] = 1 - other[:, 0]
    for before, after in zip(effects(x, y, "abc"), effects(other, y, "abc"), strict=True):
        sign = -1 if "a" in before.term else 1
        assert after.interval.estimate == pytest.approx(sign * before.interval.estimate, abs=1e-9)


def test_a_half_fraction_names_what_it_cannot_tell_apart():
    x = full(3)
    half = np.column_stack([x, (x.sum(axis=1) % 2)])[:, [0, 1, 3]]  # c = a xor b: I = -abc
    half = half[[0, 1, 2, 3]]
    found = effects(half, np.arange(8.0).reshape(2, 4), "abc")
    assert {e.name: e.aliases for e in found} == {"a": ("-b × c",), "b": ("-a × c",), "c": ("-a × b",)}
    even = half.copy()
    even[:, 2] = 1 - even[:, 2]  # I = +abc
    assert effects(even, np.arange(8.0).reshape(2, 4), "abc")[0].aliases == ("b × c",)


def test_an_alias_of_opposite_sign_really_has_the_opposite_contrast():
    x = full(2)
    half = np.column_stack([x, (x[:, 0] ^ x[:, 1])])
    y = np.random.default_rng(2).standard_normal((3, 4))
    signs = 2 * half - 1
    bc = y @ (signs[:, 1] * signs[:, 2]) / 2
    assert effects(half, y, "abc")[0].interval.estimate == pytest.approx(-bc.mean())


def test_most_leaves_out_high_interactions_and_anova_keeps_their_sum():
    assert len(effects(full(3), PLANT, "TCK", most=1)) == 3
    rows = {row.source: row for row in anova(full(3), PLANT, "TCK", most=1)}
    everything = {row.source: row for row in anova(full(3), PLANT, "TCK")}
    assert rows["other runs"].df == 4
    assert rows["other runs"].sum_sq == pytest.approx(sum(everything[n].sum_sq for n in PLANT_EFFECTS if "×" in n))


@quick
@given(outcomes)
def test_sums_of_squares_and_degrees_of_freedom_add_up(y):
    *parts, total = anova(full(3), y, "abc")
    assert sum(row.df for row in parts) == total.df == 31
    assert sum(row.sum_sq for row in parts) == pytest.approx(total.sum_sq, abs=1e-6)


def test_the_f_of_a_term_is_the_square_of_its_t():
    y = np.random.default_rng(1).standard_normal((4, 8))
    rows = {row.source: row for row in anova(full(3), y, "abc")}
    for effect in effects(full(3), y, "abc"):
        assert rows[effect.name].p == pytest.approx(effect.p)
    assert rows["residual"].df == 21 and math.isnan(rows["residual"].p)


def test_shapley_shares_are_the_mean_gain_over_all_orders():
    x, y = full(3), PLANT
    value = {tuple(run): y[:, i].mean() for i, run in enumerate(x)}
    gains = dict.fromkeys("TCK", 0.0)
    for order in itertools.permutations(range(3)):
        run = [0, 0, 0]
        for i in order:
            before = value[tuple(run)]
            run[i] = 1
            gains["TCK"[i]] += (value[tuple(run)] - before) / 6
    found = shapley(x, y, "TCK")
    assert {n: i.estimate for n, i in found.shares.items()} == pytest.approx(gains)
    assert found.total.estimate == pytest.approx(20)


@quick
@given(outcomes, st.booleans())
def test_shapley_shares_sum_to_the_total(y, pooled):
    found = shapley(full(3), y, "abc", pooled=pooled)
    assert sum(i.estimate for i in found.shares.values()) == pytest.approx(found.total.estimate, abs=1e-9)


def test_a_switch_that_does_nothing_has_share_zero_and_equal_switches_share_alike():
    x = full(3)
    y = np.array([[2.0 * bool(run[0] and run[1]) for run in x]] * 2)
    found = shapley(x, y, "abc")
    assert {n: i.estimate for n, i in found.shares.items()} == pytest.approx({"a": 1, "b": 1, "c": 0})
    assert found.shares["a"].half_width == 0
    assert effects(x, y, "abc")[0].p == 0 and effects(x, y, "abc")[2].p == 1


@pytest.mark.parametrize(
    ("levels", "values", "message"),
    [
        (full(3), PLANT[:1], "1 seeds; effects have an error only from 2"),
        (full(3), np.where(PLANT == 50, np.nan, PLANT), r"not finite for seeds at rows \[0\]"),
        (full(3), PLANT[:, :7], r"values: has shape \(2, 7\), expected \(seeds, 8\)"),
        (full(2), PLANT[:, :4], r"levels: has shape \(4, 2\), expected \(runs, 3\)"),
        (full(3) * 2, PLANT, "expected 0 .off. and 1 .on. alone"),
        (full(3)[[0, 0, 1, 2, 3, 4, 5, 6]], PLANT, "the same run stands twice"),
        (full(3)[1:], PLANT[:, 1:], "not on and off equally often"),
        (full(3)[[0, 1, 2, 5, 6, 7]], PLANT[:, :6], "neither a full factorial nor a regular fraction"),
    ],
)
def test_designs_that_cannot_answer_are_refused(levels, values, message):
    with pytest.raises(ValueError, match=message):
        effects(levels, values, "TCK")


def test_shapley_needs_every_run():
    half = np.array([[0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 1, 0]])
    with pytest.raises(ValueError, match="4 of the 8 runs"):
        shapley(half, PLANT[:, :4], "TCK")
