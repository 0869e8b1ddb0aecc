"""Proof of fsg/search/cube.py: points to rows and back."""

import random

import numpy as np
import pytest

from fsg.search.cube import UNSET_CHOICE, UNSET_RANGE, Cube
from fsg.study.space import Space

SPACE = Space.model_validate(
    {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "gradient.beta": {"uniform": [0.0, 2.0]},
        "data.validation_share": {"quniform": [0.1, 0.3, 0.05]},
        "gradient.length": {"randint": [1, 8]},
        "gradient.fast.hidden": {"lograndint": [4, 64]},
        "gradient.slow_net": {"choice": ["mamba", "lstm", "fir"]},
        "gradient.slow.d_inner": {"choice": [4, 8], "when": {"gradient.slow_net": ["mamba", "lstm"]}},
        "gradient.slow.d_state": {"randint": [2, 8], "when": {"gradient.slow_net": "mamba"}},
        "epochs": 9,
    }
)


@pytest.fixture
def cube():
    return Cube(SPACE)


def test_a_point_comes_back_from_its_row(cube):
    rng = random.Random(0)
    for _ in range(200):
        point = SPACE.draw(rng)
        back = cube.decode(cube.encode(point))
        assert back.keys() == point.keys()
        for path, value in point.items():
            assert back[path] == (pytest.approx(value) if isinstance(value, float) else value)


def test_every_row_is_at_a_point_of_the_space(cube):
    rows = cube.at(np.random.default_rng(0).random((200, len(cube.paths))))
    assert cube.snap(rows) == pytest.approx(rows)
    for row in rows:
        point = cube.decode(row)
        assert list(point) == [path for path in cube.paths if SPACE.is_set(path, point)]
        assert all(SPACE.domains[path].holds(value) for path, value in point.items())
    kinds = {cube.decode(row)["gradient.slow_net"] for row in rows}
    assert kinds == {"mamba", "lstm", "fir"}


def test_what_is_not_set_tells_nothing(cube):
    row = dict(zip(cube.paths, cube.encode(SPACE.draw(random.Random(1)) | {"gradient.slow_net": "fir"}), strict=True))
    fir = cube.snap(np.array([list(row.values())]))[0]
    place = dict(zip(cube.paths, fir, strict=True))
    assert (place["gradient.slow.d_inner"], place["gradient.slow.d_state"]) == (UNSET_CHOICE, UNSET_RANGE)


def test_two_choices_are_as_far_apart_as_two_ends(cube):
    one, other = np.zeros((1, len(cube.paths))), np.zeros((1, len(cube.paths)))
    for column in (0, cube.paths.index("gradient.slow_net")):
        moved = other.copy()
        moved[0, column] = 1
        assert np.linalg.norm(cube.spread(one) - cube.spread(moved)) == pytest.approx(1.0)
    assert cube.spread(one).shape == (1, len(cube.groups))
