"""What does an estimator cost? Step time and peak memory relative to the straight-through estimator's, on the CPU.

Run: ``python -m benchmarks.step_cost`` (about 6 minutes on two cores). Prints a table per network and writes
``benchmarks/results/step_cost.json``; ``--quick`` leaves out ResNet-20. ``--paper`` is a run of its own, of many minutes:
the paper-size slow-net in plain PyTorch, into ``benchmarks/results/step_cost_paper.json``.

Batch 128, float32, two threads; digits_cnn on the digits, ResNet-20 on synthetic 32x32 images. Every arm lives in a process
of its own, so that its peak memory is its own. They take their steps in turn, one process at a time: a round is one step of
every arm, and an arm's ratio is taken to the ``ste`` step of the same round, so a slow minute of the machine slows both. A
row gives the median of the ratios and their quartiles. Steps before the history and the gate's delay are full are not timed.

The paper-size slow-net (d_inner 100, d_state 16, L 5) on ResNet-20 holds 270,896 x 6 x 1,600 states, 10 GB an array: the plain
PyTorch twin keeps within 8 GB because it works in chunks and computes them again in the backward pass. One step of it is
timed, with a history filled beforehand.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from multiprocessing.connection import Connection
from statistics import median, quantiles
from typing import Any

import torch

from benchmarks.record import table, write
from fsg.config import TrialConfig
from fsg.train import Trainer

BATCH = 128
THREADS = 2
WARM_UP = 7  # steps: the first generates nothing, five fill the history, one more lets the gate learn
PAPER = {"d_inner": 100, "d_state": 16}
ARMS: dict[str, dict[str, Any]] = {
    "ste": {"name": "ste"},
    "ema": {"name": "ema"},
    "scalar": {"name": "scalar"},
    "fc_grad": {"name": "fc_grad"},
    "multi_fc": {"name": "multi_fc"},
    "lstm_fc": {"name": "lstm_fc"},
    "hand_gate": {"name": "hand_gate"},
    "gate": {"name": "gate"},
    "fsg, fir": {"name": "fsg", "slow_net": "fir"},
    "fsg, lstm 8": {"name": "fsg", "slow_net": "lstm"},
    "fsg, mamba 8/4": {"name": "fsg"},
    "fsg, mamba 8/4, reference": {"name": "fsg", "slow": {"backend": "reference"}},
    "fsg, mamba 100/16": {"name": "fsg", "slow": PAPER},
}
PAPER_REFERENCE = {"fsg, mamba 100/16, reference": {"name": "fsg", "slow": PAPER | {"backend": "reference"}}}
MEMORY_LIMIT = 8.0  # GB, for the paper-size slow-net in plain PyTorch


def main() -> int:
    """Measure, print, write; 1 where the paper-size slow-net needs more than its 8 GB."""
    parser = argparse.ArgumentParser(description="Step time and memory of every estimator, relative to ste.")
    parser.add_argument("--quick", action="store_true", help="digits_cnn alone")
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: %(default)s)")
    parser.add_argument("--paper", action="store_true", help="the paper-size slow-net in plain PyTorch, alone")
    arguments = parser.parse_args()
    started = time.perf_counter()
    parts = [("digits_cnn", ARMS, WARM_UP, 3 * arguments.rounds)]
    if not arguments.quick:
        parts.append(("resnet20", ARMS, WARM_UP, arguments.rounds))
    if arguments.paper:
        parts = [("resnet20", {"ste": ARMS["ste"]} | PAPER_REFERENCE, 1, 1)]
    rows = []
    for model, arms, warm_up, rounds in parts:
        found = measure(model, arms, warm_up, rounds)
        rows += found
        print(f"{model}\n{table(HEADER, cells(found))}\n", flush=True)
    seconds = time.perf_counter() - started
    settings = {
        "batch": BATCH,
        "threads": THREADS,
        "dtype": "float32",
        "rounds": arguments.rounds,
        "memory_limit_gb": MEMORY_LIMIT,
    }
    name = "step_cost_paper" if arguments.paper else "step_cost"
    path = write(name, settings, {"seconds": round(seconds, 1), "rows": rows}, ("numba",))
    print(f"{seconds:.0f} s, written to {path}")
    largest = max((row["peak_gb"] for row in rows if row["arm"] in PAPER_REFERENCE), default=0.0)
    return 0 if largest < MEMORY_LIMIT else 1


def measure(model: str, arms: dict[str, dict[str, Any]], warm_up: int, rounds: int) -> list[dict[str, Any]]:
    """One row per arm. ``warm_up`` rounds are not timed."""
    context = multiprocessing.get_context(
        "fork"
    )  # torch is imported, but nothing has been computed yet: cheap and safe
    workers = []
    for name, gradient in arms.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(theirs, model, gradient), name=name, daemon=True)
        process.start()
        workers.append((name, process, ours))
    times: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(warm_up + rounds):
        for name, _, pipe in workers:
            pipe.send("step")
            taken = pipe.recv()
            if number >= warm_up:
                times[name].append(taken)
    peaks = {}
    for name, process, pipe in workers:
        pipe.send("stop")
        peaks[name] = pipe.recv()
        process.join()
    return [row_of(model, name, times[name], times["ste"], peaks[name], peaks["ste"]) for name in arms]


def work(pipe: Connection, model: str, gradient: dict[str, Any]) -> None:
    """A process of one arm: a step when asked for one, answered by its seconds; at the end its peak memory in GB."""
    torch.set_num_threads(THREADS)
    step = stepper(model, gradient)
    while pipe.recv() == "step":
        start = time.perf_counter()
        step()
        pipe.send(time.perf_counter() - start)
    pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)


def stepper(model: str, gradient: dict[str, Any], batch: int = BATCH) -> Any:
    """A function that takes one training step of an arm, always on the same batch."""
    data = {"name": "digits" if model == "digits_cnn" else "synthetic", "batch_size": batch, "augment": False}
    trainer = Trainer(TrialConfig.model_validate({"model": model, "gradient": gradient, "data": data, "device": "cpu"}))
    history = getattr(getattr(trainer.step, "estimator", None), "history", None)
    if history is not None:  # as after as many steps as it holds: a step costs what it will cost from then on
        history.window = 1e-3 * torch.randn(history.length - 1, history.window.shape[1])
    images = trainer.inputs(trainer.data.train.images[:batch])
    labels = trainer.data.train.labels[:batch]
    return lambda: trainer.step(images, labels).loss.item()


def row_of(
    model: str, arm: str, times: list[float], ste_times: list[float], peak: float, ste_peak: float
) -> dict[str, Any]:
    """Medians and quartiles of the ratios, round by round."""
    ratios = [a / b for a, b in zip(times, ste_times, strict=True)]
    low, _, high = quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    return {
        "model": model, "arm": arm, "step_ms": round(1000 * median(times), 2), "ratio": round(median(ratios), 3),
        "ratio_quartiles": [round(low, 3), round(high, 3)], "rounds": len(times), "peak_gb": round(peak, 3),
        "peak_over_ste_gb": round(peak - ste_peak, 3),
    }  # fmt: skip


HEADER = ["arm", "step ms", "x ste", "quartiles", "peak GB", "over ste GB"]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The table's lines."""
    return [
        [r["arm"], f"{r['step_ms']:.1f}", f"{r['ratio']:.2f}", "{:.2f} .. {:.2f}".format(*r["ratio_quartiles"]),
         f"{r['peak_gb']:.2f}", f"{r['peak_over_ste_gb']:+.2f}"]
        for r in rows
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
