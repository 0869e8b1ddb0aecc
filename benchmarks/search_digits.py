"""Does our search at a quarter of the epochs find as good a configuration as random search with whole trials?

Run: ``OMP_NUM_THREADS=1 python -m benchmarks.search_digits`` (about six minutes on 2 cores). A 1-bit CNN on the digits that
ship with scikit-learn, really trained, in this process and without Ray: two simulated workers take turns by epochs, through
the real proposals and the real rule, as in ``benchmarks/search.py``.

- ``random``: random configurations, each for all of its 15 epochs, 720 epochs together: 48 trials.
- ``tpe`` and ``curves`` (what ``sampler: auto`` is here), each with ASHA (grace 1, factor 3) and 180 epochs in all; a trial that
  is under way when these are used up counts for nothing.

Against a random search of 16 trials, a quarter is 60 epochs, and half of those go to the first two trials, which have nobody
to be measured by: too little for halving (docs/log.md).

All choose the finished trial with the best last validation accuracy. What they chose is then trained with fresh seeds, the same
for all, and judged by its test accuracy, the mean over the last ten epochs. Repetitions differ in the seeds of search and
training; differences are paired by repetition. Written: ``benchmarks/results/search_digits.json``.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from scipy.stats import t

from benchmarks import record
from fsg.config import digest, parse_trial
from fsg.cores import usable_cores
from fsg.search.decisions import Halving, Never, Rule
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study.space import Space

LONGEST, WORKERS = 15, 2
EPOCHS = {"random": 48 * LONGEST, "tpe": 12 * LONGEST, "curves": 12 * LONGEST}
OURS = ("tpe", "curves")
FRESH = (1001, 1002, 1003)
METRIC = "val_accuracy"
BASE = parse_trial({"gradient": "ste", "epochs": LONGEST, "device": "cpu", "data": {"batch_size": 128}})
SPACE = Space.model_validate(
    {
        "optimizer.name": {"choice": ["sgd", "adam"]},
        "optimizer.lr": {"loguniform": [1e-4, 1.0]},
        "optimizer.weight_decay": {"loguniform": [1e-6, 1e-1]},
        "schedule.name": {"choice": ["constant", "cosine"]},
    }
)


def search(method: str, repetition: int) -> tuple[Mapping[str, Any], float, int]:
    """The chosen point, its last validation accuracy, and how many trials were begun."""
    from fsg.errors import TrialDiverged
    from fsg.train import Trainer

    sampler = make_sampler(method, repetition, SPACE, LONGEST)
    proposals = Proposals(SPACE, sampler, None, METRIC, "max", lambda p: digest(dict(p)), seed=repetition)
    rule: Rule = Never()
    if method != "random":
        rule = Halving(1, 3, LONGEST)
        rule.expected = proposals.expected
    running: list[tuple[str, Mapping[str, Any], Any]] = []
    begun, best, value = 0, None, -math.inf
    for _ in range(EPOCHS[method]):
        while len(running) < WORKERS:
            asked = proposals.ask()
            assert asked is not None
            config = SPACE.resolve(BASE, asked[1]).model_copy(update={"seed": repetition})
            running.append((*asked, Trainer(config)))
            begun += 1
        key, point, trainer = running.pop(0)
        try:
            metrics = trainer.run_epoch().metrics
        except TrialDiverged:
            proposals.end(key, "failed")
            continue
        stopped = not trainer.finished and rule.stop(key, metrics["epoch"], metrics[METRIC])
        proposals.report(key, metrics)
        if trainer.finished and metrics[METRIC] > value:
            best, value = point, metrics[METRIC]
        if stopped or trainer.finished:
            proposals.end(key, "pruned" if stopped else "finished")
        else:
            running.append((key, point, trainer))
    assert best is not None
    return best, value, begun


def worth(point: Mapping[str, Any]) -> float:
    """Test accuracy of a point, mean over fresh seeds of that over the last ten epochs."""
    from fsg.train import Trainer

    config = SPACE.resolve(BASE, point)
    ends = []
    for seed in FRESH:
        for result in Trainer(config.model_copy(update={"seed": seed})):
            last = result.metrics
        ends.append(last["test_accuracy_last10"])
    return float(np.mean(ends))


def repeat(repetition: int) -> dict[str, dict[str, Any]]:
    """Each method once."""
    import torch

    torch.set_num_threads(1)
    found = {}
    for method in EPOCHS:
        point, value, begun = search(method, repetition)
        found[method] = {"point": dict(point), "validation": value, "trials": begun, "test": worth(point)}
    return found


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--first", type=int, default=300, help="seed of the first (default: %(default)s)")
    arguments = parser.parse_args()
    first, count = arguments.first, arguments.repetitions
    began = time.monotonic()
    with ProcessPoolExecutor(usable_cores(), mp_context=multiprocessing.get_context("spawn")) as pool:
        runs = list(pool.map(repeat, range(first, first + count)))
    header = [
        "repetition",
        *(f"{m} {what}" for m in EPOCHS for what in ("val", "test")),
        *(f"{m} trials" for m in OURS),
    ]
    rows = [
        [str(first + n)]
        + [f"{run[m][k]:.2f}" for m in EPOCHS for k in ("validation", "test")]
        + [str(run[m]["trials"]) for m in OURS]
        for n, run in enumerate(runs)
    ]
    print(record.table(header, rows))
    found = {}
    for method in OURS:
        differences = np.array([run[method]["test"] - run["random"]["test"] for run in runs])
        spread = float(differences.std(ddof=1)) if count > 1 else math.inf
        found[method] = [float(differences.mean()), float(t.ppf(0.975, count - 1)) * spread / math.sqrt(count)]
        print(
            f"{method} + ASHA at {EPOCHS[method]} epochs less random at {EPOCHS['random']}: "
            f"{found[method][0]:+.2f} ± {found[method][1]:.2f} points"
        )
    settings = {
        "epochs": EPOCHS,
        "longest": LONGEST,
        "workers": WORKERS,
        "first": first,
        "fresh_seeds": FRESH,
        "space": SPACE.model_dump(),
    }
    body = {"seconds": round(time.monotonic() - began), "differences": found, "repetitions": runs}
    record.write("search_digits", settings, body, ("optuna",))


if __name__ == "__main__":
    main()
