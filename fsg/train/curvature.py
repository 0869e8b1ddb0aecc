"""The diagonal of the Hessian by Hutchinson's estimate, for optimizers that step by it: h = z * (H z), E[h] = diag H.

z has independent entries of mean 0 and variance 1; one z a step, as AdaHessian (arXiv:2006.00719) and Sophia-H (arXiv:2305.14342)
do. It costs a second backward pass through the first. Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def backward_twice(loss: Tensor, leaves: Sequence[Tensor], noise: Sequence[Tensor]) -> list[Tensor]:
    """Leave the gradients of ``loss`` in ``leaves``, and return the estimate of the Hessian's diagonal, in their shapes.

    ``noise``: z, in their shapes. It is one estimate for all leaves together, so each entry's noise has a part of every other.
    """
    gradients = torch.autograd.grad(loss, leaves, create_graph=True)
    products = torch.autograd.grad(gradients, leaves, noise, allow_unused=True, materialize_grads=True)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        leaf.grad = gradient.detach()
    return [z * product for z, product in zip(noise, products, strict=True)]
