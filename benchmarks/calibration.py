"""Do the intervals cover and the tests err as often as they say? 10,000 simulated studies under a true null.

Run: ``python -m benchmarks.calibration`` (about 30 seconds on one core). Prints a table, writes
``benchmarks/results/calibration.json`` with date, versions and command, and exits with 1 where a rate is outside its
bounds. A study has 8 arms and a baseline over n seeds; a seed adds the same to all its arms, arms differ by noise alone,
so differences to one baseline are correlated. Rates carry a standard error of 0.2 points (95 % of 10,000).

Rows without bounds are there to be known: what t does uncorrected, at every look, or where differences are not normal,
and why the BCa bootstrap is not the default at few seeds. Paired t and exact sign flips are written out here for many
studies at once, and each use is checked against fsg.stats on its first study; the rest calls fsg.stats itself.
"""

from __future__ import annotations

import datetime
import json
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import scipy
from scipy.special import stdtr, stdtrit

from fsg.stats.factorial import effects
from fsg.stats.online import FALSE_DISCOVERY_RATE, replay, weights
from fsg.stats.paired import bca_ends, equivalence_test, holm, mean_interval, sign_flip_test, t_test
from fsg.stats.sequential import AnyLook, plan_looks

STUDIES = 10_000
ARMS = 8
SEED = 20_26
RESULTS = Path(__file__).parent / "results" / "calibration.json"


@dataclass(frozen=True, slots=True)
class Rate:
    """A measured rate in percent, and the bounds it must keep; None: reported, not judged."""

    what: str
    seeds: str
    percent: float
    low: float | None = None
    high: float | None = None

    @property
    def kept(self) -> bool:
        """Whether the rate lies within its bounds."""
        return (self.low is None or self.percent >= self.low) and (self.high is None or self.percent <= self.high)


def main() -> int:
    """Measure, print, write; 1 where a bound is broken."""
    started = time.perf_counter()
    rates = list(measure(np.random.default_rng(SEED)))
    seconds = time.perf_counter() - started
    print(f"{'what':<66} {'seeds':>8} {'rate':>8}  bounds")
    for rate in rates:
        bounds = "" if rate.low is None and rate.high is None else f"{rate.low or 0:g} to {rate.high:g} %"
        print(f"{rate.what:<66} {rate.seeds:>8} {rate.percent:7.2f}%  {bounds}{'' if rate.kept else '  BROKEN'}")
    print(f"{STUDIES:,} studies a row, {seconds:.0f} s")
    RESULTS.parent.mkdir(exist_ok=True)
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks.calibration",
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "scipy": scipy.__version__},
        "machine": platform.machine(),
        "studies": STUDIES,
        "arms": ARMS,
        "seed": SEED,
        "seconds": round(seconds, 1),
        "rates": [asdict(rate) | {"kept": rate.kept} for rate in rates],
    }
    RESULTS.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0 if all(rate.kept for rate in rates) else 1


def measure(rng: np.random.Generator) -> Iterator[Rate]:
    """Every row of the table."""
    for n in (3, 5, 10):
        paired = null_studies(rng, n)
        yield Rate("t interval covers", str(n), percent(covered(paired[:, 0])), 93, 97)
        p = t_p_values(paired)
        yield Rate("t, uncorrected: some of 8 arms differs", str(n), percent((p < 0.05).any(axis=1)))
        yield Rate("t, Holm over 8 arms: some arm differs", str(n), percent(holm_rejects(p)), 0, 6)
    for n in (6, 10):
        p = flip_p_values(null_studies(rng, n))
        yield Rate("exact sign flips, one arm: p <= 0.05", str(n), percent(p[:, 0] <= 0.05), 0, 6)
        yield Rate("exact sign flips, Holm over 8 arms: some arm differs", str(n), percent(holm_rejects(p)), 0, 6)
    yield from other_shapes(rng)
    yield from equivalence(rng)
    yield from factorial(rng)
    yield from sequential(rng)
    yield from any_look(rng)
    yield from ideas(rng)


def null_studies(rng: np.random.Generator, n: int) -> np.ndarray:
    """Differences of 8 arms to the baseline, no arm differing: (studies, arms, n). The seed's own part cancels."""
    values = rng.standard_normal((STUDIES, 1 + ARMS, n)) + 3 * rng.standard_normal((STUDIES, 1, n))
    return values[:, 1:] - values[:, :1]


def percent(hits: np.ndarray) -> float:
    """The share of true entries, in percent."""
    return round(100 * float(np.mean(hits)), 2)


def covered(d: np.ndarray, truth: float = 0.0) -> np.ndarray:
    """Whether the 95 % t interval of each row of d (studies, n) holds the truth."""
    n = d.shape[1]
    half = stdtrit(n - 1, 0.975) * d.std(axis=1, ddof=1) / np.sqrt(n)
    first = mean_interval(d[0])
    np.testing.assert_allclose(half[0], first.half_width)
    return np.abs(d.mean(axis=1) - truth) <= half


def t_p_values(d: np.ndarray) -> np.ndarray:
    """Paired t p values of (..., n)."""
    n = d.shape[-1]
    p = 2 * stdtr(n - 1, -np.abs(d.mean(axis=-1)) / d.std(axis=-1, ddof=1) * np.sqrt(n))
    np.testing.assert_allclose(p[0, 0], t_test(d[0, 0]).p)
    return p


def flip_p_values(d: np.ndarray) -> np.ndarray:
    """Exact sign-flip p values of (studies, arms, n)."""
    n = d.shape[-1]
    patterns = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) % 2 * -2.0 + 1  # the last sign stays +
    p = np.empty(d.shape[:2])
    for arm in range(d.shape[1]):
        sums = np.abs(d[:, arm] @ patterns.T)
        p[:, arm] = (sums >= sums[:, :1] * (1 - 1e-12)).mean(axis=1)
    np.testing.assert_allclose(p[0, 0], sign_flip_test(d[0, 0]).p)
    return p


def holm_rejects(p: np.ndarray) -> np.ndarray:
    """Whether Holm at 5 % rejects any arm of each study (studies, arms), by the shipped function."""
    return np.array([(holm(row) < 0.05).any() for row in p])


def other_shapes(rng: np.random.Generator) -> Iterator[Rate]:
    """The t interval on differences that are not normal, and the BCa interval on ones that are."""
    for n in (5, 10):
        yield Rate("t interval covers, uniform differences", str(n), percent(covered(rng.uniform(-1, 1, (STUDIES, n)))))
        skewed = rng.standard_exponential((STUDIES, n)) - 1
        yield Rate("t interval covers, skewed differences", str(n), percent(covered(skewed)))
    for n in (5, 10, 20):
        hits = []
        for _ in range(10):
            d = rng.standard_normal((STUDIES // 10, n))
            counts = rng.multinomial(n, np.full(n, 1 / n), size=1_000) / n  # shared by these 1,000 studies
            low, high = bca_ends(d, d @ counts.T, 0.95)
            hits.append((low <= 0) & (high >= 0))
        yield Rate("BCa bootstrap covers", str(n), percent(np.concatenate(hits)))


def equivalence(rng: np.random.Generator) -> Iterator[Rate]:
    """At a true difference of exactly the margin, "equivalent" is an error."""
    d = rng.standard_normal((STUDIES, 10)) + 1.5
    wrong = np.array([equivalence_test(row, 1.5).equivalent for row in d])
    yield Rate("equivalence claimed at the margin itself", "10", percent(wrong), 0, 6)


def factorial(rng: np.random.Generator) -> Iterator[Rate]:
    """Effects of a 2^3 design without effects, with blocks: pooled and own error, and Holm over the seven."""
    levels = np.array([[i >> j & 1 for j in range(3)] for i in range(8)])
    for n, pooled in ((3, True), (5, True), (5, False)):
        cover, some = [], []
        for _ in range(STUDIES):
            y = rng.standard_normal((n, 8)) + 3 * rng.standard_normal((n, 1))
            found = effects(levels, y, "abc", pooled=pooled)
            cover.append([not effect.interval.excludes_zero for effect in found])
            some.append((holm([effect.p for effect in found]) < 0.05).any())
        kind = "pooled error" if pooled else "own error"
        yield Rate(f"effect of a 2^3 switch covers, {kind}", str(n), percent(np.array(cover)), 93, 97)
        yield Rate(f"2^3, Holm over 7 effects, {kind}: some effect differs", str(n), percent(np.array(some)), 0, 6)


def sequential(rng: np.random.Generator) -> Iterator[Rate]:
    """Adding seeds: the error of stopping at will, and the cover of stopping at a half-width; the plain t beside it."""
    for first, last in ((3, 20), (3, 10), (2, 20)):
        n = np.arange(first, last + 1)
        x = rng.standard_normal((STUDIES, last))
        mean = x.cumsum(axis=1)[:, first - 1 :] / n
        error = np.stack([x[:, :k].std(axis=1, ddof=1) for k in n], axis=1) / np.sqrt(n)
        looks = plan_looks(first, last)
        half = np.array(looks.edges) * error
        np.testing.assert_allclose(half[0, -1], looks.interval(x[0]).half_width)
        plain = stdtrit(n - 1, 0.975) * error
        seeds = f"{first}-{last}"
        ever = percent((np.abs(mean) > half).any(axis=1))
        yield Rate("sequential: some look excludes the truth", seeds, ever, 0, 6)
        yield Rate("plain t at every look: some look excludes it", seeds, percent((np.abs(mean) > plain).any(axis=1)))
        for target in (0.5, 1.0):
            for name, width, bounds in (("sequential", half, (94.0, 100.0)), ("plain t", plain, (None, None))):
                narrow = width <= target
                stop = np.where(narrow.any(axis=1), narrow.argmax(axis=1), len(n) - 1)
                rows = np.arange(STUDIES)
                cover = percent(np.abs(mean[rows, stop]) <= width[rows, stop])
                what = f"{name}, until half-width <= {target} sd (mean {n[stop].mean():.1f} seeds) covers"
                yield Rate(what, seeds, cover, *bounds)


def any_look(rng: np.random.Generator) -> Iterator[Rate]:
    """Adding seeds without a plan: the error of stopping at will, of 200 looks, in normal and in other differences."""
    last, rule = 200, AnyLook()
    n = np.arange(2, last + 1)
    edges = rule.edge(n, 0.05)
    for shape, bounds in (("normal", (0, 5.5)), ("uniform", (None, None)), ("skewed", (None, None))):
        draw = {
            "normal": rng.standard_normal,
            "uniform": lambda size: rng.uniform(-1, 1, size),
            "skewed": lambda size: rng.standard_exponential(size) - 1,
        }[shape]
        ever = np.concatenate([_passes(draw((STUDIES // 10, last)), n, edges).any(axis=1) for _ in range(10)])
        yield Rate(f"any look, {shape} differences: some look excludes the truth", f"2-{last}", percent(ever), *bounds)


def _passes(x: np.ndarray, n: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Whether |t| of the first n values of each row passes the edge of that look: (studies, looks)."""
    return np.abs(_t_of_looks(x, n)) >= edges


def _t_of_looks(x: np.ndarray, n: np.ndarray) -> np.ndarray:
    mean = x.cumsum(axis=-1)[..., n[0] - 1 :] / n
    squares = (x * x).cumsum(axis=-1)[..., n[0] - 1 :]
    return mean / np.sqrt((squares / n - mean**2) / (n - 1))


# Ideas one after another ----------------------------------------------------------------------------------------------
IDEAS, SEEDS = 20, 12


def ideas(rng: np.random.Generator) -> Iterator[Rate]:
    """Logs of 20 ideas, each looked at after 3 to 12 seeds until it is a discovery: what of all discoveries is false.

    Every idea is an arm less one baseline with the same seeds, so they depend on each other; ``own baseline``: they do not.
    """
    n = np.arange(3, SEEDS + 1)
    for effective in (0, 5, 10):
        for shared in (True, False):
            p = _idea_p_values(rng, n, effective, shared)
            found = lord(p.min(axis=-1))  # that it stops at a discovery: some look passes
            true = np.arange(IDEAS) % (IDEAS // effective) == 0 if effective else np.zeros(IDEAS, bool)
            false = found[:, ~true].sum(axis=1) / np.maximum(1, found.sum(axis=1))
            what = f"{IDEAS} ideas, {effective} effective, {'one' if shared else 'own'} baseline"
            name = f"log of {what}: false among discoveries"
            yield Rate(name, f"3-{SEEDS}", percent(false), 0, 100 * FALSE_DISCOVERY_RATE)
            if effective and shared:
                yield Rate(f"log of {what}: effects of 2 sd found", f"3-{SEEDS}", percent(found[:, true]))
            if not effective and shared:
                wrong = p[:, :ARMS].min(axis=(1, 2)) <= 0.05 / ARMS  # where Holm's first step rejects at some look
                yield Rate(
                    "verdict at every look, Holm over 8 arms: some arm differs", f"3-{SEEDS}", percent(wrong), 0, 6
                )
                t = _idea_t(rng, n, 0, shared)
                some = (2 * stdtr(n - 1, -np.abs(t)) < 0.05).any(axis=(1, 2))
                yield Rate("the same, plain t at every look: some idea is a discovery", f"3-{SEEDS}", percent(some))
    found = lord(rng.uniform(size=(STUDIES, IDEAS)))
    yield Rate("LORD++, 20 exact p values without effect: some discovery", "-", percent(found.any(axis=1)), 0, 5.5)


def _idea_t(rng: np.random.Generator, n: np.ndarray, effective: int, shared: bool) -> np.ndarray:
    """t of every look at every idea, (studies, ideas, looks); an effect is 2 standard deviations of the difference."""
    arms = rng.standard_normal((STUDIES, IDEAS, SEEDS))
    baseline = rng.standard_normal((STUDIES, 1 if shared else IDEAS, SEEDS))
    if effective:
        arms[:, :: IDEAS // effective] += 2 * np.sqrt(2)
    return _t_of_looks(arms - baseline, n)


def _idea_p_values(rng: np.random.Generator, n: np.ndarray, effective: int, shared: bool) -> np.ndarray:
    """The p of ``AnyLook`` for each t: (studies, ideas, looks)."""
    from fsg.stats.sequential import EFFECT_VARIANCE

    squared, widened = _idea_t(rng, n, effective, shared) ** 2, 1 + n * EFFECT_VARIANCE
    e = np.exp(n / 2 * (np.log1p(squared / (n - 1)) - np.log1p(squared / (n - 1) / widened))) / np.sqrt(widened)
    d = np.arange(5.0)  # the same formula as the shipped one's
    t = _t_of_looks(d, np.array([5]))[0] ** 2
    mine = (1 + 5 * EFFECT_VARIANCE) ** -0.5 * ((1 + t / 4) / (1 + t / 4 / (1 + 5 * EFFECT_VARIANCE))) ** 2.5
    np.testing.assert_allclose(min(1.0, 1 / mine), AnyLook().p(d))
    return np.minimum(1, 1 / e)


def lord(p: np.ndarray) -> np.ndarray:
    """Which p (studies, ideas), one idea after the other, are discoveries: the levels of ``next_level``, all studies at once."""
    rate, gamma = FALSE_DISCOVERY_RATE, weights(np.arange(1, p.shape[1] + 1))
    levels = np.tile(rate / 2 * gamma, (len(p), 1))
    found, before = np.zeros(p.shape, bool), np.zeros(len(p), int)
    for number in range(p.shape[1]):
        hit = found[:, number] = p[:, number] <= levels[:, number]
        earned = np.where(before[hit] > 0, rate, rate / 2)[:, None]
        levels[hit, number + 1 :] += earned * gamma[: p.shape[1] - number - 1]
        before += hit
    for study in range(100):
        shipped = replay(enumerate(p[study].tolist())).values()
        assert [one.discovered is not None for one in shipped] == found[study].tolist()
        np.testing.assert_allclose([one.level for one in shipped], levels[study])
    return found


if __name__ == "__main__":
    sys.exit(main())
