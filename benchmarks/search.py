"""How many epochs does our search save against Ray's OptunaSearch with Ray's ASHA, at equal final regret?

Run: ``OMP_NUM_THREADS=1 python -m benchmarks.search`` (two minutes on two cores; ``--seeds 3`` for a look). Nothing is
trained: trials are learning curves in closed form, run by simulated asynchronous workers on a simulated clock, through the
real searchers and the real decision logic, without a running Ray.

Three problems: Branin and Hartmann-6, each with a point's own pace of learning, and ``curves``, where a large learning rate
leads early and loses late, with noise. Three methods, each with the same seeds, workers and epochs:

- ``ray``: ray.tune's OptunaSearch (TPE as it comes) and AsyncHyperBandScheduler; a stopped trial is told as COMPLETE with
  its truncated value.
- ``tpe``: Optuna's TPE, multivariate and with a constant liar, behind our proposals and our halving; a stopped trial is told
  as PRUNED with its intermediate values.
- ``curves``: what ``sampler: auto`` is on spaces of this size; its model also keeps trials that halving would stop.

Regret: the final loss without noise of the trial that looks best among those that reached the last epoch, less the optimum.
The sampler was made on seeds 0 to 9 of these same problems; what is reported are seeds that nobody had looked at.
Result (November 2026, seeds 100 to 119): ``curves`` has ray's final regret at 54 % of its epochs on Branin (95 %: 44 to 67),
60 % on Hartmann-6 (46 to 68) and 20 % on ``curves`` (20 to 50); ``tpe`` at 69 %, 74 % and never. How a stopped trial is told
saves little; a model of the epochs, that also keeps slow learners, does.

Printed: the mean of log10 regret by epochs spent with its 95 % interval over seeds, and at which share of ``ray``'s epochs
ours has its final mean, with a paired bootstrap interval. Written: ``benchmarks/results/search.json``.
"""

from __future__ import annotations

import argparse
import datetime
import heapq
import json
import math
import multiprocessing
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import optuna
import ray
from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from ray.tune.search.optuna import OptunaSearch
from scipy.stats import t

from fsg.config import digest
from fsg.cores import usable_cores
from fsg.search.decisions import Halving
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study.space import Space

LONGEST, GRACE, FACTOR, WORKERS = 27, 1, 3, 4
EPOCHS = 20 * LONGEST  # of all trials together: what 20 trials of full length take
FLOOR = 1e-6
FIRST_SEED = 100  # 0 to 9 were looked at while the sampler was made
RESULTS = Path(__file__).parent / "results" / "search.json"
Point = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """``loss(point, epoch)`` without noise, smaller is better; ``optimum`` of the loss at the last epoch."""

    space: Space
    loss: Callable[[Point, int], float]
    optimum: float
    noise: float

    def final(self, point: Point) -> float:
        """What the point is worth."""
        return self.loss(point, LONGEST)


def unit(count: int) -> Space:
    """The unit cube."""
    return Space.model_validate({f"x{n}": {"uniform": [0.0, 1.0]} for n in range(count)})


def branin(point: Point, epoch: int) -> float:
    """Branin's function over its range of 308; learning takes 2 to 8 epochs, the slower the smaller x0."""
    a, b = 15 * point["x0"] - 5, 15 * point["x1"]
    value = (
        (b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10
    )
    return value / 308 + 0.3 * _left(epoch, 8 - 6 * point["x0"])


_A = np.array(
    [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
)
_P = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(point: Point, epoch: int) -> float:
    """Hartmann's function of six variables over its depth of 3.32; learning takes 2 to 8 epochs."""
    x = np.array([point[f"x{n}"] for n in range(6)])
    value = -float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-(_A * (x - _P) ** 2).sum(axis=1)))
    return value / 3.32237 + 1 + 0.5 * _left(epoch, 8 - 6 * point["x2"])


CURVES = Space.model_validate(
    {
        "lr": {"loguniform": [1e-4, 1.0]},
        "decay": {"loguniform": [1e-6, 1e-1]},
        "width": {"lograndint": [8, 256]},
        "kind": {"choice": ["a", "b", "c"]},
    }
)


def curves(point: Point, epoch: int) -> float:
    """A large rate is fast and ends high, a small one slow; too little decay overfits late."""
    rate, decay = math.log10(point["lr"]), math.log10(point["decay"])
    end = 0.05 * (rate + 2.2) ** 2 + 0.012 * (decay + 3.5) ** 2 + 0.02 * math.log2(256 / point["width"]) / 5
    end += {"a": 0.0, "b": 0.05, "c": 0.02}[point["kind"]]
    overfit = 0.004 * max(0.0, -3.5 - decay) * max(0, epoch - 12) / (LONGEST - 12)
    return end + overfit + 0.8 * _left(epoch, min(12.0, 2.0 * 10 ** (-0.4 * (rate + 1))))


def _left(epoch: int, pace: float) -> float:
    """What is still to be learnt: e^(-epoch/pace), nothing at the last epoch."""
    return math.exp(-epoch / pace) - math.exp(-LONGEST / pace)


PROBLEMS = {
    "branin": Problem(unit(2), branin, 0.397887 / 308, 0.002),
    "hartmann6": Problem(unit(6), hartmann6, 0.0, 0.005),
    "curves": Problem(CURVES, curves, 0.0, 0.02),
}


class Method(Protocol):
    """A searcher with its scheduler."""

    def ask(self, name: str) -> Point:
        """The point of a new trial."""

    def told(self, name: str, epoch: int, loss: float) -> bool:
        """Whether the trial goes on."""


class Ours:
    """Our proposals and rule, the rule asking the sampler's model as it does in a sweep."""

    def __init__(self, problem: Problem, seed: int, sampler: str) -> None:
        made = make_sampler(sampler, seed, problem.space, LONGEST)
        self.proposals = Proposals(problem.space, made, None, "loss", "min", lambda p: digest(dict(p)), seed=seed)
        self.rule = Halving(GRACE, FACTOR, LONGEST)
        self.rule.expected = self.proposals.expected
        self.keys: dict[str, str] = {}

    def ask(self, name: str) -> Point:
        """From Optuna."""
        asked = self.proposals.ask()
        assert asked is not None
        self.keys[name] = asked[0]
        return asked[1]

    def told(self, name: str, epoch: int, loss: float) -> bool:
        """The rule first, then the proposals, as Ray's controller has it."""
        key = self.keys[name]
        stopped = epoch < LONGEST and self.rule.stop(key, epoch, -loss) is not None
        self.proposals.report(key, {"epoch": epoch, "loss": loss})
        if stopped or epoch == LONGEST:
            self.proposals.end(key, "pruned" if stopped else "finished")
            return False
        return True


class Rays:
    """Ray Tune's OptunaSearch and ASHA, called as its controller calls them."""

    def __init__(self, problem: Problem, seed: int) -> None:
        space = {path: domain.to_optuna() for path, domain in problem.space.domains.items()}
        self.search = OptunaSearch(space, metric="loss", mode="min", seed=seed)
        self.asha = AsyncHyperBandScheduler(
            time_attr="epoch", metric="loss", mode="min", max_t=LONGEST, grace_period=GRACE, reduction_factor=FACTOR
        )
        self.trials: dict[str, Any] = {}

    def ask(self, name: str) -> Point:
        """From OptunaSearch."""
        self.trials[name] = SimpleNamespace(trial_id=name)
        self.asha.on_trial_add(None, self.trials[name])  # type: ignore[arg-type]
        point = self.search.suggest(name)
        assert isinstance(point, dict)
        return point

    def told(self, name: str, epoch: int, loss: float) -> bool:
        """Scheduler first, then searcher, as Ray's controller has it."""
        result = {"epoch": epoch, "training_iteration": epoch, "loss": loss}
        trial = self.trials[name]
        if epoch == LONGEST:
            self.asha.on_trial_complete(None, trial, result)  # type: ignore[arg-type]
            self.search.on_trial_complete(name, result)
            return False
        if self.asha.on_trial_result(None, trial, result) == TrialScheduler.STOP:  # type: ignore[arg-type]
            self.search.on_trial_complete(name, result)
            return False
        self.search.on_trial_result(name, result)
        return True


METHODS: dict[str, Callable[[Problem, int], Method]] = {
    "ray": Rays,
    "tpe": lambda problem, seed: Ours(problem, seed, "tpe"),
    "curves": lambda problem, seed: Ours(problem, seed, "curves"),
}


def regrets(problem: str, method: str, seed: int) -> np.ndarray:
    """log10 regret of one run, (EPOCHS,). Takes names, so that another process can do it."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found = PROBLEMS[problem]
    return np.log10(simulate(found, METHODS[method](found, seed), seed))


def simulate(problem: Problem, method: Method, seed: int) -> np.ndarray:
    """Regret after each epoch spent, (EPOCHS,). Every worker trains one trial; an epoch takes one unit, 5 % more or less."""
    rng = np.random.default_rng(seed)
    clock: list[tuple[float, int, str, Point, int]] = []
    begun = 0

    def begin(now: float) -> None:
        nonlocal begun
        name = f"t{begun}"
        begun += 1
        heapq.heappush(clock, (now + rng.uniform(0.95, 1.05), begun, name, method.ask(name), 1))

    for _ in range(WORKERS):
        begin(0.0)
    regret, best, current = np.empty(EPOCHS), math.inf, math.inf
    worst = None
    for spent in range(EPOCHS):
        now, order, name, point, epoch = heapq.heappop(clock)
        loss = problem.loss(point, epoch) + problem.noise * rng.normal()
        if worst is None:
            worst = problem.final(point) - problem.optimum  # until a trial is through, the first point is all there is
        if epoch == LONGEST and loss < best:
            best, current = loss, problem.final(point) - problem.optimum
        if method.told(name, epoch, loss):
            heapq.heappush(clock, (now + rng.uniform(0.95, 1.05), order, name, point, epoch + 1))
        else:
            begin(now)
        regret[spent] = max(FLOOR, min(current, worst) if math.isinf(current) else current)
    return regret


def share_needed(ours: np.ndarray, rays: np.ndarray) -> float:
    """At which share of the epochs the mean of ``ours`` is down to the final mean of ``rays``; infinite if never."""
    reached = np.flatnonzero(ours.mean(axis=0) <= rays.mean(axis=0)[-1])
    return (int(reached[0]) + 1) / EPOCHS if len(reached) else math.inf


def judge(ours: np.ndarray, rays: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """The share of epochs needed, and its paired bootstrap interval over seeds. Both (seeds, EPOCHS) of log10 regret."""
    drawn = [rng.integers(len(ours), size=len(ours)) for _ in range(1000)]
    shares = np.array([share_needed(ours[pick], rays[pick]) for pick in drawn])
    low, high = np.quantile(np.where(np.isfinite(shares), shares, 9.0), [0.025, 0.975])
    gain = ours[:, -1] - rays[:, -1]
    half = float(t.ppf(0.975, len(gain) - 1) * gain.std(ddof=1) / math.sqrt(len(gain)))
    share = share_needed(ours, rays)
    return {
        "share_of_epochs": share if math.isfinite(share) else None,
        "interval": [float(low), float(high) if high < 9 else None],
        "final_log10_difference": [float(gain.mean()), half],
    }


def band(values: np.ndarray, epoch: int) -> tuple[float, float]:
    """Mean and half of its 95 % interval over seeds, after so many epochs."""
    column = values[:, epoch - 1]
    half = float(t.ppf(0.975, len(column) - 1) * column.std(ddof=1) / math.sqrt(len(column)))
    return float(column.mean()), half


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--problem", action="append", choices=list(PROBLEMS), help="default: all")
    given = parser.parse_args()
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    with ProcessPoolExecutor(usable_cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for problem in given.problem or PROBLEMS:
            began = time.monotonic()
            runs = {name: [pool.submit(regrets, problem, name, seed) for seed in seeds] for name in METHODS}
            found = report(problem, {name: np.array([run.result() for run in of]) for name, of in runs.items()})
            write(problem, found | {"seeds": [seeds[0], seeds[-1]], "seconds": round(time.monotonic() - began, 1)})


def report(problem: str, logs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Print the curves and shares of a problem; the same as data. ``logs``: (seeds, EPOCHS) of log10 regret by method."""
    marks = [EPOCHS * n // 6 for n in range(1, 7)]
    print(f"\n{problem}: log10 regret by epochs, mean ± 95 % over {len(logs['ray'])} seeds")
    print("        " + "".join(f"{mark:>15}" for mark in marks))
    bands = {name: [band(values, mark) for mark in marks] for name, values in logs.items()}
    for name, found in bands.items():
        print(f"{name:<8}" + "".join(f"{middle:>8.2f} ± {half:.2f}" for middle, half in found))
    shares = {name: judge(logs[name], logs["ray"], np.random.default_rng(0)) for name in ("curves", "tpe")}
    for name, judged in shares.items():
        share, (low, high) = judged["share_of_epochs"], judged["interval"]
        reach = f"at {share:.0%} of its epochs" if share else "never"
        ends = f"{low:.0%} to {f'{high:.0%}' if high else 'never'}"
        print(f"{name} has the final regret of ray {reach} (95 %: {ends}); target: at most 67 %", flush=True)
    return {"epochs": marks, "log10_regret": bands, "against_ray": shares}


def write(problem: str, found: dict[str, Any]) -> None:
    """Put one problem's results into the file, which may have been made in pieces."""
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    versions = {"python": platform.python_version(), "optuna": optuna.__version__, "ray": ray.__version__}
    result = {
        "command": "python -m benchmarks.search",
        "settings": {"workers": WORKERS, "longest": LONGEST, "grace": GRACE, "factor": FACTOR, "epochs": EPOCHS},
        "problems": old.get("problems", {}) | {problem: {"date": now, "versions": versions, **found}},
    }
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
