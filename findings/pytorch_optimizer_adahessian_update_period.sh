#!/usr/bin/env bash
# AdaHessian that measures the Hessian every k steps takes steps that grow to sqrt(k) times Newton's, and back again.
#
# Date: 2026-11-28
# Packages: pytorch-optimizer 4.1.0, torch 2.15.0
# Guess: update_period=10 saves nine backward passes of ten and keeps the last curvature in between; where curvature
#   is constant, the steps are those of update_period=1.
# Seen: the average of squared curvature takes its share in one step of ten, and its bias correction counts all steps.
#   On a quadratic of curvature 2 with gradient 1 and beta1 = 0, every step should be 0.5; the ten steps of a period go
#   from 0.5 to 1.58. With the estimate given again at every step they are 0.5 throughout.
# Means: an arm with a longer period has another learning rate, not only an older Hessian.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'pytorch-optimizer==4.1.0' 'torch==2.15.0'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import torch
from pytorch_optimizer import AdaHessian

print(f"pytorch-optimizer {version('pytorch-optimizer')}, torch {torch.__version__}")


def steps(period, given):
    """The first ten steps on a constant gradient of 1; ``given``: when the curvature, 2, is handed to it."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = AdaHessian([p], lr=1.0, betas=(0.0, 0.999), eps=0.0, update_period=period)
    places = [0.0]
    for step in range(10):
        p.grad = torch.ones_like(p)
        optimizer.step(hessian=[torch.full_like(p, 2.0)] if given(step) else None)
        places.append(p.item())
    return [before - after for before, after in zip(places, places[1:])]


always, seldom = steps(1, lambda step: True), steps(10, lambda step: step == 0)
print("measured at each step:", [round(step, 2) for step in always])
print("measured once in ten:", [round(step, 2) for step in seldom])
same = all(abs(step - 0.5) < 1e-6 for step in always)
if not (same and abs(seldom[0] - 0.5) < 1e-6 and seldom[-1] > 1.5):
    sys.exit("changed: AdaHessian's steps do not grow between two measurements.")
PY
