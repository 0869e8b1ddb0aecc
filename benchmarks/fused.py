"""What does a fused step cost? One step of K trials as one program beside K steps of trials apart, and an epoch of each.

Run: ``python -m benchmarks.fused`` (about 5 minutes on two cores). Prints a table and writes ``benchmarks/results/fused.json``.

digits_cnn on the digits, batch 64, float32, one thread, K = 12 trials: of different seeds, or of the arms of
``ablations/components_defaults_0_1.yaml``, all twelve with one seed or the first four with three. In a round every
trial apart takes a step, then the pack takes one; a row gives the median of the rounds' ratios and their quartiles. An epoch has
its 19 steps, the diagnosis and the evaluation, of plain and averaged weights. Time is the processor's, of this thread: what else
the machine does counts less. The last row is one estimator's step beside another's, both by themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch

from benchmarks.record import table, write
from fsg.bench.fused import LIMITS, WARM_UP, pair_of
from fsg.config import TrialConfig
from fsg.data import load_data
from fsg.study.spec import load_study
from fsg.train import Trainer
from fsg.train.fused import run_epoch
from fsg.train.memory import keep_memory

COMPONENTS = Path(__file__).parents[1] / "ablations" / "components_defaults_0_1.yaml"
STEP_TARGET = 1.7  # of a step of fsg to one of ste
HEADER = ["what", "estimator", "apart ms", "fused ms", "ratio", "quartiles", "target"]


def main() -> int:
    """Measure, print, write; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description="A fused step beside the steps of trials apart.")
    parser.add_argument("--members", type=int, default=12, help="trials of a pack (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=21, help="timed rounds (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()
    rows = []
    for name in LIMITS:
        seeds = [_config(name, seed) for seed in range(arguments.members)]
        rows += _pair(name, LIMITS[name], seeds, arguments.rounds)
    arms = [config.gradient.model_dump() for config in load_study(COMPONENTS).plan.arms.values()]
    rows += _pair("12 arms", None, [_config(arm, 0) for arm in arms], arguments.rounds)
    rows += _pair("4 arms x 3", None, [_config(arm, seed) for arm in arms[:4] for seed in range(3)], arguments.rounds)
    rows.append(_estimators(arguments.rounds))
    print(table(HEADER, [_cells(row) for row in rows]))
    settings = {"batch": 64, "threads": 1, "members": arguments.members, "rounds": arguments.rounds}
    print(f"written to {write('fused', settings, {'rows': rows}, ('numba',))}")
    return 0 if all(row["holds"] is not False for row in rows) else 1


def _pair(name: str, target: float | None, configs: Sequence[TrialConfig], rounds: int) -> list[dict[str, Any]]:
    pair = pair_of(configs)
    steps = _ratios(pair.apart, pair.fused, rounds, WARM_UP)
    pair.program.scatter(len(configs))

    def epoch_apart() -> None:
        for trainer in pair.trainers:
            trainer.run_epoch()

    epochs = _ratios(epoch_apart, lambda: run_epoch(pair.pack), max(3, rounds // 5), 1)
    holds = None if target is None else steps["ratio"] <= target
    return [
        {"what": "step", "estimator": name, "target": target, "holds": holds, **steps},
        {"what": "epoch", "estimator": name, "target": None, "holds": None, **epochs},
    ]


def _estimators(rounds: int) -> dict[str, Any]:
    """A step of fsg beside one of ste."""
    trainers = {name: _trainer(_config(name, 0), False) for name in LIMITS}
    inputs = trainers["ste"].inputs(trainers["ste"].data.train.images[:64])
    labels = trainers["ste"].data.train.labels[:64]
    found = _ratios(
        lambda: trainers["ste"].step(inputs, labels),
        lambda: trainers["fsg"].step(inputs, labels),
        5 * rounds,
        WARM_UP,
    )
    holds = found["ratio"] <= STEP_TARGET
    return {"what": "step of one trial", "estimator": "fsg / ste", "target": STEP_TARGET, "holds": holds, **found}


def _config(gradient: Any, seed: int) -> TrialConfig:
    data = {"gradient": gradient, "seed": seed, "epochs": 100, "data": {"augment": False}}
    return TrialConfig.model_validate(data)


def _trainer(config: TrialConfig, fused: bool) -> Trainer:
    return Trainer(config.model_copy(update={"fused": fused}), load_data(config.data))


def _ratios(first: Callable[[], Any], second: Callable[[], Any], rounds: int, warm_up: int) -> dict[str, Any]:
    """Milliseconds of both, and the second as a share of the first, round by round."""
    for _ in range(warm_up):
        first()
        second()
    times = []
    for _ in range(rounds):
        start = time.thread_time()
        first()
        middle = time.thread_time()
        second()
        times.append((middle - start, time.thread_time() - middle))
    shares = [b / a for a, b in times]
    low, _, high = quantiles(shares, n=4)
    return {
        "apart_ms": round(1000 * median(a for a, _ in times), 2),
        "fused_ms": round(1000 * median(b for _, b in times), 2),
        "ratio": round(median(shares), 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)],
    }


def _cells(row: dict[str, Any]) -> list[str]:
    low, high = row["ratio_quartiles"]
    target = "" if row["target"] is None else f"<= {row['target']} {'met' if row['holds'] else 'MISSED'}"
    numbers = [f"{row['apart_ms']:.1f}", f"{row['fused_ms']:.1f}", f"{row['ratio']:.2f}", f"{low:.2f} .. {high:.2f}"]
    return [row["what"], row["estimator"], *numbers, target]


if __name__ == "__main__":
    raise SystemExit(main())
