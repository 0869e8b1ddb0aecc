"""Proof of fsg/search/gaussian.py: closed forms, finite differences, and curves it must see through."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.stats import norm

from fsg.search.gaussian import CurveModel, log_expected_improvement

GROUPS = np.array([0, 1, 1, 2])


def data(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.random((count, 4)), rng.choice([0.0, 0.3, 0.7, 1.0], count), rng.standard_normal(count)


def test_the_gradient_of_the_loss_is_its_slope():
    model = CurveModel(GROUPS)
    theta = model.theta + 0.3 * np.random.default_rng(1).standard_normal(len(model.theta))
    x, t, y = data(15)
    _, gradient = model.loss(theta, x, t, y)
    assert gradient == pytest.approx(
        approx_fprime(theta, lambda a: model.loss(a, x, t, y)[0], 1e-6), rel=1e-3, abs=1e-3
    )


def test_the_loss_is_the_density_of_a_normal_vector():
    from scipy.stats import multivariate_normal

    model = CurveModel(GROUPS)
    x, t, y = data(6)
    losses = []
    for values in (y, 2 * y):
        parts = sum(model._parts(model.theta, x, t)[:3]) + np.diag(sum(model._white(model.theta, t)))
        losses.append(model.loss(model.theta, x, t, values)[0] + multivariate_normal(cov=parts).logpdf(values))
    assert losses[0] == pytest.approx(losses[1]), "equal up to a constant"


def test_what_was_measured_at_the_end_is_what_it_expects_there():
    x = np.linspace(0, 1, 9)[:, None]
    y = np.sin(5 * x[:, 0])
    model = CurveModel(np.array([0]))
    model.fit(x, np.ones(9), y, 50)
    model.condition(x, np.ones(9), y)
    mean, deviation = model.predict(x)
    assert mean - mean.mean() == pytest.approx(y - y.mean(), abs=0.1)
    assert (deviation < model.predict(x + 5)[1]).all(), "far away it knows less"


def test_it_sees_that_a_slow_learner_ends_well():
    """Every curve ends at x; the larger x, the lower it begins. Eight are whole, eight were stopped at their first epoch."""
    rng = np.random.default_rng(0)
    whole, stopped = np.linspace(0, 1, 8), np.linspace(0.06, 0.94, 8)
    times = np.array([0.0, 0.33, 0.67, 1.0])
    rows = [(a, s, a - 2 * a * (1 - s)) for a in whole for s in times] + [(a, 0.0, -a) for a in stopped]
    x, t, y = (np.array(column) for column in zip(*rows, strict=True))
    y = y + 0.01 * rng.standard_normal(len(y))
    model = CurveModel(np.array([0]))
    model.fit(x[:, None], t, y, 60)
    model.condition(x[:, None], t, y)
    mean, _ = model.predict(stopped[:, None])
    assert list(np.argsort(mean)) == list(range(8)), "at the first epoch their order is the reverse"


def test_the_logarithm_of_the_expected_improvement_is_right_near_and_finite_far():
    mean, deviation = np.array([0.0, 1.0, -3.0]), np.array([1.0, 0.5, 2.0])
    z = (mean - 0.5) / deviation
    assert log_expected_improvement(mean, deviation, 0.5) == pytest.approx(
        np.log(deviation * (norm.pdf(z) + z * norm.cdf(z)))
    )
    far = log_expected_improvement(np.array([-7.99, -8.01, -100.0]), np.ones(3), 0.0)
    assert np.isfinite(far).all() and far[0] > far[1] > far[2]
    assert far[0] - far[1] < 0.3, "no step where the formulas meet"
