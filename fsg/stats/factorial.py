"""Which switch earns its keep: effects, interactions, analysis of variance and Shapley shares of a 2^k design.

Letters: k switches, r runs (arms), n seeds; ``levels`` (r, k) of 0/1 or bool says which switch is on in which run,
``values`` (n, r) is the outcome of each run with each seed. Every statistic is a contrast w of the runs: its estimate
is the mean over seeds of values @ w. A seed is a block: what it adds to all of its runs cancels, as w sums to 0.
Model: value = seed + run + error (Box, Hunter & Hunter, Statistics for Experimenters).
Proof: ``tests/stats/test_factorial.py``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fsg.stats.paired import Interval, Vector, check_confidence, mean_interval

Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Effect:
    """One contrast. ``aliases`` are the terms that this design cannot tell from it, with "-" where of opposite sign.

    A main effect is the mean with the switch on less the mean with it off; an interaction is half of the difference
    between two effects (of A with B on, less of A with B off), and so on: the usual scale, on which all have one error.
    """

    term: tuple[str, ...]
    interval: Interval
    p: float
    aliases: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """``hgs`` or ``hgs × lre``."""
        return " × ".join(self.term)


@dataclass(frozen=True, slots=True)
class AnovaRow:
    """One line of the analysis of variance; f and p are NaN where the line is no test (seed, residual, total)."""

    source: str
    df: int
    sum_sq: float
    mean_sq: float
    f: float
    p: float


@dataclass(frozen=True, slots=True)
class ShapleyShares:
    """``shares``: each switch's part of ``total``, the gain of all on over all off; they sum to it."""

    shares: dict[str, Interval]
    total: Interval


def effects(
    levels: ArrayLike,
    values: ArrayLike,
    names: Sequence[str],
    *,
    confidence: float = 0.95,
    most: int | None = None,
    pooled: bool = True,
) -> tuple[Effect, ...]:
    """Main effects and interactions up to ``most`` switches (None: all), in order of the number of switches.

    ``pooled`` (the default) takes the error from all runs, (n - 1)(r - 1) degrees of freedom, on the model's word that
    every run varies alike; without it each effect has its own error, n - 1 degrees of freedom, and needs no such word.
    With a fraction of the 2^k runs, terms that have the same contrast are reported once, under the one of fewest
    switches, with the others as aliases. Needs n >= 2 seeds, each switch on and off equally often, no NaN.
    """
    x, y, names = _design(levels, values, names)
    found = []
    for term, aliases, signs in _contrasts(x, names, most):
        interval, p = _judge(y, 2 * signs / len(signs), confidence, pooled)
        found.append(Effect(term, interval, p, aliases))
    return tuple(found)


def anova(
    levels: ArrayLike, values: ArrayLike, names: Sequence[str], *, most: int | None = None
) -> tuple[AnovaRow, ...]:
    """Analysis of variance: seed, one line per term (1 degree of freedom), what they leave over, residual, total."""
    from scipy.special import fdtrc

    x, y, names = _design(levels, values, names)
    n, runs = y.shape
    grand = float(y.mean())
    per_run, per_seed = y.mean(axis=0), y.mean(axis=1)
    residual = y - per_run - per_seed[:, None] + grand
    df = (n - 1) * (runs - 1)
    error, left = float((residual**2).sum()), n * float(((per_run - grand) ** 2).sum())

    def line(source: str, degrees: int, sum_sq: float, tested: bool) -> AnovaRow:
        mean_sq, f = sum_sq / degrees, math.nan
        if tested and error > 0:
            f = mean_sq / (error / df)
        return AnovaRow(
            source, degrees, sum_sq, mean_sq, f, math.nan if math.isnan(f) else float(fdtrc(degrees, df, f))
        )

    rows, used = [line("seed", n - 1, runs * float(((per_seed - grand) ** 2).sum()), False)], 0
    for term, _, signs in _contrasts(x, names, most):
        sum_sq = n * float(per_run @ signs) ** 2 / runs
        rows.append(line(" × ".join(term), 1, sum_sq, True))
        left, used = left - sum_sq, used + 1
    if used < runs - 1:
        rows.append(line("other runs", runs - 1 - used, max(0.0, left), True))
    rows.append(line("residual", df, error, False))
    rows.append(line("total", n * runs - 1, float(((y - grand) ** 2).sum()), False))
    return tuple(rows)


def shapley(
    levels: ArrayLike, values: ArrayLike, names: Sequence[str], *, confidence: float = 0.95, pooled: bool = True
) -> ShapleyShares:
    """The total gain shared out: a switch's part is its gain averaged over all orders of switching on (Shapley 1953).

    Needs all 2^k runs. Each part is a contrast of the runs, so it has an interval, with the error as in ``effects``.
    """
    x, y, names = _design(levels, values, names)
    k = len(names)
    on = x > 0
    if len(on) != 2**k:
        raise ValueError(f"levels: {len(on)} of the {2**k} runs; Shapley shares need them all (a full factorial).")
    size = on.sum(axis=1)
    shares = {}
    for i, name in enumerate(names):
        # A run with s switches on beside i weighs s! (k - s - 1)! / k!; i on counts for, i off against.
        beside = size - on[:, i]
        weight = np.array([1 / (k * math.comb(k - 1, int(s))) for s in beside])
        shares[name] = _judge(y, np.where(on[:, i], weight, -weight), confidence, pooled)[0]
    ends = (size == k).astype(float) - (size == 0)
    return ShapleyShares(shares, _judge(y, ends, confidence, pooled)[0])


def _judge(y: Matrix, weights: Vector, confidence: float, pooled: bool) -> tuple[Interval, float]:
    """Interval and two-sided p of one contrast of the runs."""
    from scipy.special import stdtr, stdtrit

    check_confidence(confidence)
    n, runs = y.shape
    per_seed = y @ weights
    if pooled:
        df, kind = (n - 1) * (runs - 1), "t, pooled error"
        residual = y - y.mean(axis=0) - y.mean(axis=1, keepdims=True) + y.mean()
        error = math.sqrt(float((residual**2).sum()) / df * float(weights @ weights) / n)
    else:
        df, kind = n - 1, "t"
        error = mean_interval(per_seed, confidence).half_width / float(stdtrit(df, (1 + confidence) / 2))
    tiny = 1e-13 * float(np.abs(y).max())
    if error <= tiny:
        error = 0.0  # rounding is no spread
    mean, half = float(per_seed.mean()), float(stdtrit(df, (1 + confidence) / 2)) * error
    p = float(2 * stdtr(df, -abs(mean) / error)) if error > 0 else float(abs(mean) <= tiny)
    return Interval(mean, mean - half, mean + half, n, confidence, kind), p


def _contrasts(
    x: Matrix, names: Sequence[str], most: int | None
) -> list[tuple[tuple[str, ...], tuple[str, ...], Vector]]:
    """Each distinct contrast: its shortest term, its aliases, its signs (r,). A constant contrast is no effect."""
    k = len(names)
    terms = [c for size in range(1, k + 1) for c in itertools.combinations(range(k), size)]
    seen: dict[bytes, tuple[tuple[int, ...], list[str], Vector]] = {}
    for term in terms:
        signs: Vector = x[:, list(term)].prod(axis=1)
        if (signs == signs[0]).all():
            continue
        key = (signs * signs[0]).tobytes()
        if key in seen:
            _, aliases, as_first = seen[key]
            minus = "" if signs[0] == as_first[0] else "-"
            aliases.append(minus + " × ".join(names[i] for i in term))
        elif most is None or len(term) <= most:
            seen[key] = (term, [], signs)
    return [(tuple(names[i] for i in term), tuple(aliases), signs) for term, aliases, signs in seen.values()]


def _design(levels: ArrayLike, values: ArrayLike, names: Sequence[str]) -> tuple[Matrix, Matrix, tuple[str, ...]]:
    """Signs (r, k) of -1/+1 and values (n, r), or a ValueError that names what is wrong."""
    on, y, names = np.asarray(levels, dtype=np.float64), np.asarray(values, dtype=np.float64), tuple(names)
    if on.ndim != 2 or on.shape[1] != len(names) or not len(names):
        raise ValueError(f"levels: has shape {on.shape}, expected (runs, {len(names)}) for the switches {list(names)}.")
    if not np.isin(on, (0, 1)).all():
        raise ValueError("levels: expected 0 (off) and 1 (on) alone.")
    if y.ndim != 2 or y.shape[1] != on.shape[0]:
        raise ValueError(f"values: has shape {y.shape}, expected (seeds, {on.shape[0]}), one column per run of levels.")
    if y.shape[0] < 2:
        raise ValueError(f"values: {y.shape[0]} seeds; effects have an error only from 2 seeds on.")
    if not np.isfinite(y).all():
        bad = sorted({int(i) for i in np.argwhere(~np.isfinite(y))[:, 0]})
        raise ValueError(f"values: not finite for seeds at rows {bad}; leave out seeds that miss a run.")
    if len(np.unique(on, axis=0)) != len(on):
        raise ValueError("levels: the same run stands twice; average repeated runs of a seed first.")
    x = 2 * on - 1
    uneven = [name for name, column in zip(names, x.T, strict=True) if column.sum() != 0]
    if uneven:
        raise ValueError(
            f"levels: {', '.join(uneven)} not on and off equally often, so its effect mixes with the mean."
        )
    for size in range(2, len(names) + 1):
        for columns in itertools.combinations(range(len(names)), size):
            if abs(x[:, list(columns)].prod(axis=1).sum()) not in (0, len(x)):
                raise ValueError(
                    "levels: neither a full factorial nor a regular fraction of one (effects half aliased)."
                )
    return x, y, names
