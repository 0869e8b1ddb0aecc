"""The diagonal of the Hessian by Hutchinson's estimate, for optimizers that step by it: h = z (H z), E[h] = diag H.

z has independent entries of mean 0 and variance 1; one z a step, as AdaHessian (arXiv:2006.00719) and Sophia-H (arXiv:2305.14342)
do. It costs a second backward pass through the first. The loss has second derivatives in the quantised weights Wq, whatever the
quantiser: it is their function, and smooth in them. Along a latent weight curvature is c^2 times that along its Wq, where c, the
slope, stands for dWq/dW and is held constant. Entry i has the variance sum over j != i of H_ij^2 for signs as z.

What g^2 is instead: the diagonal of g g', which is positive, of rank 1, and no derivative of g.
Proof: ``tests/train/test_curvature.py``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# As published, by the class of an optimizer: AdaHessian averages abs h over each kernel's pixels (blocks of 9 in a 3x3 kernel in
# the authors' code), and its second moment takes the last estimate again in the steps between two.
BY_KERNEL = ("AdaHessian",)
HELD = ("AdaHessian",)


def backward_twice(
    loss: Tensor, leaves: Sequence[Tensor], noise: Sequence[Tensor], others: Sequence[Tensor] = ()
) -> list[Tensor]:
    """Leave the gradients of ``loss`` in ``leaves`` and ``others``; the estimate of the Hessian's diagonal in ``leaves``.

    ``noise``: z, in their shapes. It is one estimate for all leaves together, so each entry's noise has a part of every other.
    """
    every = [*leaves, *others]
    gradients = torch.autograd.grad(loss, every, create_graph=True, allow_unused=True)
    smooth = [(g, z) for g, z in zip(gradients, noise, strict=False) if g is not None and g.requires_grad]
    products = torch.autograd.grad(
        [g for g, _ in smooth], leaves, [z for _, z in smooth], allow_unused=True, materialize_grads=True
    )
    for leaf, gradient in zip(every, gradients, strict=True):
        leaf.grad = None if gradient is None else gradient.detach()
    return [z * product for z, product in zip(noise, products, strict=True)]


def by_kernel(diagonal: Tensor) -> Tensor:
    """Mean abs h over the pixels of each kernel of a convolution, (out, in, H, W); abs h of any other parameter."""
    size = diagonal.abs()
    return size.mean((2, 3), keepdim=True).expand_as(size).contiguous() if size.ndim == 4 else size
