#!/usr/bin/env bash
# From torch 2.14 on clamp passes no gradient at its bounds: clipped latent weights of a binary network stay where
# clipping put them.
#
# Date: 2026-11-28
# Packages: torch 2.15.0
# Guess: the gradient of torch.clamp(x, -1, 1) is 1 where |x| <= 1, bounds included, as it was from 2018 to torch
#   2.13; so sign(w) + clamp(w) - clamp(w).detach() is the clipped straight-through estimator.
# Seen: with bounds that are numbers it is 0 at x = -1 and x = 1, with bounds that are tensors 1/2 (since 2.14, says
#   torch's issue tracker). BinaryConnect clips latent weights to [-1, 1] after each step, so every weight that comes
#   to a bound lies exactly on it, has no gradient there, and never comes back, though its sign is wrong. With the
#   estimator's gate written as |w| <= 1 all of them come back.
# Means: the same code and seed train another network under 2.13 and 2.14, and the newer one stops learning weight by
#   weight without a word. Write the gate as a comparison, not as the derivative of clamp or hardtanh.
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

print(f"torch {torch.__version__}")


def gradient(bound):
    x = torch.tensor([-1.0, 1.0, 0.5], requires_grad=True)
    torch.clamp(x, -bound, bound).sum().backward()
    return x.grad.tolist()


def by_clamp(w):
    passed = torch.clamp(w, -1, 1)
    return torch.sign(w).detach() + passed - passed.detach()


def by_comparison(w):
    passed = torch.where(w.abs() <= 1, w, w.detach())
    return torch.sign(w).detach() + passed - passed.detach()


def train(binary, steps=400):
    """BinaryConnect of one neuron, first for one teacher, then for its opposite.

    Weights at a bound in between, and how many of these have the sign of the second teacher in the end.
    """
    torch.manual_seed(0)
    x, teacher = torch.randn(512, 64), torch.randn(64).sign()
    w = torch.nn.Parameter(0.1 * torch.randn(64))
    optimizer = torch.optim.SGD([w], lr=1.0)
    for wanted in (teacher, -teacher):
        at_bound = w.detach().abs() == 1
        for _ in range(steps):
            optimizer.zero_grad()
            torch.nn.functional.softplus(-(x @ wanted).sign() * (x @ binary(w))).mean().backward()
            optimizer.step()
            with torch.no_grad():
                w.clamp_(-1, 1)
    return int(at_bound.sum()), int((w.sign() == wanted)[at_bound].sum())


numbers, tensors = gradient(1.0), gradient(torch.tensor(1.0))
clamped, compared = train(by_clamp), train(by_comparison)
print(f"gradient at -1, 1, 0.5: bounds as numbers {numbers}, as tensors {tensors}")
print(f"weights at a bound when the teacher turns round, and how many of them follow: {clamped} by clamp, "
      f"{compared} by |w| <= 1")
frozen, free = clamped[0] > 16 and clamped[1] == 0, compared[0] > 16 and compared[1] > 0.9 * compared[0]
if not (numbers == [0.0, 0.0, 1.0] and tensors == [0.5, 0.5, 1.0] and frozen and free):
    sys.exit("changed: clamp passes a gradient at its bounds again.")
PY
