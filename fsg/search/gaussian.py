"""A Gaussian process over configurations and epochs: what a configuration will be worth at its last epoch.

    value(x, e) = g(x) + (1 - t) d(x) + c(t) + noise + (1 - t) misfit,   t = log(epoch) / log(longest)

g is what is wanted, d how far a configuration has still to go, c what all learning curves have in common; all three have
Matern-5/2 kernels, g and d with a length for each path (Rasmussen and Williams, 2006, chapters 4 and 5). The misfit, white as
the noise is, keeps curves of another shape than this from being taken for noise at the end. So a configuration that
was stopped after one epoch says as much as one epoch has been seen to say of the end.

Letters: N observations, M points asked about, Q columns of a row, P paths. Values are standardised by the caller. float64
throughout. Proof: ``tests/search/test_gaussian.py``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.linalg.lapack import dpotri
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from scipy.special import ndtr

from fsg.search.cube import Array

JITTER = 1e-8


class CurveModel:
    """Learns from rows ``x_NQ`` at times ``t_N`` in [0, 1] with values ``y_N``; is asked about t = 1.

    ``groups``: the path, from 0, of each column. ``theta``: logarithms of g's P lengths, of d's P lengths, of c's length, and
    of the variances of g, d, c, the misfit and the noise.
    """

    def __init__(self, groups: NDArray[np.int_]) -> None:
        self._groups = groups
        self._p = p = int(groups.max()) + 1
        usual = math.log(0.5) + 0.5 * math.log(p)  # the diameter of the cube grows with the root of P
        self._middle = np.r_[
            np.full(p, usual), np.full(p, usual + 0.5), 0.0, 0.0, -1.0, -1.0, math.log(1e-2), math.log(1e-3)
        ]
        self._widths = np.r_[np.full(2 * p, 1.0), 1.0, 1.5, 1.5, 1.5, 2.0, 2.0]
        self.theta = self._middle.copy()

    def fit(self, x_NQ: Array, t_N: Array, y_N: Array, steps: int) -> None:
        """The most probable ``theta`` under log-normal priors, sought from where it stands by so many steps of L-BFGS."""
        bounds = [(m - 4 * w, m + 4 * w) for m, w in zip(self._middle, self._widths, strict=True)]
        found = minimize(
            self.loss, self.theta, (x_NQ, t_N, y_N), "L-BFGS-B", True, bounds=bounds, options={"maxiter": steps}
        )
        if np.isfinite(found.fun):
            self.theta = found.x

    def condition(self, x_NQ: Array, t_N: Array, y_N: Array) -> None:
        """Take ``y_N`` as observed, under ``theta`` as it is."""
        kernel = sum(self._parts(self.theta, x_NQ, t_N)[:3]) + np.diag(sum(self._white(self.theta, t_N)))
        self._x = x_NQ
        self._chol = cholesky(kernel, lower=True)
        self._weights = cho_solve((self._chol, True), y_N)

    def predict(self, x_MQ: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of g, (M,) each."""
        p, scale = self._p, np.exp(-self.theta[self._groups])
        variance = math.exp(self.theta[2 * p + 1])
        cross = variance * _matern(cdist(x_MQ * scale, self._x * scale, "sqeuclidean"))[0]
        known = (solve_triangular(self._chol, cross.T, lower=True, check_finite=False) ** 2).sum(axis=0)
        return cross @ self._weights, np.sqrt(np.maximum(variance - known, 1e-12))

    def loss(self, theta: Array, x_NQ: Array, t_N: Array, y_N: Array) -> tuple[float, Array]:
        """Negative log posterior of ``theta``, up to a constant, and its gradient."""
        p = self._p
        g, d, c, g_slope, d_slope, c_slope = self._parts(theta, x_NQ, t_N)
        misfit, noise = self._white(theta, t_N)
        try:
            chol = cholesky(g + d + c + np.diag(misfit + noise), lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return math.inf, np.zeros_like(theta)
        weights = cho_solve((chol, True), y_N, check_finite=False)
        inverse = np.tril(dpotri(chol, lower=1)[0])
        inverse += np.tril(inverse, -1).T
        pull = 0.5 * (inverse - np.outer(weights, weights))  # of the loss by the kernel
        gradient = np.r_[
            self._by_lengths(theta[:p], pull * g_slope, x_NQ),
            self._by_lengths(theta[p : 2 * p], pull * d_slope, x_NQ),
            -2 * (pull * c_slope).sum(),
            [(pull * part).sum() for part in (g, d, c)],
            [(np.diag(pull) * part).sum() for part in (misfit, noise)],
        ]
        away = (theta - self._middle) / self._widths
        loss = 0.5 * y_N @ weights + np.log(np.diag(chol)).sum() + 0.5 * away @ away
        return float(loss), gradient + away / self._widths

    def _parts(self, theta: Array, x: Array, t: Array) -> tuple[Array, ...]:
        """The kernels of g, d and c, (N, N) each, and their slopes: by squared distances, and c's by half its log length."""
        p = self._p
        s_g, s_d, s_c = np.exp(theta[2 * p + 1 : 2 * p + 4])
        scaled = [x * np.exp(-theta[k * p : (k + 1) * p][self._groups]) for k in (0, 1)]
        g, g_slope = _matern(cdist(scaled[0], scaled[0], "sqeuclidean"))
        d, d_slope = _matern(cdist(scaled[1], scaled[1], "sqeuclidean"))
        left = s_d * np.outer(1 - t, 1 - t)
        gaps = np.subtract.outer(t, t) ** 2 * math.exp(-2 * theta[2 * p])
        c, c_slope = _matern(gaps)
        return s_g * g, left * d, s_c * c, s_g * g_slope, left * d_slope, s_c * c_slope * gaps

    @staticmethod
    def _white(theta: Array, t: Array) -> tuple[Array, Array]:
        """The variances of the misfit and of the noise, (N,) each."""
        return math.exp(theta[-2]) * (1 - t) ** 2, np.full(len(t), math.exp(theta[-1]) + JITTER)

    def _by_lengths(self, log_lengths: Array, pull: Array, x: Array) -> Array:
        """Sum over pairs of ``pull`` times the slope of their squared distance by each log length, (P,)."""
        columns = 2 * (pull.sum(axis=1) @ x**2 - (x * (pull @ x)).sum(axis=0))
        return -2 * np.exp(-2 * log_lengths) * np.bincount(self._groups, columns, self._p)


def _matern(squares: Array) -> tuple[Array, Array]:
    """Matern-5/2 of squared distances, and its slope by them."""
    r = np.sqrt(5 * squares)
    fall = np.exp(-r)
    return (1 + r + r**2 / 3) * fall, -(5 / 6) * (1 + r) * fall


def log_expected_improvement(mean_M: Array, deviation_M: Array, best: float) -> Array:
    """log E[max(0, value - best)]; finite far below the best, where the expectation itself is 0 in floating point."""
    z = (mean_M - best) / deviation_M
    near = np.maximum(z, -8.0)
    density = np.exp(-(near**2) / 2) / math.sqrt(2 * math.pi)
    inside = np.log(np.maximum(density + near * ndtr(near), 1e-300))
    far = -(z**2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * np.log(np.maximum(-z, 1.0))
    return np.log(deviation_M) + np.where(z > -8.0, inside, far)
