"""An optimizer of another package, as the trainer drives it.

Its random draws depend on the trial's seed and the step alone; its state is plain data; a network is evaluated at the point its
authors mean. Nothing here knows an optimizer by name: what it wants is read off its signatures.
Proof: ``tests/train/test_optimizers.py``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fsg.catalogue.optimizers import CurvatureConfig
from fsg.train.curvature import BY_KERNEL, HELD, by_kernel
from fsg.train.optimizers.plain import from_plain, is_plain, to_plain
from fsg.train.seeds import all_seeded

# What ``build`` gives to a class that asks for it.
GIVEN = {"params", "model", "lr", "weight_decay", "num_iterations", "epoch_iterations", "optimizer"}


class Unfit(Exception):
    """An optimizer that cannot train here; the message says why, as the end of a sentence about it."""


class GuestKind(NamedTuple):
    """An optimizer class, what it is built with beside rate and weight decay, and whether its step takes the loss."""

    kind: type[Optimizer]
    options: Mapping[str, Any]
    uses_loss: bool = False


class Guest:
    """Drives one optimizer over ``params``; stands where a torch optimizer stands.

    ``seed``: of its draws. ``steps`` and ``epoch``: how many steps training and an epoch take, for those with a schedule of their
    own. ``output``: the weight of the network's last layer. ``uses_loss``: whether the loss last seen is handed to its step.
    ``curvature``: what it is told of the Hessian, and how often; None: as its authors have it. ``options``: what else it takes.
    """

    def __init__(
        self,
        kind: type[Optimizer],
        params: Sequence[Tensor],
        lr: float,
        weight_decay: float,
        *,
        seed: int = 0,
        steps: int | None = None,
        output: Tensor | None = None,
        uses_loss: bool = False,
        epoch: int | None = None,
        curvature: CurvatureConfig | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.params = list(params)
        self.seed = seed
        self.uses_loss = uses_loss
        self.taken = 0
        self.loss: Tensor | None = None
        self.diagonal: list[Tensor] | None = None
        with all_seeded(seed, 0, self.params[0].device):
            self.optimizer: Any = build(kind, self.params, lr, weight_decay, steps, output, epoch, options or {})
        self.package = kind.__module__.partition(".")[0]
        self.curvature = steps_by_curvature(kind)
        self.source = (curvature or CurvatureConfig()).name
        self.by_kernel, self.held = kind.__name__ in BY_KERNEL, kind.__name__ in HELD
        if curvature is not None and curvature.every is not None:
            self.optimizer.update_period = curvature.every
        self.switches = switches(kind)
        if self.switches:
            self.optimizer.train()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The optimizer's: rates and options are set in them."""
        return self.optimizer.param_groups

    def zero_grad(self, set_to_none: bool = True) -> None:
        """The optimizer's."""
        self.optimizer.zero_grad(set_to_none=set_to_none)

    @property
    def asks_curvature(self) -> bool:
        """Whether the next step takes the diagonal of the Hessian, measured where its gradient is."""
        return self.curvature and self.taken % self.optimizer.update_period == 0

    def noise(self) -> list[Tensor]:
        """z of Hutchinson's estimate for the next step, in the shapes of the parameters; what the optimizer itself would draw."""
        draw = torch.randn_like if self.optimizer.distribution == "gaussian" else _signs_like
        with all_seeded(self.seed, self.taken, self.params[0].device):
            return [draw(p.detach()) for p in self.params]

    def see(self, loss: Tensor, diagonal: Sequence[Tensor] | None = None) -> None:
        """Take note of the loss, a scalar, and of the Hessian's diagonal, where the next step's gradient was measured."""
        if self.uses_loss:
            self.loss = loss.detach().clone()
        if diagonal is not None:
            self.diagonal = [by_kernel(h) for h in diagonal] if self.by_kernel else list(diagonal)

    def step(self) -> None:
        """One step on the gradients that the parameters hold. Unfit if it asks for the loss twice: it is measured once."""
        given: dict[str, Any] = {}
        if self.asks_curvature or (self.held and self.diagonal is not None):
            given["hessian"] = self.diagonal
            self.diagonal = self.diagonal if self.held else None
        self.taken += 1
        if self.uses_loss:
            given["closure"] = _once(self.loss)
        with all_seeded(self.seed, self.taken, self.params[0].device):
            self.optimizer.step(**given)

    @contextmanager
    def at_evaluation_point(self) -> Iterator[None]:
        """Inside, the parameters are those to be evaluated; afterwards they are to the bit what they were.

        The optimizer's own way back is not enough: a schedule-free one computes it, and rounds.
        """
        if not self.switches or not self.taken:  # before its first step one of them has no average to show
            yield
            return
        points = [p.detach().clone() for p in self.params]
        self.optimizer.eval()
        try:
            yield
        finally:
            self.optimizer.train()
            for p, point in zip(self.params, points, strict=True):
                p.detach().copy_(point)

    def state_dict(self) -> dict[str, Any]:
        """Plain data. NotPlain where the optimizer keeps what cannot be written."""
        state = dict(self.optimizer.state_dict())
        if "param_groups" in state:  # options such as functions stay with the optimizer that was built with them
            state["param_groups"] = [{k: v for k, v in g.items() if is_plain(v)} for g in state["param_groups"]]
        return {
            "optimizer": to_plain(state, self.package),
            "taken": self.taken,
            "loss": self.loss,
            "diagonal": self.diagonal,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict``, or from that of the optimizer alone, as fsg wrote it before it drove optimizers this way."""
        if "optimizer" not in state:
            state = {"optimizer": state, "taken": 0, "loss": None, "diagonal": None}
        device = self.params[0].device
        saved = from_plain(state["optimizer"], self.package, device)
        for group, own in zip(saved.get("param_groups", []), self.param_groups, strict=False):
            group |= {k: v for k, v in own.items() if k != "params" and not is_plain(v)}
        self.optimizer.load_state_dict(saved)
        exact = from_plain(state["optimizer"], self.package, device, within=True)
        _keep(self.optimizer.state, exact.get("state", {}), self.param_groups)
        self.taken = state["taken"]
        self.loss, self.diagonal = (
            from_plain(state[name], self.package, device, within=True) for name in ("loss", "diagonal")
        )


def build(
    kind: type[Optimizer],
    params: list[Tensor],
    lr: float,
    weight_decay: float,
    steps: int | None,
    output: Tensor | None,
    epoch: int | None,
    more: Mapping[str, Any],
) -> Any:
    """An optimizer with what its signature asks for, and its own defaults for the rest. Unfit where it asks for more.

    Of the Muon kind, known by ``adamw_lr``: matrices take its orthogonal step; vectors and the ``output`` layer take the AdamW
    that comes with it, at its rate. Of the Adafactor kind, known by ``relative_step``: the rate given is the rate.
    """
    wanted = inspect.signature(kind).parameters
    missing = [
        name
        for name, p in wanted.items()
        if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and name not in {*GIVEN, *more}
    ]
    if missing:
        raise Unfit(f"needs {', '.join(missing)} beside parameters and a rate")
    any_name = any(p.kind is p.VAR_KEYWORD for p in wanted.values())
    options: dict[str, Any] = {
        name: value for name, value in (("lr", lr), ("weight_decay", weight_decay)) if any_name or name in wanted
    }
    if "relative_step" in wanted:
        options["relative_step"] = False
    if "num_iterations" in wanted:
        options["num_iterations"] = steps or 1000
    if "epoch_iterations" in wanted:
        options["epoch_iterations"] = epoch
    over: Any = nn.ParameterList(params) if "model" in wanted else params
    if "adamw_lr" in wanted:
        over = _muon_groups(params, output)
        options["adamw_wd"] = weight_decay
    return kind(over, **options, **more)


def _muon_groups(params: list[Tensor], output: Tensor | None) -> list[dict[str, Any]]:
    hidden = [p for p in params if p.ndim >= 2 and p is not output]
    others = [p for p in params if p.ndim < 2 or p is output]
    groups = [{"params": hidden, "use_muon": True}, {"params": others, "use_muon": False}]
    return [group for group in groups if group["params"]]


def steps_by_curvature(kind: type[Optimizer]) -> bool:
    """AdaHessian, SophiaH: every ``update_period`` steps it takes the diagonal of the Hessian."""
    return {"closure", "hessian"} <= inspect.signature(kind.step).parameters.keys()


def switches(kind: type[Optimizer]) -> bool:
    """Schedule-free ones, SPlus: the network is evaluated at another point than it is trained at."""
    return all(callable(getattr(kind, name, None)) for name in ("eval", "train"))


def _signs_like(like: Tensor) -> Tensor:
    return torch.randint_like(like, 0, 2) * 2 - 1


def _once(loss: Tensor | None) -> Callable[[], float]:
    """A closure that gives the loss last seen."""
    left = [loss]

    def closure() -> float:
        if not left:
            raise Unfit("measures the loss several times in each step, and a step here measures it once")
        seen = left.pop()
        return seen.item() if seen is not None else 0.0

    return closure


def _keep(state: Any, saved: Mapping[Any, Any], groups: list[dict[str, Any]]) -> None:
    """Make a loaded state what was saved, where torch's ``load_state_dict`` makes it something else (2.15).

    It casts tensors to their parameter's dtype, so that NAdam goes on with more digits than it had and Kron not at all; it takes
    the limit from a deque, and puts a generator's description in the place of a text.
    """
    params = [p for group in groups for p in group["params"]]
    for key, values in saved.items():
        if type(key) is not int or not isinstance(values, dict):
            continue
        live = state[params[key]]
        for name, value in values.items():
            if not isinstance(value, Tensor) or name not in live or live[name].dtype != value.dtype:
                live[name] = value
