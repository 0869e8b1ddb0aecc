#!/usr/bin/env bash
# pytorch-optimizer takes any argument: ten of its optimizers accept weight_decay and decay nothing.
#
# Date: 2026-11-28
# Packages: pytorch-optimizer 4.1.0, torch 2.15.0, numpy 2.4.6
# Guess: an optimizer without weight decay raises TypeError for weight_decay=0.5, as torch's own do; at the least
#   create_optimizer, which splits the parameters into a group with decay and one without, refuses it.
# Seen: nearly every class ends its arguments with **kwargs and drops what it does not know. SM3, FTRL, Nero, Amos and
#   others train to the same bits with weight_decay=0.5 as with 0; through create_optimizer the number even stands in
#   param_groups. A misspelt option (betaz, momentun) is taken just as quietly.
# Means: an arm that is named after its weight decay has none, and a search over it measures noise.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'pytorch-optimizer==4.1.0' 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import inspect
import sys
from importlib.metadata import version

import torch
from pytorch_optimizer import create_optimizer, get_supported_optimizers, load_optimizer

print(f"pytorch-optimizer {version('pytorch-optimizer')}, torch {torch.__version__}")


def trained(kind, **options):
    """Weights after five steps on fixed gradients, all random generators seeded."""
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.linspace(-1, 1, 12).view(4, 3))
    optimizer = kind([w], lr=0.01, **options)
    for step in range(5):
        w.grad = torch.sin(torch.arange(12.0) + step).view(4, 3)
        optimizer.step()
    return w.detach().clone()


without, takes, decays = [], [], []
for name in get_supported_optimizers():
    kind = load_optimizer(name)
    arguments = inspect.signature(kind).parameters
    if "weight_decay" in arguments or not any(p.kind is p.VAR_KEYWORD for p in arguments.values()):
        continue
    if not {"lr", "params"} <= arguments.keys():  # those that are built otherwise
        continue
    without.append(name)
    same = torch.equal(trained(kind, weight_decay=0.5), trained(kind, weight_decay=0.0))
    (takes if same else decays).append(name)
print(f"without weight decay, and trained with 0.5 of it as with 0: {', '.join(takes)}; not so: {decays}")
misspelt = torch.equal(trained(load_optimizer("lion"), betaz=(0.1, 0.1)), trained(load_optimizer("lion")))
print(f"Lion with betaz=(0.1, 0.1) trains as Lion: {misspelt}")
groups = create_optimizer(torch.nn.Linear(3, 2), "sm3", lr=0.1, weight_decay=0.5).param_groups
print(f"create_optimizer(model, 'sm3', weight_decay=0.5): groups with {[g['weight_decay'] for g in groups]}")
if not (len(takes) >= 10 and not decays and misspelt and [g["weight_decay"] for g in groups] == [0.5, 0.0]):
    sys.exit("changed: an argument that an optimizer does not know is no longer dropped in silence.")
PY
