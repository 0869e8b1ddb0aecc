#!/usr/bin/env bash
# Kron, seeded by torch.manual_seed, trains otherwise every time: it draws from numpy's generator as well.
#
# Date: 2026-11-28
# Packages: pytorch-optimizer 4.1.0, torch 2.15.0, numpy 2.4.6
# Guess: what an optimizer of torch tensors draws, it draws from torch's generator; torch.manual_seed(0) before
#   training makes it repeatable.
# Seen: the noise of the preconditioner is torch's, but whether the preconditioner is balanced in a step, 1 in 100, is
#   numpy.random.random(). Runs seeded for torch alone are equal until the first such step, here step 100, and differ
#   from then on. PCGrad and SaRA draw from Python's random.
# Means: a short test of repeatability passes, and a study's seeds do not repeat.
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

import numpy as np
import torch
from pytorch_optimizer import Kron

print(f"pytorch-optimizer {version('pytorch-optimizer')}, torch {torch.__version__}, numpy {np.__version__}")


def trained(steps):
    """Weights at every step of a run that is seeded for torch."""
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.randn(4, 3))
    optimizer = Kron([w], lr=0.01)
    seen = []
    for step in range(steps):
        w.grad = torch.sin(torch.arange(12.0) + step).view(4, 3)
        optimizer.step()
        seen.append(w.detach().clone())
    return seen


def first_difference(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if not torch.equal(x, y)), None)


np.random.seed(0)
runs = [trained(300) for _ in range(4)]
apart = [first_difference(runs[0], run) for run in runs[1:]]
np.random.seed(0)
one = trained(300)
np.random.seed(0)
two = trained(300)
both = first_difference(one, two)
print(f"three runs seeded for torch differ from a first one from step {apart} on; seeded for numpy too: {both}")
if not (all(step is not None and step > 5 for step in apart) and both is None):
    sys.exit("changed: Kron is repeatable by torch's seed alone, or not even by numpy's.")
PY
