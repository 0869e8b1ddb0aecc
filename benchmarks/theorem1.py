"""Theorem 1, checked: on convex problems the averaged iterate of SGD, ``ema`` and FSG closes its gap like 1/sqrt(T) or faster.

Run: ``python -m benchmarks.theorem1`` (about 4 minutes on one core). Prints a table, writes ``benchmarks/results/theorem1.json``
and ``docs/figures/theorem1.png``, and exits with 1 where a slope's upper end is above -1/2.

    x_{t+1} = x_t - C / sqrt(t + 1) d_t,    gap(T) = f(mean of x_1 .. x_T) - f*

f is the mean loss of a linear model over the 1,797 digits (64 centred pixels and a constant, 10 classes): half the squared
error to one-hot targets, or cross-entropy; a small ridge gives both one minimum. g_t is the gradient of a batch of 32 at x_t.
d_t is g_t (``sgd``) or what the library's estimator makes of it: W~ = W = x, slope 1, and FSG's hypernetworks learn
from the next batch's gradient, at the point that they moved to, as in training. Their rate falls with the base rate, the
library's default; a row with a constant one shows what that is for. Nothing is quantised, so the exact stochastic gradient
stands where the straight-through one does in a binary network. The slope is fitted to log gap against log T, T from 64 up, for
each seed that did not diverge; the interval is Student's t over them.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.record import FIGURES, table, write
from fsg.catalogue.gradients import Ema, Fsg, GradientConfig, Ste
from fsg.gradients import Signal, make_estimator
from fsg.ops.spans import Spans
from fsg.stats.paired import mean_interval
from fsg.train.optim import Rates, meta_optimizer

# d, its estimator, and whether the hypernetworks' rate falls with the base rate (the library's default)
METHODS: dict[str, tuple[GradientConfig, bool]] = {
    "sgd": (Ste(), True),
    "ema": (Ema(), True),
    "fsg": (Fsg(), True),
    "fsg, constant meta-rate": (Fsg(), False),
}
BATCH = 32
RIDGE = 1e-3
FIRST_FITTED = 64
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (65, 10), inputs (B, 65), labels (B,) -> scalar


@dataclass(frozen=True)
class Problem:
    """A convex loss, the C of its step size, and its least value over all the data."""

    name: str
    loss: Loss
    step: float
    best: float
    inputs: Tensor
    labels: Tensor

    def value(self, x: Tensor) -> float:
        """f(x), over all the data."""
        return float(self.loss(x, self.inputs, self.labels))


@dataclass(frozen=True)
class Run:
    """gap(T) at the checkpoints, and how far d was from g on the way."""

    gaps: list[float]
    cosine: float
    gain: float


def main() -> int:
    """Measure, print, draw, write."""
    parser = argparse.ArgumentParser(description="The rate of Theorem 1 on convex problems.")
    parser.add_argument("--steps", type=int, default=8192, help="T (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="batch orders and hypernetworks (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    times = checkpoints(arguments.steps)
    rows = []
    for problem in problems():
        for method, (config, falling) in METHODS.items():
            runs = [descend(problem, config, times, seed, falling) for seed in range(arguments.seeds)]
            rows.append(row_of(problem, method, times, runs))
            print(
                f"{problem.name}, {method}: slope {rows[-1]['slope']:.3f}, {rows[-1]['diverged']} diverged", flush=True
            )
    print("\n" + table(HEADER, cells(rows)))
    figure = draw(rows, times)
    seconds = round(time.perf_counter() - started, 1)
    settings = {
        "steps": arguments.steps,
        "seeds": arguments.seeds,
        "batch": BATCH,
        "ridge": RIDGE,
        "fitted_from": FIRST_FITTED,
    }
    path = write("theorem1", settings, {"seconds": seconds, "T": times, "rows": rows}, ("scikit-learn",))
    print(f"\n{seconds:.0f} s, written to {path} and {figure}")
    return 0 if all(row["slope_interval"][1] <= -0.5 for row in rows if "constant" not in row["method"]) else 1


def checkpoints(steps: int) -> list[int]:
    """T at which the gap is measured: powers of sqrt 2 from 8 up, and the last."""
    return sorted({round(2 ** (k / 2)) for k in range(6, 60) if 2 ** (k / 2) <= steps} | {steps})


def problems() -> list[Problem]:
    """Least squares and logistic regression on the digits."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    pixels = (pixels - pixels.mean(0)) / 16
    inputs = torch.from_numpy(np.column_stack([pixels, np.ones(len(pixels))]))
    y = torch.from_numpy(labels)
    start = torch.zeros(inputs.shape[1], 10, dtype=torch.float64)
    return [
        Problem("least squares", squared_error, 1.0, newton(squared_error, start, inputs, y), inputs, y),
        Problem("logistic regression", cross_entropy, 2.0, newton(cross_entropy, start, inputs, y), inputs, y),
    ]


def squared_error(x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Half the mean squared distance to the one-hot labels, and the ridge."""
    return 0.5 * (inputs @ x - F.one_hot(labels, 10)).square().sum(1).mean() + 0.5 * RIDGE * x.square().sum()


def cross_entropy(x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats, and the ridge."""
    return F.cross_entropy(inputs @ x, labels) + 0.5 * RIDGE * x.square().sum()


def newton(loss: Loss, start: Tensor, inputs: Tensor, labels: Tensor, steps: int = 30) -> float:
    """The least value of a strictly convex loss, by Newton steps that are halved until they descend."""
    x = start.clone()
    for _ in range(steps):
        hessian = torch.autograd.functional.hessian(lambda v: loss(v, inputs, labels), x).reshape(x.numel(), x.numel())
        grad = gradient(loss, x, inputs, labels)
        if grad.norm() < 1e-12:
            break
        move = torch.linalg.solve(hessian, grad.flatten()).view_as(x)
        while loss(x - move, inputs, labels) > loss(x, inputs, labels) and move.norm() > 1e-14:
            move = move / 2
        x = x - move
    return float(loss(x, inputs, labels))


def gradient(loss: Loss, x: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
    """dloss/dx."""
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(loss(x, inputs, labels), x)
    return grad


def descend(problem: Problem, config: GradientConfig, times: list[int], seed: int, falling: bool = True) -> Run:
    """Stochastic descent with one estimator, from 0; the gap of the averaged iterate at each of ``times``.

    ``falling``: the meta-rate is divided by sqrt(t + 1) as the base rate is.
    """
    torch.manual_seed(seed)
    batches = torch.Generator().manual_seed(seed)
    x = torch.zeros(problem.inputs.shape[1], 10, dtype=torch.float64)
    estimator = make_estimator(config, Spans([x.numel()])).double()
    optimizer = meta_optimizer(estimator.meta_groups())
    rates = Rates([optimizer] if optimizer is not None else [])

    def measure() -> Signal:
        index = torch.randint(len(problem.labels), (BATCH,), generator=batches)
        g = gradient(problem.loss, x, problem.inputs[index], problem.labels[index]).flatten()
        return Signal(grad=g, pre=x.flatten().clone(), slope=torch.ones_like(g))

    signal = measure()
    total = torch.zeros_like(x)
    gaps, cosine, gain = [], 0.0, 0.0
    for t in range(max(times)):
        direction = estimator(signal)
        x = x - problem.step / (t + 1) ** 0.5 * direction.value.detach().view_as(x)
        signal = measure()
        if optimizer is not None:
            optimizer.zero_grad()
            if falling:
                rates.scale((t + 1) ** -0.5)
            if estimator.learn(direction, signal):
                optimizer.step()
        total += x
        cosine, gain = cosine + float(direction.cosine), gain + float(direction.gain)
        if t + 1 in times:
            gaps.append(problem.value(total / (t + 1)) - problem.best)
    return Run(gaps, cosine / max(times), gain / max(times))


def slope(times: list[int], gaps: list[float]) -> float:
    """Of log gap against log T, by least squares, from FIRST_FITTED up."""
    late = [(np.log(t), np.log(g)) for t, g in zip(times, gaps, strict=True) if t >= FIRST_FITTED]
    return float(np.polyfit(*np.array(late).T, 1)[0])


def row_of(problem: Problem, method: str, times: list[int], runs: list[Run]) -> dict[str, Any]:
    """What a method's seeds say together."""
    whole = [run for run in runs if run.gaps[-1] < run.gaps[0]]  # a run that ends above its start has no rate
    fitted = mean_interval([slope(times, run.gaps) for run in whole])
    last = mean_interval([run.gaps[-1] for run in whole])
    return {
        "problem": problem.name, "method": method, "C": problem.step, "f_best": problem.best,
        "slope": fitted.estimate, "slope_interval": [fitted.low, fitted.high],
        "last_gap": last.estimate, "last_gap_interval": [last.low, last.high],
        "cosine": float(np.mean([run.cosine for run in whole])), "gain": float(np.mean([run.gain for run in whole])),
        "diverged": len(runs) - len(whole), "gaps": [run.gaps for run in runs],
    }  # fmt: skip


HEADER = [
    "problem",
    "d",
    "slope",
    "95 % interval",
    "last gap",
    "95 % interval",
    "cosine(d, g)",
    "norm d / norm g",
    "diverged",
]


def cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    """The table's lines."""
    return [
        [r["problem"], r["method"], f"{r['slope']:.3f}", "{:.3f} .. {:.3f}".format(*r["slope_interval"]),
         f"{r['last_gap']:.2e}", "{:.2e} .. {:.2e}".format(*r["last_gap_interval"]), f"{r['cosine']:.2f}", f"{r['gain']:.2f}",
         f"{r['diverged']} of {len(r['gaps'])}"]
        for r in rows
    ]  # fmt: skip


def draw(rows: list[dict[str, Any]], times: list[int]) -> Any:
    """gap(T) of every method on both problems, with the slope -1/2 to compare; returns the figure's path."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = {"sgd": "#5B6770", "ema": "#E69F00", "fsg": "#0072B2"}
    names = list(dict.fromkeys(row["problem"] for row in rows))
    figure, axes = plt.subplots(1, len(names), figsize=(8, 3.4), layout="constrained")
    for ax, name in zip(axes, names, strict=True):
        for row in (r for r in rows if r["problem"] == name and r["method"] in colours):
            gaps = np.array(row["gaps"])
            label = f"{row['method']}  (slope {row['slope']:.2f})"
            ax.loglog(times, gaps.mean(0), color=colours[row["method"]], label=label, lw=1.6)
            ax.fill_between(times, gaps.min(0), gaps.max(0), color=colours[row["method"]], alpha=0.2, lw=0)
        first = next(r for r in rows if r["problem"] == name)
        start = np.mean(first["gaps"], axis=0)[times.index(FIRST_FITTED)] * 1.6
        late = np.array([t for t in times if t >= FIRST_FITTED])
        ax.loglog(late, start * (late / FIRST_FITTED) ** -0.5, color="#22272B", ls=":", lw=1.2, label="slope -1/2")
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("T, steps")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, fontsize=8)
    axes[0].set_ylabel("f(averaged iterate) - f*")
    seeds = len(rows[0]["gaps"])
    figure.supxlabel(
        f"mean of {seeds} seeds, bands from the smallest to the largest; digits, step C / sqrt(t + 1)", fontsize=8
    )
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / "theorem1.png"
    figure.savefig(path, dpi=160)
    plt.close(figure)
    return path


if __name__ == "__main__":
    sys.exit(main())
