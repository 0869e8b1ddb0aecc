"""The Pareto front against its definition."""

from hypothesis import given
from hypothesis import strategies as st

from fsg.stats.pareto import pareto_front

POINTS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12)


def test_the_front_is_what_nothing_dominates():
    assert pareto_front([(1, 3), (2, 2), (3, 1), (1, 1), (2, 1)]) == [True, True, True, False, False]
    assert pareto_front([(1, 1), (1, 1)]) == [True, True]
    assert pareto_front([(2,), (3,), (3,)]) == [False, True, True]


@given(POINTS)
def test_everything_off_the_front_is_dominated_by_something_on_it(points):
    front = pareto_front(points)
    on = [point for point, there in zip(points, front, strict=True) if there]
    assert on
    for point, there in zip(points, front, strict=True):
        better = [o for o in on if o != point and all(a >= b for a, b in zip(o, point, strict=True))]
        assert bool(better) != there
