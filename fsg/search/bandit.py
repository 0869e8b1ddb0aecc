"""PB2's explore: where in the box a Gaussian process that forgets expects the largest gain of the next epochs.

    gain(t, x) ~ GP,  k = s k_x(x, x') exp(-|t - t'| / l_t) + noise,  k_x squared-exponential with a length for each path
    next x = argmax mean + sqrt(beta_t) deviation,  beta_t = 0.2 + log(0.4 t), at least 0.2

t counts perturbations, x lies in the unit box (logarithmic ranges by their logarithm), a gain is what the metric gained from
one perturbation to the next, standardised among the members of the same one: the first gains are no larger than the last.
exp(-|t - t'| / l) is the paper's (1 - eps)^(|t - t'| / 2). Members that change together are told apart as in the paper: a
point that was just chosen counts as observed, at its mean. Parker-Holder et al., arXiv:2002.02518. Proof:
``tests/search/test_bandit.py``.
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Exponentiation, Kernel, Matern, WhiteKernel

from fsg.catalogue.schedulers import Pb2
from fsg.search.populations import Explore, Feasible, Member, Point
from fsg.study.domains import Domain

Array = NDArray[np.float64]
CANDIDATES = 500
MOST_GAINS = 300  # the newest; older ones are forgotten anyway, and fitting grows with the cube


class Columns(Exponentiation):
    """A kernel of scikit-learn that sees some columns of its inputs: ``exponent`` holds their indices.

    Exponentiation passes parameters, bounds and gradients of the inner kernel on, which is all that is needed of it.
    """

    def __call__(self, X: Array, Y: Array | None = None, eval_gradient: bool = False) -> Any:
        """The inner kernel of those columns."""
        return self.kernel(X[:, self.exponent], None if Y is None else Y[:, self.exponent], eval_gradient)

    def diag(self, X: Array) -> Array:
        """The inner kernel's."""
        return self.kernel.diag(X[:, self.exponent])


@dataclass(frozen=True)
class UpperConfidence:
    """PB2 over ranges, linear and logarithmic."""

    domains: Mapping[str, Domain]

    def points(
        self, donors: Sequence[Point], members: Sequence[Member], epoch: int, feasible: Feasible, rng: random.Random
    ) -> list[Point]:
        """The maximum of the bound for each donor in turn; donors decide the weights, not the values."""
        draws = np.random.default_rng(rng.getrandbits(64))
        t, rows, gains = self._gains(members)
        t, rows, gains = t[-MOST_GAINS:], rows[-MOST_GAINS:], gains[-MOST_GAINS:]
        now = float(len({e for m in members for e in m.scores}))  # perturbations so far: the time of the next gains
        inputs = np.column_stack([t, rows])
        process = GaussianProcessRegressor(self._kernel(), normalize_y=False, n_restarts_optimizer=1, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a length at its bound is an answer
            process.fit(inputs, gains)
        weight = math.sqrt(max(0.2, 0.2 + math.log(0.4 * max(now, 1.0))))
        found: list[Point] = []
        fixed = GaussianProcessRegressor(process.kernel_, optimizer=None)
        for donor in donors:
            fixed.fit(inputs, gains)
            candidates = draws.random((CANDIDATES, len(self.domains)))
            asked = np.column_stack([np.full(CANDIDATES, now), candidates])
            mean, deviation = fixed.predict(asked, return_std=True)
            order = np.argsort(-(mean + weight * deviation), kind="stable")
            best = next((n for n in order[:200] if feasible(self._point(candidates[n]))), None)
            if best is None:
                found.append(donor)
                continue
            found.append(self._point(candidates[best]))
            inputs, gains = np.vstack([inputs, asked[best]]), np.append(gains, mean[best])
        return found

    def _gains(self, members: Sequence[Member]) -> tuple[Array, Array, Array]:
        """Time, point and standardised gain of each stretch between two perturbations, the oldest first."""
        epochs = sorted({epoch for member in members for epoch in member.scores})
        scores = {member.key: member.scores for member in members}
        t, rows, gains = [], [], []
        for number, (before, after) in enumerate(zip([0, *epochs], epochs, strict=False)):
            stretch = []
            for member in members:
                source = member.donors.get(before, member.key)
                began = scores.get(source, {}).get(before, 0.0 if before == 0 else math.nan)
                gain = member.scores.get(after, math.nan) - began
                if math.isfinite(gain):
                    held = member.points[max(e for e in member.points if e <= before)]
                    stretch.append((self._row(held), gain))
            values = np.array([gain for _, gain in stretch])
            spread = float(values.std()) if len(values) > 1 else 0.0
            t += [float(number)] * len(stretch)
            rows += [row for row, _ in stretch]
            gains += list((values - values.mean()) / spread if spread > 0 else np.zeros(len(values)))
        return np.array(t), np.array(rows).reshape(len(t), len(self.domains)), np.array(gains)

    def _kernel(self) -> Kernel:
        paths = list(range(1, 1 + len(self.domains)))
        box = Columns(RBF(np.full(len(paths), 0.5), (0.05, 10.0)), paths)
        time = Columns(Matern(5.0, (0.5, 100.0), nu=0.5), [0])
        return ConstantKernel(1.0, (0.05, 20.0)) * box * time + WhiteKernel(0.1, (1e-3, 2.0))

    def _row(self, point: Point) -> list[float]:
        return [domain.encode(point[path]) for path, domain in self.domains.items()]

    def _point(self, row: Array) -> Point:
        return {path: domain.decode(float(x)) for (path, domain), x in zip(self.domains.items(), row, strict=True)}


def upper_confidence(config: Pb2, domains: Mapping[str, Domain]) -> Explore:
    """PB2's rule for a space."""
    return UpperConfidence(domains)
