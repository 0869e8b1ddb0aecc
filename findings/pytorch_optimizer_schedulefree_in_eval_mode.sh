#!/usr/bin/env bash
# A schedule-free optimizer of pytorch-optimizer steps in eval mode without a word; its authors' own refuses.
#
# Date: 2026-11-28
# Packages: pytorch-optimizer 4.1.0, schedulefree 1.4.1, torch 2.15.0, numpy 2.4.6
# Guess: step() after eval(), the train() between them forgotten, raises as in the authors' package: the gradient is
#   not that of the point which the formulas step from.
# Seen: schedulefree raises "Optimizer was not in train mode when step is called". ScheduleFreeSGD and
#   ScheduleFreeAdamW of pytorch-optimizer step the averaged weights as if they were the training point. And eval()
#   followed by train(), the right use, is no way back to the bit: it is computed there and back in float32, so a run
#   that is evaluated twice as often is another run.
# Means: one missing call trains something else in silence, and how often a trial is evaluated changes its result.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'pytorch-optimizer==4.1.0' 'torch==2.15.0' \
  'numpy==2.4.6' 'schedulefree==1.4.1'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import sys
from importlib.metadata import version

import pytorch_optimizer
import schedulefree
import torch

print(", ".join(f"{name} {version(name)}" for name in ("pytorch-optimizer", "schedulefree", "torch")))


def prepared(kind):
    torch.manual_seed(0)
    w = torch.nn.Parameter(torch.randn(64))
    optimizer = kind([w], lr=0.1)
    optimizer.train()
    for _ in range(20):
        w.grad = w.detach() + 0.1 * torch.randn(64)
        optimizer.step()
    return w, optimizer


def in_eval_mode(kind):
    """What a step in eval mode does."""
    w, optimizer = prepared(kind)
    optimizer.eval()
    before = w.detach().clone()
    w.grad = w.detach().clone()
    try:
        optimizer.step()
    except Exception as error:
        return f"refuses: {str(error)[:60]}"
    return "steps" if not torch.equal(w, before) else "does nothing"


def back(kind):
    """Weights, of 64, that eval() and train() do not give back to the bit."""
    w, optimizer = prepared(kind)
    before = w.detach().clone()
    optimizer.eval()
    optimizer.train()
    return int((w != before).sum())


package = {n: in_eval_mode(getattr(pytorch_optimizer, n)) for n in ("ScheduleFreeSGD", "ScheduleFreeAdamW", "SPlus")}
authors = {n: in_eval_mode(getattr(schedulefree, n)) for n in ("SGDScheduleFree", "AdamWScheduleFree")}
changed = {n: back(getattr(pytorch_optimizer, n)) for n in ("ScheduleFreeSGD", "ScheduleFreeAdamW", "SPlus")}
print(f"a step in eval mode: {package}; {authors}")
print(f"weights of 64 that eval(), train() change: {changed}")
refused = all(said.startswith("refuses") for said in authors.values())
silent = refused and all(said == "steps" for said in package.values())
if not (silent and changed["ScheduleFreeSGD"] and changed["ScheduleFreeAdamW"] and not changed["SPlus"]):
    sys.exit("changed: a step in eval mode is refused, or eval() and train() lead back to the bit.")
PY
