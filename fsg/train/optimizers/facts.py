"""What an optimizer is and needs, found by reading its signatures and by trying it on a few small tensors.

It is tried as the trainer uses it: parameters are views of one vector, so are their gradients, and ``Guest`` drives it. A few
steps tell whether it trains at all, heeds its rate, goes on from a checkpoint to the bit, and so on; 10 to 100 ms each. So an
optimizer that a later version of its package brings is known before the first trial that has it.
Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

import inspect
import io
import warnings
from collections.abc import Callable
from functools import cache, cached_property
from typing import Any

import torch
from torch.optim import Optimizer

from fsg.layers import join
from fsg.train.optimizers.guest import Guest, Unfit, steps_by_curvature, switches
from fsg.train.optimizers.plain import NotPlain, is_plain

STEPS = 14  # more than AdaShift's queue of 10 gradients, before which it does not move
PAUSE = 7  # steps before the state is written and read
_CURVATURE = 0.1  # of the quadratic bowl whose gradients, with noise, are descended
RATE = 1e-2  # of an optimizer that comes with none
# Two convolutions, a classifier, the weight of a BatchNorm, a bias.
_SHAPES = ((4, 1, 3, 3), (6, 4, 3, 3), (5, 12), (6,), (5,))
_MATRICES = ((12, 9), (5, 12))

Losses = Callable[[int], float]


def _falling(step: int) -> float:
    return 1.0 / (1 + step)


def _jumping(step: int) -> float:
    return (9.0, 0.01)[step % 2]


class Try:
    """A few parameters under one optimizer, and gradients that are the same for the same weights and step."""

    def __init__(
        self,
        kind: type[Optimizer],
        dtype: torch.dtype,
        lr: float,
        weight_decay: float = 0.0,
        seed: int = 0,
        uses_loss: bool = False,
        shapes: tuple[tuple[int, ...], ...] = _SHAPES,
    ) -> None:
        draws = torch.Generator().manual_seed(0)
        self.params = [torch.nn.Parameter(0.3 * torch.randn(s, generator=draws).to(dtype)) for s in shapes]
        with torch.no_grad():
            for p, value in zip([p for p in self.params if p.ndim < 2], (1.0, 0.0), strict=False):
                p.fill_(value)
        self.targets = [0.3 * torch.randn(s, generator=draws).to(dtype) for s in shapes]
        self.weights = join(self.params)
        self.start = self.weights.clone()
        self.grad = torch.zeros_like(self.weights)
        parts = self.grad.split([p.numel() for p in self.params])
        for p, part in zip(self.params, parts, strict=True):
            p.grad = part.view(p.shape)
        output = max(i for i, shape in enumerate(shapes) if len(shape) >= 2)
        self.guest = Guest(
            kind,
            self.params,
            lr,
            weight_decay,
            seed=seed,
            steps=100,
            output=self.params[output],
            uses_loss=uses_loss,
        )

    def go(self, first: int, last: int, losses: Losses = _falling) -> Try:
        """Steps ``first`` to ``last`` - 1."""
        for step in range(first, last):
            noise = torch.Generator().manual_seed(step)
            away = torch.cat([(p.detach() - t).flatten() for p, t in zip(self.params, self.targets, strict=True)])
            self.grad.copy_(_CURVATURE * away + 0.01 * torch.randn(len(away), generator=noise).to(away.dtype))
            self.given = self.grad.clone()
            self.guest.see(torch.tensor(losses(step)), [torch.full_like(p, _CURVATURE) for p in self.params])
            self.guest.step()
        return self

    @property
    def in_place(self) -> bool:
        """Whether weights and gradients are still where the trainer put them."""
        pairs = ((p, self.weights) for p in self.params), ((p.grad, self.grad) for p in self.params)
        return all(
            x is not None and x.untyped_storage().data_ptr() == flat.untyped_storage().data_ptr()
            for group in pairs
            for x, flat in group
        )


class Facts:
    """What is known of one optimizer class with parameters of one dtype; each fact is found when it is first asked for."""

    def __init__(self, name: str, kind: type[Optimizer], dtype: torch.dtype) -> None:
        self.name, self.dtype = name, dtype
        self.kind: Any = kind
        self.curvature, self.switches = steps_by_curvature(kind), switches(kind)
        wanted = inspect.signature(kind).parameters
        self.counts_steps = "num_iterations" in wanted
        self.orthogonal = "adamw_lr" in wanted
        rate = wanted["lr"].default if "lr" in wanted else None
        self.rate: float | None = float(rate) if isinstance(rate, int | float) else None  # with which it comes
        self.second_rate: float | None = wanted["adamw_lr"].default if self.orthogonal else None
        self._needs_loss = False

    def tried(self, **over: Any) -> Try:
        """A fresh try; warnings are for who uses the optimizer, not for who tries it."""
        settings = {"lr": self.rate or RATE, "uses_loss": self._needs_loss} | over
        return Try(self.kind, self.dtype, **settings)

    @cached_property
    def refused(self) -> str | None:
        """Why no trial can have it, as the end of a sentence about it; None if it can."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                return self._problem()
            except Unfit as error:
                return str(error)
            except Exception as error:  # of somebody else's code, which may raise anything
                return self._failure(error)

    def _problem(self) -> str | None:
        try:
            whole = self.tried()
            if any("lr" not in group for group in whole.guest.param_groups):
                return "has no learning rate that a schedule can set"
            whole.go(0, 1)
        except Unfit:
            raise
        except Exception as error:
            if "closure" not in str(error):
                raise
            self._needs_loss = True
            whole = self.tried().go(0, 1)
        if not whole.in_place:
            return "puts other tensors in the place of weights or gradients, and the trainer would not see them"
        rates = [group["lr"] for group in self.tried().guest.param_groups]
        whole.go(1, STEPS)
        if any(group["lr"] != rate for group, rate in zip(whole.guest.param_groups, rates, strict=True)):
            return "sets its rate itself at every step, and the schedule would set it back at every epoch"
        if not torch.isfinite(whole.weights).all():
            return f"brings weights that are not finite within {STEPS} steps at a rate of {self.rate or RATE:g}"
        moved = (whole.weights != whole.start).double().mean().item()
        if moved < 0.5:
            return f"leaves most weights as they are: {moved:.0%} of them moved in {STEPS} steps"
        if self._uses_gradients_as_memory(whole):
            return "keeps its momentum in the gradients, which the trainer writes anew at every step"
        if torch.equal(whole.weights, self.tried(lr=(self.rate or RATE) / 3).go(0, STEPS).weights):
            return "does not heed its learning rate, so optimizer.lr and the schedule would do nothing"
        return self._stops_short(whole)

    def _stops_short(self, whole: Try) -> str | None:
        """What keeps a trial that is resumed from being the trial that was not interrupted."""
        try:
            state = io.BytesIO()
            first = self.tried().go(0, PAUSE)
            torch.save(first.guest.state_dict(), state)
        except NotPlain as error:
            return f"keeps a {error} in its state, which a checkpoint cannot hold"
        state.seek(0)
        second = self.tried()
        second.weights.copy_(first.weights)
        second.guest.load_state_dict(torch.load(state, weights_only=True))
        second.go(PAUSE, STEPS)
        if not torch.equal(second.weights, whole.weights) or _numbers(second) != _numbers(whole):
            return "does not go on from its state as if it had not been interrupted"
        return None

    def _failure(self, error: Exception) -> str:
        said = (str(error).strip() or "no reason").splitlines()[0]
        if self.dtype != torch.float32 and facts_of(self.name, self.kind, torch.float32).refused is None:
            return f"cannot train in {str(self.dtype).removeprefix('torch.')} ({said}); use dtype: float32"
        try:
            self.tried(shapes=_MATRICES).go(0, STEPS)
        except Exception:
            return f"fails in its first steps ({type(error).__name__}: {said})"
        return f"takes matrices alone, and these networks have convolutions, biases and BatchNorm ({said})"

    @staticmethod
    def _uses_gradients_as_memory(one: Try) -> bool:
        """Whether an optimizer without other memory leaves the last gradients scaled by one number, as their own momentum."""
        ratio = one.grad / one.given
        return (
            not any(one.guest.optimizer.state.values())
            and not torch.allclose(ratio, torch.ones_like(ratio))
            and torch.allclose(ratio, ratio[0])
        )

    @cached_property
    def uses_loss(self) -> bool:
        """Whether its step depends on the loss it is told."""
        return self._needs_loss or not self._same(self._again(uses_loss=True), self._again(_jumping, uses_loss=True))

    @cached_property
    def warms_up(self) -> bool:
        """Whether it has its own rates at first: a rate set later is not heeded in the first steps."""
        slow = self.tried()
        for group in slow.guest.param_groups:
            group["lr"] = group["lr"] / 3
        return self._same(slow.go(0, STEPS), self._again())

    @cached_property
    def remembers(self) -> bool:
        """Whether it steps from where it was itself, and not from where it finds the weights, by a twentieth or more."""
        push = 1e-3
        here, there = self.tried().go(0, PAUSE), self.tried().go(0, PAUSE)
        there.weights.add_(push)
        there.targets = [target + push for target in there.targets]  # both have the same gradients
        here.go(PAUSE, PAUSE + 1)
        there.go(PAUSE, PAUSE + 1)
        return bool((there.weights - here.weights - push).abs().mean() > push / 20)

    @cached_property
    def decays(self) -> bool:
        """Whether it has weight decay. One that takes any argument says nothing by taking this one."""
        return "weight_decay" in inspect.signature(self.kind).parameters or not self._same(
            self._again(weight_decay=0.3), self._again()
        )

    @cached_property
    def draws(self) -> bool:
        """Whether chance has a part in its steps."""
        return not self._same(self._again(seed=1), self._again())

    @cached_property
    def keeps_objects(self) -> bool:
        """Whether its state, options left out, is more than plain data."""
        state = self._again().guest.optimizer.state
        return not all(is_plain(values) for values in state.values())

    def _again(self, losses: Losses = _falling, **over: Any) -> Try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.tried(**over).go(0, STEPS, losses)

    @staticmethod
    def _same(a: Try, b: Try) -> bool:
        return torch.equal(a.weights, b.weights)


@cache
def facts_of(name: str, kind: Any, dtype: torch.dtype) -> Facts:
    """The facts of a class, found once in a process."""
    return Facts(name, kind, dtype)


def _numbers(one: Try) -> dict[str, Any]:
    """What the optimizer counts beside its state: the plain numbers among its attributes."""
    return {k: v for k, v in vars(one.guest.optimizer).items() if type(v) in (bool, int, float, str)}
