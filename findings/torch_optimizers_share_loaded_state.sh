#!/usr/bin/env bash
# Two optimizers that load one state share its tensors: each steps the other's moments.
#
# Date: 2026-11-28
# Packages: torch 2.15.0, numpy 2.4.6
# Guess: load_state_dict copies ("Make a deep copy of value, casting all tensors to device of param", says the
#   function in it that does the work); only state_dict hands out references.
# Seen: a tensor of the right dtype and device is kept as it is. An optimizer that loads another's state_dict() in
#   memory then updates exp_avg, exp_avg_sq and step in place for both. Two members of a population that both take
#   over the best one's state count 3 steps where each took 1 more, and all three trajectories are wrong.
#   nn.Module.load_state_dict copies. Through a file it does not show.
# Means: exploit steps of population-based training, warm starts and tests of resumption in one process are wrong
#   without an error.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import copy
import sys

import torch

print(f"torch {torch.__version__}")


def made():
    w = torch.nn.Parameter(torch.linspace(-1, 1, 4))
    return w, torch.optim.Adam([w], lr=0.1)


def step(w, optimizer, value):
    w.grad = torch.full((4,), value)
    optimizer.step()


def members(take):
    """Weights and step numbers of two members that take over a best one's state by ``take``, each a step later."""
    best_w, best = made()
    step(best_w, best, 1.0)
    ws, optimizers = zip(*(made() for _ in range(2)))
    for optimizer in optimizers:
        optimizer.load_state_dict(take(best.state_dict()))
    for w, optimizer, value in zip(ws, optimizers, (1.0, -3.0)):
        step(w, optimizer, value)
    numbers = [o.state[w]["step"].item() for w, o in zip((best_w, *ws), (best, *optimizers))]
    return [w.detach() for w in ws], numbers


shared, counted = members(lambda state: state)
alone, right = members(copy.deepcopy)
layer, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
other.load_state_dict(layer.state_dict())
differ, module = not torch.equal(shared[1], alone[1]), other.weight.data_ptr() == layer.weight.data_ptr()
print(f"steps counted by the best, first and second member: {counted}, with copies {right}; "
      f"second member's weights differ: {differ}; a module's are shared: {module}")
if not (counted == [3.0, 3.0, 3.0] and right == [1.0, 2.0, 2.0] and not torch.equal(shared[1], alone[1])):
    sys.exit("changed: load_state_dict of an optimizer copies the tensors it is given.")
PY
