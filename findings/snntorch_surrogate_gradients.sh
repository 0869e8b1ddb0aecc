#!/usr/bin/env bash
# Of snntorch's surrogate gradients one points uphill above the threshold, one is NaN 3.5 below it, one peaks beside it.
#
# Date: 2026-11-28
# Packages: snntorch 1.0.0, torch 2.15.0
# Guess: a surrogate gradient of a step is the derivative of a rising function: never negative, finite everywhere,
#   largest at the threshold and of area 1; its options change its steepness.
# Seen: triangular() is no triangle: +1 below the threshold and -1 from it on, however far. A neuron that fires and
#   should not is pushed further up at every step and never stops. sigmoid() in float32 is NaN where the input is 3.5
#   or more below the threshold: inf / inf. spike_rate_escape() peaks 1 above the threshold, at a height of 25.
#   fast_sigmoid(slope) has the area 2 / slope: at its default 0.08, so its slope is a learning rate as well.
# Means: a comparison of surrogates at their defaults compares signs, NaNs and scales before shapes. A curve should be
#   tested against the function whose derivative it is, for its area, and far from zero.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
uv venv --quiet "$work/venv"
uv pip install --quiet --python "$work/venv/bin/python" 'snntorch==1.0.0' 'torch==2.15.0' 'numpy==2.4.6'
cd "$work"
export OMP_NUM_THREADS=1
"$work/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import torch
from snntorch import surrogate

print(f"snntorch {version('snntorch')}, torch {torch.__version__}")


def gradient(spike, x):
    x = torch.tensor(x, requires_grad=True)
    spike(x).sum().backward()
    return x.grad


def silenced(spike, steps=100):
    """A neuron fires at 0.5 above its threshold and should not: where its input stands after gradient descent."""
    x = torch.tensor([0.5], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        spike(x).sum().backward()
        optimizer.step()
    return x.item()


triangle = gradient(surrogate.triangular(), [-5.0, -0.1, 0.1, 5.0]).tolist()
far = gradient(surrogate.sigmoid(), [-3.4, -3.5, 3.5]).tolist()
grid = torch.linspace(-4, 4, 80001).tolist()
peak = grid[gradient(surrogate.spike_rate_escape(), grid).argmax().item()]
ends = {name: silenced(getattr(surrogate, name)()) for name in ("fast_sigmoid", "atan", "triangular")}
wide = torch.linspace(-200, 200, 4_000_001)
areas = {
    slope: torch.trapezoid(gradient(surrogate.fast_sigmoid(slope), wide.tolist()), wide).item() for slope in (1, 25)
}
print("triangular at -5, -0.1, 0.1, 5:", triangle)
print("sigmoid at -3.4, -3.5, 3.5:", far)
print(f"spike_rate_escape is largest at {peak:.2f}")
print("a neuron that should not fire, from 0.5:", {name: round(x, 2) for name, x in ends.items()})
print("area of fast_sigmoid by slope:", {slope: round(area, 3) for slope, area in areas.items()})
same = (
    triangle == [1.0, 1.0, -1.0, -1.0]
    and far[0] == far[0] and far[1] != far[1] and far[2] == far[2]
    and abs(peak - 1) < 0.01
    and ends["fast_sigmoid"] < 0.5 and ends["atan"] < 0.5 and ends["triangular"] > 10
    and abs(areas[25] - 2 / 25) < 0.01 and areas[1] > 1.5
)
if not same:
    sys.exit("changed: snntorch's surrogate gradients are no longer as the header says")
print("as the header says: triangular points uphill, sigmoid is NaN, spike_rate_escape peaks beside the threshold")
PY
