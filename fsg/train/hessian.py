"""The Hessian of the loss in the weights of quantised layers, through its products with vectors: traces, extreme eigenvalues.

A product H v costs a second backward pass through the first. Traces are Hutchinson's: the mean of z . (H z) over vectors of
signs, layer by layer with the same z. Eigenvalues are those of ARPACK's Lanczos iteration (scipy). The model is not touched.
Proof: ``tests/train/test_hessian.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np
import torch
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
        self.model, self.loss = deepcopy(model).train(), loss
        layers = quantized_layers(self.model)
        self.names, self.layers = list(layers), list(layers.values())
        self.leaves = [weights_of(layer).detach().clone().requires_grad_() for layer in self.layers]
        with using(self.layers, self.leaves):
            self.gradients = torch.autograd.grad(loss(self.model), self.leaves, create_graph=True)

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

    def flat(self, vector: Tensor) -> Tensor:
        """H v of a vector of all layers end to end, (N,), in float64 on the CPU."""
        like = self.leaves[0]
        parts = vector.to(like).split([leaf.numel() for leaf in self.leaves])
        products = self([part.view_as(leaf) for part, leaf in zip(parts, self.leaves, strict=True)])
        return torch.cat([h.flatten() for h in products]).double().cpu()

    def extremes(self, draws: torch.Generator) -> tuple[float, float]:
        """The largest and the smallest eigenvalue."""
        bottom, top = np.sort(self._lanczos(2, "BE", draws, vectors=False))
        return float(top), float(bottom)

    def largest(self, count: int, draws: torch.Generator) -> tuple[list[float], list[Tensor]]:
        """The largest eigenvalues, the first the largest, and their unit eigenvectors, (N,) each."""
        values, vectors = self._lanczos(count, "LA", draws, vectors=True)
        order = np.argsort(values)[::-1]
        return [float(values[n]) for n in order], [torch.from_numpy(vectors[:, n].copy()) for n in order]

    def loss_at(self, steps: Sequence[float], directions: Sequence[Tensor]) -> float:
        """The loss with all weights moved by ``steps`` along ``directions``, (N,) each."""
        moved = torch.stack([step * direction for step, direction in zip(steps, directions, strict=True)]).sum(0)
        parts = moved.to(self.leaves[0]).split([leaf.numel() for leaf in self.leaves])
        weights = [leaf.detach() + part.view_as(leaf) for leaf, part in zip(self.leaves, parts, strict=True)]
        with torch.no_grad(), using(self.layers, weights):
            return self.loss(self.model).item()

    def _lanczos(self, count: int, which: str, draws: torch.Generator, vectors: bool) -> Any:
        total = sum(leaf.numel() for leaf in self.leaves)
        start = torch.randn(total, generator=draws, dtype=torch.float64).numpy()

        def product(v: np.ndarray) -> np.ndarray:
            return self.flat(torch.as_tensor(v.ravel())).numpy()

        from scipy.sparse.linalg import LinearOperator, eigsh  # 0.3 s that few trials need

        operator = LinearOperator((total, total), matvec=product, dtype=np.float64)
        return eigsh(operator, k=count, which=which, v0=start, tol=TOLERANCE, return_eigenvectors=vectors)


def spectrum(model: nn.Module, loss: Loss, probes: int, seed: int) -> Spectrum:
    """Of the loss in the quantised weights Wq, as the network multiplies with them."""
    products = Products(model, loss, weight_in_use)
    draws = generator(seed, "bits")
    return Spectrum(products.traces(probes, draws), *products.extremes(draws))


def weight_in_use(layer: QuantLayer) -> Tensor:
    """Wq, as the layer multiplies with it."""
    return layer.weight if layer.quantizer is None else layer.quantizer(layer.weight).value
