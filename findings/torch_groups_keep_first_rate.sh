#!/usr/bin/env bash
# Parameter groups that have been through one torch optimizer keep its rate: a second one built from them ignores its
# lr.
#
# Date: 2026-11-28
# Packages: torch 2.15.0, numpy 2.4.6
# Guess: the constructor copies the groups it is given; AdamW(groups, lr=0.5) has rate 0.5 whatever the groups were
#   used for before. (Seen first in Muon of pytorch-optimizer and taken for a fault of its own; AdamW does the same.)
# Seen: every option is filled into the caller's dictionaries, and what stands in a dictionary goes before the
#   argument. After AdamW(groups, lr=0.02), AdamW(groups, lr=0.5, weight_decay=0.1) has rate 0.02 and the first one's
#   decay. A list of parameters in place of groups is not touched. A set rate schedule is carried over too: after
#   LambdaLR with a factor of 0, the next optimizer of these groups trains at 0.
# Means: a search over rates that builds its groups once trains every point at the first point's rate, and the table
#   shows no effect of the rate.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch

print(f"torch {torch.__version__}")


def second(kind, **first):
    """Rate and decay of an optimizer with lr=0.5 and weight_decay=0.1, from groups that another was built from."""
    groups = [{"params": [torch.nn.Parameter(torch.ones(4, 3))]}]
    kind(groups, **first)
    made = kind(groups, lr=0.5, weight_decay=0.1).param_groups[0]
    return made["lr"], made["weight_decay"]


kinds = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
found = {kind.__name__: second(kind, lr=0.02, weight_decay=0.0) for kind in kinds}
params = [torch.nn.Parameter(torch.ones(4, 3))]
torch.optim.AdamW(params, lr=0.02)
listed = torch.optim.AdamW(params, lr=0.5).param_groups[0]["lr"]
groups = [{"params": params}]
optimizer = torch.optim.AdamW(groups, lr=0.02)
torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.0)
scheduled = torch.optim.AdamW(groups, lr=0.5).param_groups[0]["lr"]
print(f"(rate, decay) of a second with lr=0.5, weight_decay=0.1: {found}; from a list of parameters {listed}; "
      f"after a schedule that ended at 0: {scheduled}")
if not (set(found.values()) == {(0.02, 0.0)} and listed == 0.5 and scheduled == 0.0):
    sys.exit("changed: an optimizer leaves the groups that it is given alone.")
PY
