"""docs/optimizers.md, from the optimizers that are installed: ``python -m fsg.train.optimizers > docs/optimizers.md``."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable, Iterable
from importlib.metadata import version

import torch

from fsg.optimizer_names import UNFIT
from fsg.train.optimizers import OF_TORCH, REMARKS, known
from fsg.train.optimizers.facts import Facts, facts_of

INTRODUCTION = """# Optimizers

`optimizer.name` is the base optimizer of latent weights, biases and BatchNorm; `optimizer.float` names another one for biases and
BatchNorm (`optimizer: {{name: bop, float: {{name: adam, lr: 0.01}}}}`). `sgd`, `adam` and `adamw` are torch's, in the form
that a CUDA graph takes. The others are those of the package `pytorch-optimizer`
(`pip install "fsg[optimizers]"`) and, without it, torch's {torch_own}. Each works as its
authors mean it, or is refused before anything is launched, with the reason: `fsg ablate FILE --dry-run` says it, with file and
line. A few work in float32 alone (`fadam`); `dtype: float64` is then refused. What studies of fsg 0.1 have is read and compared
whatever their optimizers, and they go on with those that can train.

This page is made by `python -m fsg.train.optimizers > docs/optimizers.md`, here with pytorch-optimizer {package}, torch {torch}.
No optimizer is known by its name alone: each is tried on a few small tensors, in the way the trainer uses it, before the
first trial that has it (`fsg/train/optimizers/facts.py`). So one that a later version brings is placed, or refused, as well.
`tests/train/test_optimizers.py` trains every one of them: it learns, a repeated trial is equal to the bit, and so is one that is
resumed between two epochs or within one.

Latent weights have one instance, all other parameters a second one. What an optimizer estimates over all its parameters, such as
the step size of `prodigy`, it estimates for each of the two.

Four are fsg's own (`fsg/train/optimizers/own.py` says from where each equation is):

| name | what it does | options beside `lr` |
|---|---|---|
| `bop` | flips a weight's sign where its average gradient exceeds a threshold: one bit, nothing latent | `threshold`, `float` |
| `lcam` | SGD with another momentum after a batch whose loss is below its epoch's average | `below`, `above`, `weight_decay` |
| `vsgd_schaul` | a rate for each weight from the mean, variance and curvature of its gradients | `curvature` |
| `gns` | a Newton step by the curvature's diagonal, in a radius that grows while steps help | `gamma`, `curvature` |

`optimizer.curvature` says what those are told that step by the Hessian's diagonal: `hutchinson` (the default) or
`squared_gradient`, g^2 in its place, which is no curvature; `every: k` is the number of steps from one estimate to the next.

## What some of them need, and are given

| what | what is done | which |
|---|---|---|
"""

CLASSES: tuple[tuple[str, str, Callable[[Facts], bool]], ...] = (
    (
        "another point to evaluate at (`.eval()`, `.train()`)",
        "every evaluation is at that point, on BatchNorm statistics of that point; the point of training comes back to the bit",
        lambda f: f.switches,
    ),
    (
        "random numbers",
        "the generators of torch, numpy and Python are seeded by the trial's seed and the number of the step, and put back",
        lambda f: f.draws,
    ),
    (
        "objects in its state",
        "they are written as plain data and read back without running code",
        lambda f: f.keeps_objects,
    ),
    (
        "matrices, and AdamW for the rest",
        "convolutions and hidden layers are the matrices; biases, BatchNorm and the last layer take its AdamW at its rate",
        lambda f: f.orthogonal,
    ),
    (
        "the loss",
        "its step is told the loss of the batch that its gradient is from",
        lambda f: f.uses_loss,
    ),
    (
        "the diagonal of the Hessian",
        "Hutchinson's estimate, by a second backward pass in the steps that ask for it; along a latent weight it is c^2 "
        "times that along the quantised one; `adahessian` has it averaged over each kernel, as published",
        lambda f: f.curvature,
    ),
    (
        "the number of steps",
        "it is told; it has a warm-up and a decay of its own, so `schedule: constant` is what it expects",
        lambda f: f.counts_steps,
    ),
    (
        "its own first rates",
        "a schedule acts after its warm-up",
        lambda f: f.warms_up,
    ),
)
REST: tuple[tuple[str, str, Callable[[Facts], bool]], ...] = (
    (
        "has no weight decay",
        "`optimizer.weight_decay` above 0 is refused (the package takes the argument and ignores it)",
        lambda f: not f.decays,
    ),
    (
        "steps from a point of its own",
        "a gradient that gates steps is refused",
        lambda f: f.remembers or f.switches,
    ),
)


def versions() -> tuple[str, str]:
    """Of pytorch-optimizer, and of torch as far as its minor number."""
    found = re.match(r"\d+\.\d+", torch.__version__)
    return version("pytorch-optimizer"), found.group() if found else torch.__version__


def page() -> str:
    """The whole page, as markdown."""
    every: list[Facts] = [facts_of(name, kind, torch.float32) for name, kind in sorted(known().items())]
    fit = [f for f in every if not f.refused]
    package, of_torch = versions()
    lines = [
        INTRODUCTION.format(torch_own=", ".join(map(_code, OF_TORCH)), package=package, torch=of_torch).rstrip("\n")
    ]
    lines += [f"| {what} | {done} | {_names(f for f in fit if is_one(f))} |" for what, done, is_one in CLASSES]
    lines += ["", "| what | so | which |", "|---|---|---|"]
    lines += [f"| {what} | {so} | {_names(f for f in fit if is_one(f))} |" for what, so, is_one in REST]
    lines += ["", *(f"`{name}` {remark}." for name, remark in sorted(REMARKS.items()))]
    lines += [
        "",
        f"## All {len(fit) + 3} that train, by the rate that they come with",
        "",
        "`optimizer.lr` is 0.01 where a trial does not say. Where it is more than ten times an optimizer's own rate, or less",
        "than a tenth, that is said when a study begins. Those that come with 1 have a unit of their own: at 0.01 most learn",
        "nothing.",
        "",
        "| rate | optimizers |",
        "|---|---|",
    ]
    rates = sorted({f.rate or 0.0 for f in fit}, reverse=True)
    lines += [
        f"| {f'{rate:g}' if rate else 'none'} | {_names(f for f in fit if (f.rate or 0.0) == rate)} |" for rate in rates
    ]
    lines += [
        "",
        "## Those that are refused",
        "",
        "| optimizer | it | nearest that works |",
        "|---|---|---|",
    ]
    refused = {name: (why, _code(instead)) for name, (why, instead) in UNFIT.items()}
    refused |= {f.name: (f.refused or "", "") for f in every if f.refused and f.name not in UNFIT}
    lines += [f"| {_code(name)} | {why} | {instead} |" for name, (why, instead) in sorted(refused.items())]
    return "\n".join(lines) + "\n"


def _names(found: Iterable[Facts]) -> str:
    return ", ".join(_code(f.name) for f in found)


def _code(name: str) -> str:
    return f"`{name}`"


if __name__ == "__main__":
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        print(page(), end="")
