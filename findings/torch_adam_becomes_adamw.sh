#!/usr/bin/env bash
# An Adam that loads the state of an AdamW is an AdamW from then on, by name still Adam; and what it was built with is
# gone.
#
# Date: 2026-11-28
# Packages: torch 2.15.0
# Guess: Adam(...).load_state_dict(state of an AdamW) takes over moments and rates; how weight decay acts is a matter
#   of the class.
# Seen: AdamW is Adam with decoupled_weight_decay in its parameter groups, and groups are loaded whole. The Adam then
#   decays weights apart from the gradient: on a zero gradient it moves by 0.02, lr x decay x w, where an Adam's own
#   state gives 0.058. The other way round AdamW stays what it is. In the same way fused, foreach and capturable become
#   those of the checkpoint: a state saved on a GPU with capturable=True is refused by the CPU's first step.
# Means: warm starts across optimizers compare something else than their names say, and a trial that moves from GPU to
#   CPU fails at its first step. After loading, put back what belongs to the class and the machine, not to the trial.
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
from torch.optim import Adam, AdamW

print(f"torch {torch.__version__}")


def trained(kind, **options):
    """An optimizer of ``kind`` after three steps on zero gradients, and its weight, which is 2."""
    w = torch.nn.Parameter(torch.full((1,), 2.0))
    optimizer = kind([w], lr=0.1, weight_decay=0.1, **options)
    for _ in range(3):
        w.grad = torch.zeros(1)
        optimizer.step()
    w.data.fill_(2.0)
    return optimizer, w


def moved(kind, loaded):
    """How far a zero gradient moves the weight of an optimizer of ``kind`` that has the state of a ``loaded`` one."""
    optimizer, w = trained(kind)
    state = trained(loaded)[0].state_dict()
    for moments in state["state"].values():
        moments["exp_avg"].zero_()
        moments["exp_avg_sq"].zero_()
    optimizer.load_state_dict(state)
    w.grad = torch.zeros(1)
    optimizer.step()
    return round(2.0 - w.item(), 4)


coupled, decoupled, one, two = (moved(kind, loaded) for kind in (Adam, AdamW) for loaded in (Adam, AdamW))
print(f"a step of an Adam with an Adam's state {coupled}, with an AdamW's {decoupled}; of an AdamW {one}, {two}")
plain = trained(Adam, foreach=True)[0]
plain.load_state_dict(trained(Adam, fused=True)[0].state_dict())
group = plain.param_groups[0]
print(f"built with foreach=True, with a fused one's state: foreach {group['foreach']}, fused {group['fused']}")
from_gpu = trained(Adam)[0].state_dict()
from_gpu["param_groups"][0]["capturable"] = True
here, w = trained(Adam)
here.load_state_dict(from_gpu)
w.grad = torch.ones(1)
try:
    here.step()
    refused = False
except AssertionError as error:
    refused = "capturable=True" in str(error)
print(f"a step on the CPU with a state that was captured on a GPU is refused: {refused}")
if not (coupled > 2 * decoupled and decoupled == one == two == 0.02 and group["fused"] and refused):
    sys.exit("changed: loading a state no longer changes what kind of optimizer it is.")
PY
