#!/usr/bin/env bash
# load_state_dict of a torch optimizer turns a text in its state into "<generator object ...>", and a bounded deque
# into an unbounded one.
#
# Date: 2026-11-28
# Packages: torch 2.15.0, numpy 2.4.6
# Guess: what is no tensor is handed through, or copied.
# Seen: every iterable is rebuilt as type(value)(generator over its parts). For a list that is a copy. str(generator)
#   is its description: a phase "warmup" is afterwards "<generator object Optimizer.load_state_dict...>", no error,
#   and every comparison with it false. deque(generator) has no maxlen, so a window of the last 3 gradients grows
#   without end. Text in param_groups is left alone.
# Means: an optimizer of one's own that keeps a phase or a window works until the first resume and is another one
#   after.
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
from collections import deque

import torch

print(f"torch {torch.__version__}")


class Windowed(torch.optim.Optimizer):
    """Steps along the mean of the last three gradients, in full once a phase called warmup is over."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1, "mode": "mean"})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                state.setdefault("window", deque(maxlen=3)).append(p.grad.clone())
                state["phase"] = state.get("phase", "warmup")
                mean = sum(state["window"]) / len(state["window"])
                p.sub_(mean, alpha=group["lr"] * (0.1 if state["phase"] == "warmup" else 1))


def made():
    w = torch.nn.Parameter(torch.ones(3))
    return w, Windowed([w])


def steps(w, optimizer, count):
    for _ in range(count):
        w.grad = torch.ones(3)
        optimizer.step()


w, first = made()
steps(w, first, 4)
v, second = made()
second.load_state_dict(copy.deepcopy(first.state_dict()))
phase = second.state[v]["phase"]
steps(v, second, 4)
window = second.state[v]["window"]
print(f'phase "warmup" is loaded as "{phase[:40]}..."; the window of 3 holds {len(window)}, maxlen {window.maxlen}; '
      f'mode in the group: {second.param_groups[0]["mode"]}')
if not (phase.startswith("<generator object") and window.maxlen is None and len(window) == 7):
    sys.exit("changed: texts and deques in an optimizer's state survive load_state_dict.")
PY
