#!/usr/bin/env bash
# SPlus.eval() raises KeyError as soon as one parameter has had no gradient, and leaves the model half switched.
#
# Date: 2026-11-28
# Packages: pytorch-optimizer 4.1.0, torch 2.15.0, numpy 2.4.6
# Guess: eval() puts the averaged weights into the model wherever there is an average, and leaves the others alone.
#   Evaluating before the first step, or with a frozen layer, is harmless; so it is for the schedule-free ones.
# Seen: eval() reads state["ema"] of every parameter. Before the first step, or with a parameter that never got a
#   gradient (frozen, unused), it raises KeyError: 'ema'. By then the parameters before it hold their averages, while
#   the group still says train mode: train() does not put them back, and training goes on from the averages.
# Means: a run that evaluates first, or freezes a layer, stops, or goes on elsewhere if the error is caught.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'pytorch-optimizer==4.1.0' 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import torch
from pytorch_optimizer import ScheduleFreeAdamW, SPlus

print(f"pytorch-optimizer {version('pytorch-optimizer')}, torch {torch.__version__}")


def evaluated(kind, steps):
    """(error of eval(), whether train() gives back the training point) with a second parameter without gradient."""
    torch.manual_seed(0)
    used, unused = torch.nn.Parameter(torch.randn(4, 3)), torch.nn.Parameter(torch.randn(3))
    optimizer = kind([used, unused], lr=0.1)
    optimizer.train()
    for _ in range(steps):
        used.grad = torch.randn_like(used)
        optimizer.step()
    trained, error = used.detach().clone(), None
    try:
        optimizer.eval()
    except KeyError as raised:
        error = f"KeyError: {raised}"
    optimizer.train()
    return error, torch.allclose(used, trained, atol=1e-6)


first, frozen, other = evaluated(SPlus, 0), evaluated(SPlus, 3), evaluated(ScheduleFreeAdamW, 3)
print(f"SPlus before its first step: {first[0]}; with an unused parameter: {frozen[0]}, then train() back: {frozen[1]}")
print(f"ScheduleFreeAdamW with an unused parameter: {other[0]}, then train() back: {other[1]}")
if not (first[0] and frozen[0] and not frozen[1] and other == (None, True)):
    sys.exit("changed: SPlus is evaluated without an average for every parameter, or another optimizer is not.")
PY
