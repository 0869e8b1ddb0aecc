"""An Optuna sampler that learns from every epoch of every trial, stopped ones too, by a Gaussian process over both.

Optuna's own samplers look at a stopped trial's last value or not at all: TPE ranks what was finished above what was stopped,
however good, and its GP leaves stopped trials out. Here each trial gives its values at the epochs 1, 2, 4, ... and its last one
to ``gaussian.CurveModel``, and the next point is the one of greatest expected improvement at the last epoch. Running trials
are taken at what the model expects of them, so that the next point lies elsewhere; failed and infeasible ones at the worst
value seen. The same model tells a halving which trials will end well (``decisions.py``): without it, a search that prefers
slow learners has them all stopped at the first rung and proposes them again.
Proof: ``tests/search/test_curve_sampler.py``; what it saves: ``benchmarks/search.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.spatial.distance import cdist
from scipy.stats import qmc

from fsg.search.cube import Array, Cube
from fsg.search.gaussian import CurveModel, log_expected_improvement
from fsg.study.space import Space

FIRST_FIT, NEXT_FITS, GROWN = 60, 15, 1.1  # steps of L-BFGS: the later fits begin where the last one ended
SPREAD, AROUND, BEST = 256, 32, 5  # candidates over the whole space, and around each of the best points
ROUNDS, NARROWER = 4, 0.3  # of ever closer candidates around the best ones
TAIL = 2.0  # values further below the median than so many times what lies above it are taken as that far
SAME = 1e-9  # a distance that rounding can make
MOST = 400  # observations; a fit is cubic in them


class CurveSampler(BaseSampler):
    """For one objective. ``longest``: epochs of the longest trial; ``startup``: trials placed evenly before the model leads."""

    def __init__(self, space: Space, longest: int, seed: int, startup: int | None = None) -> None:
        self._cube = Cube(space)
        self._longest = longest
        paths = len(self._cube.paths)
        self._startup = startup if startup is not None else min(2 + 2 * paths, 12)
        self._rng = np.random.default_rng(seed)
        self._sobol = qmc.Sobol(paths, scramble=True, rng=np.random.default_rng(seed))
        self._model = CurveModel(self._cube.groups)
        self._fitted = 0  # observations at the last fit
        self._other = RandomSampler(seed=seed)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every searched path: those that are not set at a point are never asked for."""
        return {path: domain.to_optuna() for path, domain in self._cube.domains.items()}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next point."""
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number and other.params]
        observed = self._observed(others, _sign(study))
        if observed is None:
            return self._cube.decode(self._cube.at(self._sobol.random(1))[0])
        return self._cube.decode(self._best(*observed))

    def expected(self, study: optuna.Study, points: Sequence[Mapping[str, Any]]) -> Array | None:
        """What each point may be worth at the last epoch, larger being better; None before the model leads.

        Mean and one standard deviation: a point of which little is known gets the benefit of the doubt.
        """
        observed = self._observed([trial for trial in study.get_trials(deepcopy=False) if trial.params], _sign(study))
        if observed is None:
            return None
        self._learn(*observed[:3])
        mean, deviation = self._model.predict(
            self._cube.spread(np.array([self._cube.encode(point) for point in points]))
        )
        return mean + deviation

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """At random: a path that a fixed start point leaves open."""
        return self._other.sample_independent(study, trial, param_name, param_distribution)

    def _observed(self, trials: Sequence[FrozenTrial], sign: float) -> tuple[Array, Array, Array, Array] | None:
        """Rows, times and standardised values of all observations, and the rows of what runs; None if they are too few."""
        if len(trials) < self._startup:
            return None
        found = [
            (self._cube.encode(trial.params), self._time(epoch), sign * value)
            for trial in trials
            for epoch, value in _thinned(trial, self._longest)
        ]
        if len({value for _, _, value in found}) < 2:
            return None
        middle, top = np.median([value for *_, value in found]), max(value for *_, value in found)
        floor = float(middle - TAIL * (top - middle))
        lowest = max(floor, min(value for *_, value in found))
        found += [(self._cube.encode(t.params), 1.0, lowest) for t in trials if t.state == TrialState.FAIL]
        rows, times, values = zip(*found[-MOST:], strict=True)
        y = np.maximum(values, floor)
        spread = float(y.std()) or 1.0
        running = [self._cube.encode(trial.params) for trial in trials if not trial.state.is_finished()]
        pending = np.array(running).reshape(-1, len(self._cube.paths))
        return np.array(rows), np.array(times), (y - y.mean()) / spread, pending

    def _time(self, epoch: int) -> float:
        return math.log(min(epoch, self._longest)) / math.log(self._longest) if self._longest > 1 else 1.0

    def _learn(self, rows: Array, t: Array, y: Array) -> None:
        """Condition the model, fitted anew where it has been told a tenth more than at the last fit."""
        x = self._cube.spread(rows)
        if len(y) >= GROWN * self._fitted:
            self._model.fit(x, t, y, NEXT_FITS if self._fitted else FIRST_FIT)
            self._fitted = len(y)
        self._model.condition(x, t, y)

    def _best(self, rows: Array, t: Array, y: Array, pending: Array) -> Array:
        """The row of greatest expected improvement."""
        cube, model = self._cube, self._model
        self._learn(rows, t, y)
        if len(pending):
            believed, _ = model.predict(cube.spread(pending))
            rows = np.r_[rows, pending]
            model.condition(cube.spread(rows), np.r_[t, np.ones(len(pending))], np.r_[y, believed])
        seen = np.unique(rows, axis=0)
        known, _ = model.predict(cube.spread(seen))
        best = float(known.max())

        def gain(candidates: Array) -> Array:
            score = log_expected_improvement(*model.predict(cube.spread(candidates)), best)
            new = cdist(candidates, seen, "sqeuclidean").min(axis=1) > SAME**2
            return np.where(new, score, -np.inf)

        centres = seen[np.argsort(-known)[:BEST]]
        candidates = np.r_[cube.at(self._rng.random((SPREAD, len(cube.paths)))), self._around(centres, 0.1)]
        scores = gain(candidates)
        for step in range(1, ROUNDS + 1):
            closer = self._around(candidates[np.argsort(-scores)[:BEST]], 0.1 * NARROWER**step)
            candidates, scores = np.r_[candidates, closer], np.r_[scores, gain(closer)]
        return candidates[int(np.argmax(scores))]

    def _around(self, centres: Array, width: float) -> Array:
        """Points near each centre: some of its paths moved, ranges by ``width``, choices drawn anew."""
        rng, cube = self._rng, self._cube
        rows = np.repeat(centres, AROUND, axis=0)
        moved = rng.random(rows.shape) < rng.choice([0.3, 1.0], (len(rows), 1))
        near = np.clip(rows + width * rng.standard_normal(rows.shape), 0.0, 1.0)
        drawn = np.where(rng.random(rows.shape) < 0.3, cube.at(rng.random(rows.shape)), rows)
        return cube.snap(np.where(moved, np.where(cube.categorical, drawn, near), rows))


def _sign(study: optuna.Study) -> float:
    return 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0


def _thinned(trial: FrozenTrial, longest: int) -> Iterator[tuple[int, float]]:
    """(epoch, value) at the epochs 1, 2, 4, ... and the last one; a finished trial's is the value that it was told."""
    steps = {epoch: value for epoch, value in trial.intermediate_values.items() if math.isfinite(value)}
    last = max(steps, default=longest)
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        steps[last] = trial.value  # over several seeds, their mean
    powers = {2**n for n in range(last.bit_length())}
    yield from ((epoch, value) for epoch, value in steps.items() if epoch in powers or epoch == last)
