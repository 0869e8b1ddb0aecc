"""Grad Queue and MSTGD against their closed forms."""

import pytest
import torch

from fsg.catalogue.rivals import GradQueue, Mstgd
from fsg.gradients import Signal, make_estimator
from fsg.ops.spans import Spans


def follow(config, *rows):
    """m of each row of gradients in turn, with slope 1."""
    estimator = make_estimator(config, Spans([len(rows[0])])).double()
    ones = torch.ones(len(rows[0]), dtype=torch.float64)
    return [estimator.generate(Signal(torch.tensor(row, dtype=torch.float64), ones, ones)) for row in rows]


def test_a_gradient_is_weighted_by_its_distance_from_the_queue_in_standard_deviations():
    """Queue 1, 2, 3: mean 2, deviation 1. 4.5 is 2.5 away, 2.1 next to nothing, 20 beyond the limit."""
    *_, m = follow(GradQueue(length=3), (1, 1, 1, 3), (2, 2, 2, 3), (3, 3, 3, 3), (4.5, 2.1, 20, 3))
    torch.testing.assert_close(m, torch.tensor([2.5 * 4.5, 2.1 / 4, 4.0 * 20, 3.0], dtype=torch.float64))


def test_a_gradient_unlike_a_queue_of_equal_ones_is_as_rare_as_can_be():
    *_, m = follow(GradQueue(length=2, limit=10), (0, 1), (0, 1), (2, 1))
    assert m.tolist() == [20, 1]


def test_the_queue_forgets_what_is_older_than_its_length():
    rows = [(1.0,), (2.0,), (4.0,), (3.5,)]
    assert torch.equal(follow(GradQueue(length=2), (-50.0,), *rows)[-1], follow(GradQueue(length=2), *rows)[-1])


@pytest.mark.parametrize("config", [GradQueue(), Mstgd()], ids=lambda config: config.name)
def test_the_first_gradient_is_taken_as_it_is(config):
    assert follow(config, (0.3, -2.0))[0].tolist() == [0.3, -2.0]


def test_without_drift_the_mixture_is_the_running_mean():
    """The window's variance and mean are those of 0, 1, 1, 0, ... at every step, where the newest equals the oldest."""
    rows = [(0.0,), (1.0,)] + [(float(step % 2),) for step in range(2, 12)]
    found = follow(Mstgd(length=2), *rows)
    running = torch.tensor(rows, dtype=torch.float64)[:, 0].cumsum(0) / torch.arange(1, 13)
    torch.testing.assert_close(torch.stack(found)[:, 0], running)


def test_the_share_of_history_has_the_least_mean_squared_error():
    """Window 3 of 1, 2, 4: mean 7/3 after 3/2, variance 7/3; the mixture 3/2 of two has the variance 1/4."""
    m = follow(Mstgd(length=3), (1.0,), (2.0,), (4.0,))[-1].item()
    spread, known, drift = 7 / 3, 0.25, (7 / 3 - 3 / 2) ** 2
    errors = {p / 1000: (p / 1000) ** 2 * (known + drift) + (1 - p / 1000) ** 2 * spread for p in range(1001)}
    best = min(errors, key=errors.get)
    assert m == pytest.approx(best * 1.5 + (1 - best) * 4, abs=2e-3)


def test_gradients_that_never_vary_are_taken_as_they_are():
    assert follow(Mstgd(), (2.0, 0.0), (2.0, 0.0), (2.0, 0.0))[-1].tolist() == [2, 0]
