import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from fsg.stats.paired import (
    bca_ends,
    bca_interval,
    differences,
    equivalence_test,
    hedges_g,
    holm,
    matched,
    mean_interval,
    paired_interval,
    sign_flip_test,
    t_test,
    wilcoxon_test,
)

# Student (1908): hours of sleep gained under two drugs, the `sleep` data of R.
SLEEP_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SLEEP_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]
# Darwin's maize, cross- less self-fertilised, in eighths of an inch; Fisher (1935) counted all 2^15 sign patterns.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]
# Hollander & Wolfe (1973): depression scores, the example of R's wilcox.test.
DEPRESSION_1 = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
DEPRESSION_2 = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]

accuracies = st.lists(st.integers(-300, 300).map(lambda i: i / 10), min_size=2, max_size=10)
uneven = accuracies.filter(lambda v: len(set(v)) > 1)
quick = settings(max_examples=60, deadline=None)


# Intervals ------------------------------------------------------------------------------------------------------------
def test_t_interval_and_p_agree_with_students_sleep_data():
    found = paired_interval(SLEEP_1, SLEEP_2)
    assert (found.estimate, found.low, found.high) == pytest.approx((-1.58, -2.4598858, -0.7001142), abs=1e-7)
    assert t_test(differences(SLEEP_1, SLEEP_2)).p == pytest.approx(0.002832890)


@quick
@given(uneven)
def test_t_interval_and_p_agree_with_scipy(d):
    reference = stats.ttest_1samp(d, 0)
    interval = reference.confidence_interval(0.9)
    found = mean_interval(d, 0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert t_test(d).p == pytest.approx(reference.pvalue)


def test_one_value_has_no_interval():
    found = mean_interval([3.0])
    assert found.estimate == 3 and found.n == 1 and math.isnan(found.half_width) and not found.excludes_zero


def test_equal_differences_of_decimals_have_width_zero():
    found = paired_interval([91.2, 81.2, 71.2], [90.1, 80.1, 70.1])
    assert found.half_width == 0 and found.excludes_zero
    assert t_test([0.5, 0.5]).p == 0 and t_test([0.0, 0.0]).p == 1


@quick
@given(uneven, st.integers(-50, 50))
def test_shifting_both_arms_changes_nothing_and_swapping_them_flips_the_sign(values, shift):
    a, b = np.array(values), np.zeros(len(values))
    plain, shifted, swapped = paired_interval(a, b), paired_interval(a + shift, b + shift), paired_interval(b, a)
    assert (shifted.low, shifted.high) == pytest.approx((plain.low, plain.high))
    assert (swapped.low, swapped.high) == pytest.approx((-plain.high, -plain.low))


@pytest.mark.parametrize("values", [DARWIN, [1.0, 2.0, 10.0], np.random.default_rng(5).exponential(size=40)])
def test_bca_ends_are_scipys_on_scipys_resamples(values):
    reference = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=2000, rng=np.random.default_rng(1))
    low, high = bca_ends(np.array([values], float), reference.bootstrap_distribution[None], 0.95)
    expected = reference.confidence_interval
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), rel=1e-3)


def test_bca_interval_is_seeded_and_leans_to_the_long_tail():
    skewed = [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 9.0]
    found = bca_interval(skewed)
    assert found == bca_interval(skewed) != bca_interval(skewed, seed=1)
    assert found.high - found.estimate > 1.5 * (found.estimate - found.low)
    assert bca_interval([2.0, 2.0, 2.0]).half_width == 0
    assert math.isnan(bca_interval([2.0]).half_width)


@quick
@given(uneven)
def test_bca_interval_lies_within_the_data(d):
    found = bca_interval(d, resamples=199)
    assert min(d) - 1e-9 <= found.low <= found.high <= max(d) + 1e-9


# Effect size ----------------------------------------------------------------------------------------------------------
def test_hedges_g_carries_the_exact_small_sample_factor():
    d = differences(SLEEP_2, SLEEP_1)
    factor = math.gamma(4.5) / (math.sqrt(4.5) * math.gamma(4.0))
    found = hedges_g(d)
    assert found.estimate == pytest.approx(factor * d.mean() / d.std(ddof=1))
    t, scale = d.mean() / d.std(ddof=1) * math.sqrt(10), math.sqrt(10) / factor
    assert stats.nct.sf(t, 9, found.low * scale) == pytest.approx(0.025, rel=1e-4)
    assert stats.nct.cdf(t, 9, found.high * scale) == pytest.approx(0.025, rel=1e-4)


def test_hedges_g_is_unbiased_where_cohens_d_is_not():
    rng, n, truth = np.random.default_rng(0), 4, 0.8
    x = rng.standard_normal((40_000, n)) + truth
    d = x.mean(axis=1) / x.std(axis=1, ddof=1)
    factor = hedges_g(x[0]).estimate / d[0]
    assert d.mean() > 1.05
    assert factor * d.mean() == pytest.approx(truth, abs=0.02)


@pytest.mark.parametrize("d", [[1.0, 2.0], [2.0, 2.0, 2.0]])
def test_hedges_g_is_nan_where_it_does_not_exist(d):
    assert math.isnan(hedges_g(d).estimate)


def test_hedges_g_holds_for_a_huge_effect():
    found = hedges_g([10.0, 10.1, 10.2, 9.9])
    assert 0 < found.low < found.estimate < found.high < math.inf


# Tests ----------------------------------------------------------------------------------------------------------------
def test_sign_flips_of_darwins_maize_are_fishers_count():
    found = sign_flip_test(DARWIN)
    assert found.p == 1726 / 2**15
    assert found.floor == 2 / 2**15


@quick
@given(accuracies)
def test_sign_flip_p_is_the_share_of_all_patterns(d):
    patterns = np.array(list(itertools.product((1, -1), repeat=len(d))))
    sums = np.abs(patterns @ np.array(d))
    found = sign_flip_test(d)
    assert found.p == pytest.approx(np.mean(sums >= abs(sum(d)) - 1e-9))
    assert found.floor <= found.p <= 1


def test_sign_flips_agree_with_scipys_permutation_test():
    reference = stats.permutation_test(
        (np.array(SLEEP_1), np.array(SLEEP_2)),
        lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples", vectorized=True, n_resamples=np.inf,
    )  # fmt: skip
    assert sign_flip_test(differences(SLEEP_1, SLEEP_2)).p == pytest.approx(reference.pvalue)


def test_more_than_twenty_pairs_are_sampled_with_a_seed_and_never_give_zero():
    d = np.random.default_rng(3).standard_normal(30) + 0.3
    found, again = sign_flip_test(d), sign_flip_test(d)
    assert found == again and found.method == "sampled sign flips"
    assert found.p == pytest.approx(t_test(d).p, abs=0.01)
    assert sign_flip_test(d + 50, resamples=999).p == 1 / 1000


def test_five_pairs_cannot_go_below_a_sixteenth():
    for test in (sign_flip_test, wilcoxon_test):
        assert test([5.0, 6.0, 7.0, 8.0, 9.0]).p == test([5.0, 6.0, 7.0, 8.0, 9.0]).floor == 0.0625


def test_wilcoxon_of_the_depression_scores_is_the_published_one():
    assert wilcoxon_test(differences(DEPRESSION_1, DEPRESSION_2)).p == pytest.approx(2 * 0.01953125)


@quick
@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=25, unique=True), st.randoms(use_true_random=False))
def test_wilcoxon_without_ties_agrees_with_scipys_exact(sizes, random):
    d = [size * random.choice((1, -1)) for size in sizes]
    assert wilcoxon_test(d).p == pytest.approx(stats.wilcoxon(d, method="exact").pvalue)


@quick
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_wilcoxon_with_ties_is_exact_over_all_sign_patterns(d):
    found, d = wilcoxon_test(d), np.array([v for v in d if v])
    if d.size == 0:
        assert found.p == 1
        return
    ranks = stats.rankdata(np.abs(d))
    patterns = np.array(list(itertools.product((0, 1), repeat=d.size)))
    centre = ranks.sum() / 2
    expected = np.mean(np.abs(patterns @ ranks - centre) >= abs(ranks[d > 0].sum() - centre) - 1e-9)
    assert found.p == pytest.approx(expected)


def test_wilcoxon_sees_ties_through_decimal_rounding():
    rounded = differences([91.2, 50.5, 70.7, 10.9, 33.3, 20.0], [90.9, 50.2, 70.4, 10.6, 33.6, 20.0])
    assert len(set(np.abs(rounded))) > 2
    assert wilcoxon_test(rounded).p == wilcoxon_test([0.3, 0.3, 0.3, 0.3, -0.3, 0.0]).p == 12 / 32


def test_holm_is_the_textbook_one():
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.005, 0.03, 0.01]) == pytest.approx([0.06, 0.02, 0.06, 0.03])
    assert holm([]).size == 0


@quick
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_keeps_the_order_and_only_raises_p(p):
    adjusted = holm(p)
    assert np.all(adjusted >= p) and np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)
    assert np.all(adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12)


# Equivalence ----------------------------------------------------------------------------------------------------------
@quick
@given(uneven, st.floats(0.5, 40))
def test_equivalence_is_the_interval_inside_the_margin(d, margin):
    found = equivalence_test(d, margin)
    lower = stats.ttest_1samp(d, -margin, alternative="greater").pvalue
    upper = stats.ttest_1samp(d, margin, alternative="less").pvalue
    assert found.p == pytest.approx(max(lower, upper), abs=1e-12)
    if abs(found.p - 0.05) > 1e-6:
        assert found.equivalent == (-margin < found.interval.low and found.interval.high < margin)


def test_a_wide_interval_is_neither_different_nor_equivalent():
    d = [3.0, -4.0, 1.5]
    assert t_test(d).p > 0.05 and not equivalence_test(d, 0.5).equivalent
    assert equivalence_test([0.1, 0.1, 0.1], 0.5).equivalent and not equivalence_test([0.6, 0.6], 0.5).equivalent


# Refusals -------------------------------------------------------------------------------------------------------------
def test_matched_pairs_by_seed_and_leaves_out_what_has_no_partner():
    seeds, a, b = matched({3: 1.0, 1: 2.0, 7: 9.0}, {1: 5.0, 3: 6.0, 8: 0.0})
    assert seeds == (1, 3) and a.tolist() == [2, 1] and b.tolist() == [5, 6]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mean_interval([]), "has 0 seeds, needs at least 1"),
        (lambda: mean_interval([1.0, math.nan, math.inf]), r"not finite at positions \[1, 2\]"),
        (lambda: mean_interval([[1.0]]), r"has shape \(1, 1\)"),
        (lambda: mean_interval([1.0], 95), "confidence is 95"),
        (lambda: differences([1.0, 2.0], [1.0]), "treatment has 2 seeds and control 1"),
        (lambda: t_test([1.0]), "has 1 seeds, needs at least 2"),
        (lambda: hedges_g([1.0]), "needs at least 2"),
        (lambda: holm([0.1, 1.2]), r"\[1.2\] outside"),
        (lambda: equivalence_test([1.0, 2.0], 0), "margin is 0"),
        (lambda: equivalence_test([1.0, 2.0], 1, alpha=0.6), "alpha is 0.6"),
        (lambda: bca_interval([1.0, 2.0], resamples=0), "resamples is 0"),
        (lambda: wilcoxon_test(np.arange(3000.0)), "counted up to 2000"),
    ],
)
def test_what_cannot_be_judged_is_refused_with_the_reason(call, message):
    with pytest.raises(ValueError, match=message):
        call()
