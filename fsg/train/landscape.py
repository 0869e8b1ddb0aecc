"""The loss around a trained network: the density of the Hessian's eigenvalues, and a plane along its two sharpest directions.

    density   stochastic Lanczos quadrature: m steps from a random vector give m nodes (Ritz values) and weights (the squares of
              their eigenvectors' first entries), mean over several vectors. Ghorbani, Krishnan and Xiao (arXiv:1901.10159), 2.2.
    plane     loss at Wq + a u + b v, u and v unit eigenvectors of the two largest eigenvalues, a and b in shares of norm Wq

All are of the quantised weights Wq, on training images, with BatchNorm's statistics of these at every point: by those of the
trained point a step that only scales a layer would look like a wall. A point of the plane has weights of more than its bits.
Proof: ``tests/train/test_hessian.py``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fsg.train.hessian import Products, weight_in_use
from fsg.train.loop import Trainer
from fsg.train.seeds import generator

LANCZOS_STEPS, VECTORS = 40, 4
REACH, POINTS = 0.5, 13  # how far the plane goes, as a share of norm Wq, and points along a side


class Landscape(NamedTuple):
    """``nodes``, ``weights``: of the density, (k,), weights of sum 1. ``top``: the two largest eigenvalues.

    ``at``: (POINTS,) shares of norm Wq. ``losses``: (POINTS, POINTS) in nats, first index along the sharpest direction.
    """

    nodes: np.ndarray
    weights: np.ndarray
    top: tuple[float, float]
    at: np.ndarray
    losses: np.ndarray


def landscape(trainer: Trainer) -> Landscape:
    """Of a trainer's network as it is now; nothing of it changes."""
    with trainer.step.at_evaluation_point():
        products = Products(trainer.model, trainer.probed_loss, weight_in_use)
    draws = generator(trainer.config.seed, "bits")
    nodes, weights = density(products, draws)
    values, vectors = products.largest(2, draws)
    at = np.linspace(-REACH, REACH, POINTS)
    size = torch.cat([leaf.flatten() for leaf in products.leaves]).norm().item()
    losses = np.array([[products.loss_at([a * size, b * size], vectors) for b in at] for a in at])
    return Landscape(nodes, weights, (values[0], values[1]), at, losses)


def density(products: Products, draws: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the density of eigenvalues, sorted by node."""
    runs = [lanczos(products, draws) for _ in range(VECTORS)]
    nodes, weights = (np.concatenate(part) for part in zip(*runs, strict=True))
    order = np.argsort(nodes)
    return nodes[order], weights[order] / VECTORS


def lanczos(products: Products, draws: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Ritz values and weights of one run from a random unit vector, each new vector made orthogonal to all before."""
    total = sum(leaf.numel() for leaf in products.leaves)
    vector = torch.randn(total, generator=draws, dtype=torch.float64)
    basis: list[Tensor] = [vector / vector.norm()]
    alphas: list[float] = []
    betas: list[float] = []
    for _ in range(min(LANCZOS_STEPS, total)):
        new = products.flat(basis[-1])
        alphas.append(float(new @ basis[-1]))
        stacked = torch.stack(basis)
        for _ in range(2):  # once leaves rounding errors that grow
            new = new - stacked.T @ (stacked @ new)
        size = float(new.norm())
        if size < 1e-8 * max(map(abs, alphas)) or len(alphas) == min(LANCZOS_STEPS, total):
            break
        betas.append(size)
        basis.append(new / size)
    small = np.diag(alphas) + np.diag(betas[: len(alphas) - 1], 1) + np.diag(betas[: len(alphas) - 1], -1)
    values, vectors = np.linalg.eigh(small)
    return values, vectors[0] ** 2
