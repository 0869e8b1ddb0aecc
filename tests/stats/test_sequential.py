import numpy as np
import pytest
from scipy import stats

from fsg.stats.paired import mean_interval
from fsg.stats.sequential import EFFECT_VARIANCE, AnyLook, plan_looks


def all_looks(x, first, last):
    """Mean and standard error of every study (row) at each look."""
    n = np.arange(first, last + 1)
    mean = x.cumsum(axis=1)[:, first - 1 :] / n
    spread = np.stack([x[:, :k].std(axis=1, ddof=1) for k in n], axis=1)
    return mean, spread / np.sqrt(n)


def test_one_look_is_the_t_interval():
    d = [1.0, 2.0, 4.0, 3.0, 2.5]
    found, expected = plan_looks(5, 5).interval(d), mean_interval(d)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=0.01)


@pytest.mark.parametrize(("first", "last"), [(3, 12), (2, 6)])
def test_stopping_at_the_first_interval_without_zero_is_wrong_in_five_percent(first, last):
    x = np.random.default_rng(77).standard_normal((20_000, last))
    mean, error = all_looks(x, first, last)
    ever = (np.abs(mean) > np.array(plan_looks(first, last).edges) * error).any(axis=1).mean()
    assert 0.045 < ever < 0.055


def test_plain_t_intervals_would_be_wrong_far_more_often():
    x = np.random.default_rng(77).standard_normal((5_000, 12))
    plain = [mean_interval(np.arange(n)).half_width / np.arange(n).std(ddof=1) * np.sqrt(n) for n in range(3, 13)]
    mean, error = all_looks(x, 3, 12)
    assert (np.abs(mean) > np.array(plain) * error).any(axis=1).mean() > 0.1


def test_early_looks_are_stricter_and_every_look_is_wider_than_a_single_one():
    edges = plan_looks(3, 12).edges
    assert list(edges) == sorted(edges, reverse=True)
    assert edges[-1] > 2.2009851600827  # t, 11 degrees of freedom


def test_the_tails_of_the_looks_have_wang_and_tsiatis_shape():
    edges = np.array(plan_looks(3, 12).edges)
    z = stats.norm.isf(stats.t.sf(edges, np.arange(2, 12)))
    assert z / z[-1] == pytest.approx((12 / np.arange(3, 13)) ** 0.25)


def test_more_confidence_is_wider():
    assert plan_looks(3, 12, 0.99).edges[-1] > plan_looks(3, 12).edges[-1]


def test_a_look_has_a_small_p_where_its_interval_excludes_zero():
    looks, rng = plan_looks(3, 12), np.random.default_rng(3)
    for d in rng.normal(0.8, 1, (200, 7)):
        p, edge = looks.p(d), looks.interval(d)
        if abs(p - 0.05) > 1e-4:
            assert (p < 0.05) == edge.excludes_zero


def test_the_edges_of_another_level_are_those_of_its_plan():
    assert plan_looks(3, 12).edge([3, 7], 0.01).tolist() == [plan_looks(3, 12, 0.99).edges[i] for i in (0, 4)]


def test_looks_without_a_plan_err_in_at_most_five_percent_of_studies_however_long_they_go_on():
    x = np.random.default_rng(77).standard_normal((10_000, 200))
    n = np.arange(2, 201)
    mean = x.cumsum(axis=1)[:, 1:] / n
    error = np.sqrt(((x * x).cumsum(axis=1)[:, 1:] / n - mean**2) / (n - 1))
    ever = (np.abs(mean) > AnyLook().edge(n, 0.05) * error).any(axis=1).mean()
    assert 0.02 < ever <= 0.05


def test_the_p_at_any_look_is_the_ratio_of_likelihoods_by_numerical_integration():
    # Of the sign-symmetric maximal invariant d / |d_1|: both densities integrated over the scale, the effect over N(0, g).
    d = np.array([0.9, 0.1, 1.3, -0.2, 0.8])

    def density(effect):
        log_scale = np.linspace(-6, 6, 4_001)
        sigma = np.exp(log_scale)
        logs = stats.norm.logpdf(d[:, None] / sigma, effect).sum(axis=0) - d.size * log_scale
        return np.exp(logs).sum() * (log_scale[1] - log_scale[0])

    effects = np.linspace(-25, 25, 2_001)
    prior = stats.norm.pdf(effects, scale=np.sqrt(EFFECT_VARIANCE)) * (effects[1] - effects[0])
    ratio = sum(p * density(effect) for p, effect in zip(prior, effects, strict=True)) / density(0.0)
    assert AnyLook().p(d) == pytest.approx(min(1.0, 1 / ratio), rel=1e-5)


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.995])
def test_the_interval_at_any_look_holds_the_means_that_are_not_refused(confidence):
    d, rule = np.array([0.9, 0.1, 1.3, -0.2, 0.8, 0.4]), AnyLook(confidence)
    found = rule.interval(d)
    for end in (found.low, found.high):
        assert rule.p(d - end) == pytest.approx(1 - confidence)
    assert rule.edge([6], 1 - confidence)[0] * d.std(ddof=1) / np.sqrt(6) == pytest.approx(found.half_width)


def test_two_seeds_have_no_interval_that_holds_at_any_look():
    found = AnyLook().interval([1.0, 2.0])
    assert np.isnan(found.half_width) and found.estimate == 1.5 and not found.excludes_zero
    assert AnyLook().p([1.0, 1.0001]) > 0.05


def test_seeds_are_added_until_the_interval_is_narrow_or_the_last_look_is_reached():
    looks = plan_looks(3, 12)
    tight, loose = [1.0, 1.001, 0.999, 1.0], [1.0, 5.0, -3.0, 2.0]
    assert looks.enough(tight, 0.3) and not looks.enough(loose, 0.3)
    assert looks.enough(loose * 3, 0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plan_looks(1, 5), "looks from 1 to 5 seeds: expected 2 <= min <= max <= 200"),
        (lambda: plan_looks(6, 5), "looks from 6 to 5"),
        (lambda: plan_looks(3, 12, 95), "confidence is 95"),
        (lambda: plan_looks(3, 12).interval([1.0, 2.0]), "2 seeds, but looks are planned at 3 to 12"),
        (lambda: plan_looks(3, 12).enough([1.0, 2.0, 3.0], 0), "half_width is 0"),
    ],
)
def test_what_was_not_planned_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
