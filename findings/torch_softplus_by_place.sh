#!/usr/bin/env bash
# softplus, silu and sigmoid round a number by where it lies in its tensor: the same model in a batch of another size
# has other bits.
#
# Date: 2026-11-28
# Packages: torch 2.15.0
# Guess: an elementwise function gives the same number for the same number. tanh, exp, log1p, log, sqrt do.
# Seen: on the CPU, the elements behind the last whole vector are computed one by one, by another formula: softplus of
#   15 numbers differs in 3 or 4 of them from softplus of the same numbers at the start of 200; silu and sigmoid
#   differ more rarely, by the last bit as well.
# Means: what is stacked, padded or cut into chunks for speed does not keep its bits, though nothing is summed. Where a
#   result must not hang on its neighbours, write log1p(exp(x)) and 1 / (1 + exp(-x)).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" - <<'PY'
import sys

import torch
from torch.nn import functional as F

print(f"torch {torch.__version__}")
torch.manual_seed(0)
x = 2 * torch.randn(200)


def differing(f):
    """Of prefixes of 1 to 199 numbers, how many numbers are others than in the whole."""
    whole = f(x)
    return sum(int((f(x[:n].clone()) != whole[:n]).sum()) for n in range(1, 200))


stay = {f.__name__: differing(f) for f in (torch.tanh, torch.exp, torch.relu)}
move = {f.__name__: differing(f) for f in (F.softplus, F.silu, torch.sigmoid)}
print(f"numbers that differ in shorter tensors: {stay} and {move}")
written_out = differing(lambda z: torch.log1p(torch.exp(z)))
print(f"log1p(exp(x)): {written_out}")
if any(stay.values()) or written_out or not move["softplus"]:
    sys.exit("changed: softplus gives the same number wherever it lies, or tanh, exp or log1p no longer do.")
PY
