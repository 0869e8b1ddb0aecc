import pytest

from fsg.stats.online import Standing, next_level, replay, weights


def test_the_weights_fall_and_their_sum_is_just_below_one():
    found = weights(range(1, 1_000_001))
    assert (found[:-1] > found[1:]).all()
    rest = 1_000_000.5**-0.6 / 0.6 / 2.2857657  # of all that follow
    assert found.sum() + rest == pytest.approx(1, abs=1e-7) and found.sum() + rest <= 1


def test_without_discoveries_the_levels_are_the_first_wealth_spread_over_all_ideas():
    levels = [next_level(begun, [], 0.1) for begun in range(50)]
    assert levels == pytest.approx((0.05 * weights(range(1, 51))).tolist())


def test_the_levels_are_those_of_the_papers_formula():
    w = [0.0, *weights(range(1, 20)).tolist()]
    # Discoveries when 2, 5 and 5 ideas had begun; the 8th idea comes.
    expected = 0.025 * w[8] + 0.025 * w[6] + 0.05 * (w[3] + w[3])
    assert next_level(7, [2, 5, 5], 0.05) == pytest.approx(expected, rel=1e-12)


def test_what_all_levels_come_to_is_at_most_the_rate_times_the_discoveries():
    # What LORD++ promises by its construction: sum of levels <= rate * max(1, discoveries), at every moment.
    history = [("idea", number) for number in range(60)]
    looks = [(idea, 1e-9 if idea[1] % 7 == 2 else 0.6) for idea in history]
    for length in range(1, 61):
        found = replay(looks[:length], 0.05).values()
        discoveries = sum(one.discovered is not None for one in found)
        assert sum(one.level for one in found) <= 0.05 * max(1, discoveries)


def test_an_idea_keeps_the_level_that_it_began_with_and_earns_for_those_that_begin_later():
    first, second = next_level(0, []), next_level(1, [])
    found = replay([("a", 0.5), ("b", 0.5), ("a", 1e-6), ("b", second * 1.01), ("c", 0.5)])
    assert found["a"] == Standing(1, first, 1e-6, 2, 2)
    assert found["b"] == Standing(2, second, second * 1.01, 2, None)
    assert found["c"].level == pytest.approx(next_level(2, [2]))


def test_a_discovery_stays_one_whatever_a_later_look_says():
    assert replay([("a", 1e-6), ("a", 0.9)])["a"].discovered == 1
    assert replay([("a", 1e-6), ("a", 1e-6)])["a"].discovered == 1


def test_a_rate_that_is_none_is_refused():
    with pytest.raises(ValueError, match="is 5, expected a number between 0 and 1"):
        next_level(0, [], 5)
