"""The Hessian of the loss in the weights of quantised layers, through its products with vectors: traces, extreme eigenvalues.

A product H v costs a second backward pass through the first. Traces are Hutchinson's: the mean of z . (H z) over vectors of
signs, layer by layer with the same z. Eigenvalues are those of ARPACK's Lanczos iteration (scipy). The model is not touched.
Proof: ``tests/train/test_hessian.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from fsg.layers import QuantLayer, quantized_layers, using
from fsg.train.seeds import generator

Loss = Callable[[nn.Module], Tensor]  # of a network in training mode, on images that stay the same
TOLERANCE = 1e-3  # of an eigenvalue, as a share of it


class Spectrum(NamedTuple):
    """The trace of each layer's block, and the largest and the smallest eigenvalue of the whole."""

    traces: dict[str, float]
    top: float
    bottom: float


class Products:
    """H v at ``weights_of`` each layer: the Hessian of ``loss`` in these weights, with the batch's own BatchNorm statistics."""

    def __init__(self, model: nn.Module, loss: Loss, weights_of: Callable[[QuantLayer], Tensor]) -> None:
        copy = deepcopy(model).train()
        layers = quantized_layers(copy)
        self.names = list(layers)
        self.leaves = [weights_of(layer).detach().clone().requires_grad_() for layer in layers.values()]
        with using(list(layers.values()), self.leaves):
            self.gradients = torch.autograd.grad(loss(copy), self.leaves, create_graph=True)

    def __call__(self, vectors: list[Tensor]) -> tuple[Tensor, ...]:
        """H v, layer by layer."""
        return torch.autograd.grad(self.gradients, self.leaves, vectors, retain_graph=True)

    def traces(self, probes: int, draws: torch.Generator) -> dict[str, float]:
        """Of each layer's block, with ``probes`` vectors of signs."""
        sums = [0.0] * len(self.leaves)
        for _ in range(probes):
            signs = [torch.randint(0, 2, leaf.shape, generator=draws) * 2 - 1 for leaf in self.leaves]
            noise = [z.to(leaf) for z, leaf in zip(signs, self.leaves, strict=True)]
            found = zip(sums, noise, self(noise), strict=True)
            sums = [total + (z * h).sum().item() for total, z, h in found]
        return {name: total / probes for name, total in zip(self.names, sums, strict=True)}

    def extremes(self, draws: torch.Generator) -> tuple[float, float]:
        """The largest and the smallest eigenvalue."""
        sizes = [leaf.numel() for leaf in self.leaves]
        like = self.leaves[0]

        def product(v: np.ndarray) -> np.ndarray:
            parts = torch.as_tensor(v.ravel()).to(like).split(sizes)
            products = self([part.view_as(leaf) for part, leaf in zip(parts, self.leaves, strict=True)])
            return np.concatenate([h.flatten().double().cpu().numpy() for h in products])

        total = sum(sizes)
        start = torch.randn(total, generator=draws, dtype=torch.float64).numpy()
        operator = LinearOperator((total, total), matvec=product, dtype=np.float64)
        bottom, top = np.sort(eigsh(operator, k=2, which="BE", v0=start, tol=TOLERANCE, return_eigenvectors=False))
        return float(top), float(bottom)


def spectrum(model: nn.Module, loss: Loss, probes: int, seed: int) -> Spectrum:
    """Of the loss in the quantised weights Wq, as the network multiplies with them."""
    products = Products(
        model, loss, lambda layer: layer.quantizer(layer.weight).value if layer.quantizer else layer.weight
    )
    draws = generator(seed, "bits")
    return Spectrum(products.traces(probes, draws), *products.extremes(draws))
