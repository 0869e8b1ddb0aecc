#!/usr/bin/env bash
# The interquartile mean of rliable is the plain mean for one to three seeds: nothing is cut away.
#
# Date: 2026-11-28
# Packages: rliable 1.2.0, numpy 2.4.6, scipy 1.17.1
# Guess: aggregate_iqm leaves out the lowest and the highest quarter; of three seeds at one task it weighs the middle
#   one most, and a seed that collapsed does not drag it.
# Seen: it is scipy's trim_mean with 0.25, which cuts floor(n / 4) values at each end: none of three, one of four to
#   seven. One collapsed seed of three moves it as far as the mean, one of four not at all, so a fourth seed changes
#   the number by 13 points where the interquartile mean itself moves by 3.
# Means: with three seeds per arm, as most tables have, "IQM" is a name for the mean, and columns of 3 and of 5 seeds
#   hold different statistics. Use a mean that says so, or weigh the cut values by the part of them that is inside the
#   quartiles.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'rliable==1.2.0' 'numpy==2.4.6' 'scipy==1.17.1'
cd "$work"
"$work/venv/bin/python" - 2>"$work/log" <<'PY' || { tail -n 5 "$work/log" >&2; exit 1; }
import sys
import warnings
from importlib.metadata import version

warnings.simplefilter("ignore")
import numpy as np
from rliable.metrics import aggregate_iqm

print(f"rliable {version('rliable')}, numpy {np.__version__}", flush=True)


def iqm(values):
    """The interquartile mean: values weighed by the part of them that lies between the quartiles."""
    n = len(values)
    inside = np.clip(np.minimum(np.arange(1, n + 1), 0.75 * n) - np.maximum(np.arange(n), 0.25 * n), 0, 1)
    return float(inside @ np.sort(values) / inside.sum())


seeds = np.array([92.0, 91.0, 40.0, 93.0])  # one collapsed
found = {n: (float(aggregate_iqm(seeds[:n, None])), iqm(seeds[:n])) for n in (3, 4)}
for n, (theirs, weighed) in found.items():
    print(f"{n} seeds {seeds[:n].tolist()}: rliable {theirs:.1f}, interquartile mean {weighed:.1f}")
if not (abs(found[3][0] - seeds[:3].mean()) < 1e-9 and found[3][1] > 80 and abs(found[4][0] - found[4][1]) < 1e-9):
    sys.exit("changed: rliable's interquartile mean of three seeds is no longer their mean.")
PY
