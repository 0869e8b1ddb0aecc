"""What every base optimizer must do."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from fsg.testing.contract import Contract
from fsg.testing.training import assert_resumes, same_bits, small_images
from fsg.train.optim import base_optimizer, load_optimizer
from fsg.train.optimizers import Guest

_SHAPES = ((4, 3, 3, 3), (5, 7), (6,))


class OptimizerContract(Contract):
    """Of a part of the kind ``optimizer``. ``steps``: within how many it has moved every parameter."""

    kind = "optimizer"
    steps: ClassVar[int] = 6

    def make(self, params: Sequence[Tensor]) -> Any:
        """The optimizer of these parameters."""
        return base_optimizer(self.section, params)

    def test_it_moves_every_parameter_that_has_a_gradient(self) -> None:
        """Kernels, matrices and vectors, to finite places; one without a gradient stays."""
        params = parameters()
        left = nn.Parameter(torch.ones(3))
        before = [p.detach().clone() for p in params]
        optimizer = self.make([*params, left])
        run(optimizer, params, range(self.steps))
        for p, was in zip(params, before, strict=True):
            assert torch.isfinite(p).all(), f"a parameter of shape {tuple(p.shape)} is no longer finite."
            assert not torch.equal(p, was), f"a parameter of shape {tuple(p.shape)} did not move in {self.steps} steps."
        assert torch.equal(left, torch.ones(3)), "a parameter without a gradient moved."

    def test_its_rate_is_the_configured_one_and_rules_the_step(self) -> None:
        """A schedule sets ``lr`` of each group; at 0 nothing moves."""
        params, lr = parameters(), self.section.lr
        optimizer = self.make(params)
        for group in optimizer.param_groups:
            assert float(group["lr"]) == lr, (
                f"a group starts with the rate {group['lr']}, the configuration says {lr}; pass on lr=config.lr."
            )
            group["lr"] = 0.0
        before = [p.detach().clone() for p in params]
        run(optimizer, params, range(2))
        for p, was in zip(params, before, strict=True):
            assert torch.equal(p, was), (
                "at a rate of 0 a parameter moved: the step must follow the group's lr, which a schedule sets."
            )

    def test_its_state_continues_bit_for_bit(self) -> None:
        """Stored as a checkpoint stores it, and loaded by a fresh optimizer."""
        params = parameters()
        optimizer = self.make(params)
        run(optimizer, params, range(3))
        others = [nn.Parameter(p.detach().clone()) for p in params]
        resumed = self.make(others)
        buffer = io.BytesIO()
        torch.save(optimizer.state_dict(), buffer)
        load_optimizer(resumed, torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
        run(optimizer, params, range(3, self.steps))
        run(resumed, others, range(3, self.steps))
        for p, other in zip(params, others, strict=True):
            assert same_bits(p.detach(), other.detach()), (
                f"an optimizer that took over the state moves a parameter of shape {tuple(p.shape)} elsewhere: what a step "
                "depends on belongs into self.state or self.param_groups."
            )

    def test_a_trial_with_it_resumes_to_the_bit(self) -> None:
        """Stopped within an epoch and between two."""
        assert_resumes(self.make_trial(), small_images())

    def test_its_facts_are_of_their_kind(self) -> None:
        """What others ask without making it."""
        assert isinstance(self.fact("capturable"), bool), (
            f"the fact capturable is {self.fact('capturable')!r}, expected True or False."
        )


def parameters() -> list[nn.Parameter]:
    """A convolution's, a linear layer's and a bias's, the same at every call."""
    rng = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(shape, generator=rng)) for shape in _SHAPES]


def run(optimizer: Any, params: Sequence[Tensor], steps: Sequence[int]) -> None:
    """Steps along gradients that each step has of its own."""
    for step in steps:
        rng = torch.Generator().manual_seed(100 + step)
        for p in params:
            p.grad = torch.randn(p.shape, generator=rng)
        if isinstance(optimizer, Guest):
            optimizer.see(torch.tensor(1 / (1 + step)), [torch.ones_like(p) for p in optimizer.params])
        optimizer.step()
