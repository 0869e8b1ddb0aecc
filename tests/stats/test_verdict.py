import numpy as np
import pytest

from fsg.stats.paired import holm
from fsg.stats.sequential import AnyLook, plan_looks
from fsg.stats.verdict import Claims, MoreSeeds, claims, more_seeds, p_equivalent

ANY = AnyLook()
CLEAR = np.array([2.0, 2.2, 1.9, 2.1, 2.0, 2.3])
NOTHING = np.array([0.5, -0.6, 0.4, -0.3, 0.1, -0.2])
TINY = np.array([0.01, -0.02, 0.02, 0.0, -0.01, 0.01])


@pytest.mark.parametrize(
    ("d", "better", "answer"),
    [
        (CLEAR, 1, "better"),
        (CLEAR, -1, "worse"),
        (-CLEAR, 1, "worse"),
        (NOTHING, 1, "not yet known"),
        (TINY, 1, "equivalent"),
    ],
)
def test_the_answer_is_what_the_interval_shows(d, better, answer):
    found = claims({"arm": d}, ANY, 0.5, 0.05)["arm"]
    assert found.answer(d.mean(), better) == answer
    interval = ANY.interval(d)
    assert (answer in ("better", "worse")) == (found.p_differs <= 0.05 and found.p_equivalent > 0.05)
    assert (found.p_differs <= 0.05) == interval.excludes_zero
    assert (found.p_equivalent <= 0.05) == (interval.low > -0.5 and interval.high < 0.5)


def test_what_differs_by_less_than_matters_is_equivalent():
    small = 0.1 + TINY
    assert claims({"arm": small}, ANY, None, 0.05)["arm"].answer(0.1, 1) == "better"
    assert claims({"arm": small}, ANY, 0.5, 0.05)["arm"].answer(0.1, 1) == "equivalent"


def test_without_a_margin_nothing_is_equivalent():
    assert p_equivalent(TINY, None, ANY) == 1.0
    assert claims({"arm": TINY}, ANY, None, 0.05)["arm"].answer(0.0, 1) == "not yet known"


def test_a_mean_beyond_the_margin_is_no_equivalence():
    assert p_equivalent(CLEAR, 0.5, ANY) == 1.0


@pytest.mark.parametrize("rule", [ANY, plan_looks(3, 12)])
def test_claims_are_corrected_over_the_arms(rule):
    family = {"clear": CLEAR, "nothing": NOTHING, "tiny": TINY}
    found = claims(family, rule, 0.5, 0.05)
    expected = holm([rule.p(d) for d in family.values()]).tolist()
    assert [claim.p_differs for claim in found.values()] == expected
    assert found["clear"].p_differs == pytest.approx(3 * rule.p(CLEAR))


def test_arms_without_spread_or_with_too_few_seeds_are_not_judged_and_cost_the_others_nothing():
    found = claims({"clear": CLEAR, "same": np.zeros(6), "one": np.ones(1)}, ANY, None, 0.05)
    assert found == {"clear": Claims(ANY.p(CLEAR), 1.0, 0.05)}


def futures(d, rule, margin, level, count=20_000):
    """Of each future, after how many more seeds it is settled, written out a seed at a time."""
    rng, found = np.random.default_rng(1), []
    for _ in range(count):
        sigma = d.std(ddof=1) * np.sqrt((d.size - 1) / rng.chisquare(d.size - 1))
        mean = d.mean() + sigma / np.sqrt(d.size) * rng.standard_normal()
        seeds = list(d)
        for more in range(1, 13):
            seeds.append(mean + sigma * rng.standard_normal())
            if rule.p(seeds) <= level or p_equivalent(seeds, margin, rule) <= level:
                found.append(more)
                break
        else:
            found.append(99)
    return np.array(found)


@pytest.mark.parametrize("margin", [None, 0.9])
def test_the_seeds_that_are_missing_are_those_of_futures_written_out(margin):
    d = np.array([1.0, 0.2, 0.6, 0.9])
    found = more_seeds(d, ANY, margin, 0.05)
    ended = futures(d, ANY, margin, 0.05, 1_500)
    assert abs(np.mean(ended <= found.half) - 0.5) < 0.15
    assert np.mean(ended <= found.half - 1) < 0.5 + 0.03
    assert found.likely > found.half


def test_a_plan_of_looks_ends_where_it_ends():
    wide = np.array([0.3, -3.0, 2.8])
    assert more_seeds(wide, plan_looks(3, 5), None, 0.05) == MoreSeeds(None, None)
    assert more_seeds(np.arange(5.0), plan_looks(3, 5), None, 0.05) == MoreSeeds(None, None)


def test_a_smaller_level_needs_more_seeds():
    d = np.array([1.0, 0.2, 0.6, 0.9])
    assert more_seeds(d, ANY, None, 0.001).half > more_seeds(d, ANY, None, 0.05).half
