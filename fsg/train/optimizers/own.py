"""Base optimizers that no package has in a form that fits here: Bop, LCAM, GNS and the vSGD of Schaul, Zhang and LeCun.

Each is a torch optimizer, driven as those of other packages are (``guest.py``): told the loss where it takes a closure, and the
Hessian's diagonal where it takes one.
Proof: ``tests/train/test_own_optimizers.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fsg.catalogue.rivals import Bop, Gns, Lcam, VsgdSchaul
from fsg.train.optimizers.guest import GuestKind

_EPSILON = 1e-9  # of the authors' vSGD
_SAMPLES = 10  # the first gradients, from which its averages start
_SLOW = 2.0  # and how much larger they start: its slow start
_RADII = (1e-9, 1e9)  # that gamma of GNS stays between; the lower one is its authors'


class BopOptimizer(Optimizer):
    """m <- (1 - gamma) m + gamma g; w <- -w where w m > threshold. gamma is ``lr``.

    w is the sign of a weight, whose magnitude stays: it is no latent weight, and its quantised size with it does not change.
    Helwegen et al., "Latent Weights Do Not Exist", NeurIPS 2019 (arXiv:1906.02107), algorithm 1; as ``Bop`` of larq, where the
    weights are -1 and +1. A weight of exactly 0 counts as +1 and stays. In the averages is the direction that the trial's
    estimator gives: c g under ``ste``.
    """

    def __init__(self, params: Iterable[Tensor], lr: float = 1e-2, threshold: float = 1e-7) -> None:
        super().__init__(params, {"lr": lr, "threshold": threshold})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Flip signs; a parameter without a gradient stays."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, group["lr"])
                sign = torch.where(p >= 0, 1.0, -1.0).to(p.dtype)
                p.copy_(torch.where(sign * average > group["threshold"], -p, p))


class LcamOptimizer(Optimizer):
    """SGD with momentum mu: ``below`` after a batch whose loss is below the average of its epoch so far, else ``above``.

    Zhang et al., "Asymmetric Momentum" (arXiv:2309.02130); as their demonstration code, where the loss of a batch, itself in
    the average, decides the momentum of the next step, and an epoch starts a new average. ``epoch_iterations``: steps of an
    epoch; None: the average is of all steps.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float = 0.1,
        below: float = 0.95,
        above: float = 0.9,
        weight_decay: float = 0.0,
        epoch_iterations: int | None = None,
    ) -> None:
        options = {"lr": lr, "below": below, "above": above, "weight_decay": weight_decay}
        super().__init__(params, {**options, "momentum": above, "losses": 0.0, "batches": 0})
        self.epoch_iterations = epoch_iterations

    @torch.no_grad()
    def step(self, closure: Callable[[], float]) -> None:  # type: ignore[override]
        """One step with the momentum that the loss before decided; then the momentum of the next."""
        loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                grad = p.grad.add(p, alpha=group["weight_decay"])
                if "velocity" not in self.state[p]:
                    self.state[p]["velocity"] = grad.clone()
                else:
                    self.state[p]["velocity"].mul_(group["momentum"]).add_(grad)
                p.sub_(group["lr"] * self.state[p]["velocity"])
            if group["batches"] == self.epoch_iterations:
                group["losses"], group["batches"] = 0.0, 0
            group["losses"] += loss
            group["batches"] += 1
            group["momentum"] = group["below"] if loss < group["losses"] / group["batches"] else group["above"]


class VsgdSchaulOptimizer(Optimizer):
    """w <- w - lr eta g with a rate eta for each weight: eta = gbar^2 / (hbar vbar).

    gbar, vbar and hbar are averages of g, g^2 and abs h, h the Hessian's diagonal, over a memory of tau steps that each weight
    has of its own: tau <- (1 - gbar^2 / vbar) tau + 1. Schaul, Zhang and LeCun, "No More Pesky Learning Rates", ICML 2013
    (arXiv:1206.1106), vSGD-l; constants as in the authors' py-optim: averages of the first 10 gradients, with vbar and hbar
    twice as large and abs h at least 1 in them; no weight moves before. ``lr`` 1 is theirs. ``hessian``: h of each parameter.
    """

    distribution = "rademacher"

    def __init__(self, params: Iterable[Tensor], lr: float = 1.0, update_period: int = 1) -> None:
        super().__init__(params, {"lr": lr, "step": 0})
        self.update_period = update_period

    @torch.no_grad()
    def step(self, closure: Any = None, hessian: Sequence[Tensor] | None = None) -> None:  # type: ignore[override]
        """One step; without ``hessian`` hbar stays, as between two estimates."""
        given = iter(hessian or ())
        for group in self.param_groups:
            for p in group["params"]:
                h = next(given, None)
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state |= {name: torch.zeros_like(p) for name in ("gbar", "vbar", "hbar")}
                    state["tau"] = torch.full_like(p, _SAMPLES + _EPSILON)
                    state["estimates"] = 0
                if group["step"] < _SAMPLES:
                    self._begin(state, p.grad, h, last=group["step"] == _SAMPLES - 1)
                else:
                    p.sub_(group["lr"] * self._rate(state, p.grad, h) * p.grad)
            group["step"] += 1

    @staticmethod
    def _begin(state: dict[str, Any], g: Tensor, h: Tensor | None, last: bool) -> None:
        """Sums of the first samples; after the ``last``, their averages."""
        state["gbar"] += g
        state["vbar"] += g * g
        if h is not None:
            state["hbar"] += h.abs().clamp(1, 1 / _EPSILON)
            state["estimates"] += 1
        if last:
            state["gbar"] /= _SAMPLES
            state["vbar"].div_(_SAMPLES).add_(_EPSILON).mul_(_SLOW)
            state["hbar"].div_(max(1, state["estimates"])).mul_(_SLOW)

    @staticmethod
    def _rate(state: dict[str, Any], g: Tensor, h: Tensor | None) -> Tensor:
        """eta of this step, after its gradient is in the averages."""
        gbar, vbar, hbar, tau = (state[name] for name in ("gbar", "vbar", "hbar", "tau"))
        share = 1 / tau
        gbar.lerp_(g, share)
        vbar.lerp_(g * g, share).add_(_EPSILON)
        if h is not None:
            hbar.lerp_(h.abs() + _EPSILON, share)
        signal = gbar * gbar / vbar
        tau.mul_(1 - signal).add_(1 + _EPSILON)
        return signal / hbar


class GnsOptimizer(Optimizer):
    """w <- w - lr (abs D + lambda)^-1 g with lambda = norm of g / gamma, so that no step is longer than lr gamma.

    D is the Hessian's diagonal, the norm is over a group's parameters together, of which there is one group here. gamma doubles
    after a step that brought the loss down by lr / (8 lambda) times the squared norm of the gradient it led to, and halves after
    any other. Semenov, Jaggi and Doikov, "Gradient-Normalized Smoothness for Optimization with Approximate Hessians"
    (arXiv:2506.13710), algorithm 1, as ``grad_norm_smooth`` of the authors' methods.py with B = 1; its H is abs D, any positive
    approximation being allowed, and their lr is 1: another is the same method with H / lr and lr gamma.

    Other than theirs: a trial measures its loss once a step, so a step that fails stays where theirs is tried again with half of
    gamma, and the two losses that are compared are of two batches. Without noise the steps that theirs accepts are the same.
    ``hessian``: D of each parameter; without it the last one stays.
    """

    distribution = "rademacher"

    def __init__(self, params: Iterable[Tensor], lr: float = 1.0, gamma: float = 1.0, update_period: int = 1) -> None:
        super().__init__(params, {"lr": lr, "gamma": gamma, "loss": None, "damping": 0.0})
        self.update_period = update_period

    @torch.no_grad()
    def step(self, closure: Callable[[], float], hessian: Sequence[Tensor] | None = None) -> None:  # type: ignore[override]
        """Judge the step before by what was measured where it led; then the next one."""
        loss, given = closure(), iter(hessian or ())
        for group in self.param_groups:
            for p in group["params"]:
                if (h := next(given, None)) is not None:
                    self.state[p]["curvature"] = h.abs()
            moving = [p for p in group["params"] if p.grad is not None]
            norm = float(torch.stack([p.grad.norm() for p in moving]).norm()) if moving else 0.0
            if group["loss"] is not None and group["damping"]:
                enough = norm**2 / (8 * group["damping"])
                gamma = group["gamma"] * (2.0 if group["loss"] - loss >= enough else 0.5)
                group["gamma"] = min(max(gamma, _RADII[0]), _RADII[1])
            damping = norm / group["gamma"]
            for p in moving if damping else []:
                p.sub_(group["lr"] * p.grad / (self.state[p]["curvature"] + damping))
            group["loss"], group["damping"] = loss, damping / group["lr"] if group["lr"] else 0.0


def bop(config: Bop) -> GuestKind:
    """Bop at the configured threshold."""
    return GuestKind(BopOptimizer, {"threshold": config.threshold})


def lcam(config: Lcam) -> GuestKind:
    """LCAM with the configured momenta; it is told the loss."""
    return GuestKind(LcamOptimizer, {"below": config.below, "above": config.above}, uses_loss=True)


def vsgd_schaul(config: VsgdSchaul) -> GuestKind:
    """vSGD; it is told the Hessian's diagonal."""
    return GuestKind(VsgdSchaulOptimizer, {})


def gns(config: Gns) -> GuestKind:
    """GNS from the configured gamma; it is told the loss and the Hessian's diagonal."""
    return GuestKind(GnsOptimizer, {"gamma": config.gamma}, uses_loss=True)
