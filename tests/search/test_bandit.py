"""Proof of fsg/search/bandit.py: PB2's Gaussian process finds, and forgets."""

import math
import random
from statistics import median

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF, ConstantKernel

from fsg.search.bandit import Columns, UpperConfidence
from fsg.search.populations import Member
from fsg.study.domains import parse_domain

RANGES = {
    "optimizer.lr": parse_domain({"loguniform": [1e-4, 1e-1]}),
    "gradient.beta": parse_domain({"uniform": [0.0, 1.0]}),
}
BANDIT = UpperConfidence(RANGES)


def played(best_lr, stretches=4, members=8, seed=0):
    """A population whose gain is largest at the rate ``best_lr(t)`` during stretch t; beta does nothing."""
    rng = random.Random(seed)
    found = []
    for n in range(members):
        member, score = Member(f"k{n}", {}), 0.0
        for t in range(stretches):
            member.points[2 * t] = {path: domain.draw(rng) for path, domain in RANGES.items()}
            member.donors[2 * t] = member.key
            away = math.log10(member.points[2 * t]["optimizer.lr"]) - math.log10(best_lr(t))
            score += math.exp(-(away**2)) * 10 / (t + 1) + rng.gauss(0, 0.05)
            member.scores[2 * t + 2] = score
        found.append(member)
    return found


def asked(members, count=2, feasible=lambda point: True, seed=0):
    epoch = max(members[0].scores)
    return BANDIT.points([members[0].point] * count, members, epoch, feasible, random.Random(seed))


@pytest.mark.parametrize("best", [3e-4, 3e-3, 3e-2])
def test_the_bound_is_largest_near_the_rate_that_gained_most(best):
    away = [abs(math.log10(asked(played(lambda t: best, seed=n), 1)[0]["optimizer.lr"] / best)) for n in range(5)]
    assert median(away) < 0.6, "a random point lies 0.9 away"


def test_what_gained_long_ago_counts_less_than_what_gained_now():
    points = [asked(played(lambda t: 3e-2 if t < 3 else 3e-4, 6, seed=n), 1)[0]["optimizer.lr"] for n in range(5)]
    assert median(points) < 3e-3


def test_members_that_change_together_go_to_different_places():
    one, two, three = asked(played(lambda t: 3e-3), 3)
    assert len({p["optimizer.lr"] for p in (one, two, three)}) == 3
    spread = [abs(math.log10(a["optimizer.lr"] / b["optimizer.lr"])) + abs(a["gradient.beta"] - b["gradient.beta"])
              for a, b in ((one, two), (one, three), (two, three))]  # fmt: skip
    assert max(spread) > 0.1


def test_points_lie_in_the_box_keep_constraints_and_follow_from_the_seed():
    members = played(lambda t: 3e-3)
    found = asked(members, 3, lambda p: p["optimizer.lr"] > 0.02)
    assert all(p["optimizer.lr"] > 0.02 and RANGES[path].holds(p[path]) for p in found for path in RANGES)
    assert found == asked(members, 3, lambda p: p["optimizer.lr"] > 0.02)
    assert asked(members, 1, lambda p: False) == [members[0].point], "nothing is allowed: the donor's values"


def test_a_gain_is_measured_from_the_donor_that_was_taken_over():
    one = Member("a", {0: {"optimizer.lr": 0.01, "gradient.beta": 0.5}}, {2: 10.0, 4: 11.0})
    two = Member(
        "b", {0: dict(one.point), 2: {"optimizer.lr": 0.02, "gradient.beta": 0.5}}, {2: 1.0, 4: 13.0}, {2: "a"}
    )
    t, rows, gains = BANDIT._gains([one, two])
    assert list(t) == [0, 0, 1, 1]
    assert gains[2:] == pytest.approx([-1, 1]), "1 and 3 from 10, not 1 and 12"
    assert rows[3][0] > rows[2][0]


def test_the_first_pause_is_enough_and_equal_gains_are_no_error():
    assert len(asked(played(lambda t: 3e-3, stretches=1), 2)) == 2
    flat = [Member(f"k{n}", {0: {"optimizer.lr": 0.01, "gradient.beta": 0.5}}, {2: 1.0}) for n in range(4)]
    assert len(asked(flat, 1)) == 1


def test_a_kernel_on_some_columns_is_the_kernel_of_these_columns():
    X = np.random.default_rng(0).random((5, 3))
    kernel = ConstantKernel(2.0) * Columns(RBF([0.3, 0.7]), [1, 2])
    plain = ConstantKernel(2.0) * RBF([0.3, 0.7])
    for found, wanted in zip(kernel(X, eval_gradient=True), plain(X[:, 1:], eval_gradient=True), strict=True):
        assert np.allclose(found, wanted)
    assert np.allclose(kernel.diag(X), plain.diag(X[:, 1:])) and np.allclose(kernel.theta, plain.theta)
