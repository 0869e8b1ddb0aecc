"""torch's optimizers over rows: one step of K of them, each with its own rates, moments and count of steps.

Row k of the parameters (K, M) is all that optimizer k steps, end to end. Formulas and their order are those of torch's foreach
implementations; every operation is element by element, so a row's bits are its own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class OptimizerRows(ABC):
    """K optimizers of equal shape as one."""

    def __init__(self, optimizers: Sequence[Optimizer]) -> None:
        self.optimizers = list(optimizers)
        self.params = [[p for group in each.param_groups for p in group["params"]] for each in optimizers]

    @abstractmethod
    def gather(self) -> None:
        """Read what the optimizers have now."""

    @abstractmethod
    def step(self, params: Tensor, grads: Tensor) -> None:
        """One step of all rows, (K, M), in place."""

    @abstractmethod
    def scatter(self, count: int) -> None:
        """Give the first ``count`` optimizers their state."""

    def option(self, name: str) -> Tensor:
        """(K, 1), or (K, M) where groups differ, in the parameters' dtype."""
        rows = [[float(group[name]) for group in each.param_groups] for each in self.optimizers]
        like = self.params[0][0]
        column = torch.tensor(rows, dtype=like.dtype, device=like.device)
        if column.shape[1] == 1:
            return column
        sizes = [sum(p.numel() for p in group["params"]) for group in self.optimizers[0].param_groups]
        return torch.cat([c[:, None].expand(-1, n) for c, n in zip(column.unbind(1), sizes, strict=True)], dim=1)

    def used(self, name: str) -> bool:
        """Whether any group has it above 0; the same in all members."""
        return any(group.get(name, 0) > 0 for group in self.optimizers[0].param_groups)

    def stacked(self, name: str) -> Tensor | None:
        """(K, M) of a state's tensors; None where there is none yet."""
        if name not in self.optimizers[0].state.get(self.params[0][0], {}):
            return None
        each = zip(self.optimizers, self.params, strict=True)
        return torch.stack([torch.cat([o.state[p][name].flatten() for p in params]) for o, params in each])

    def give(self, name: str, rows: Tensor, count: int) -> None:
        """Each member its row of a state, in tensors of its own."""
        sizes = [p.numel() for p in self.params[0]]
        for optimizer, params, row in zip(self.optimizers[:count], self.params, rows, strict=False):
            for p, part in zip(params, row.split(sizes), strict=True):
                optimizer.state[p][name] = part.clone().view_as(p)


class AdamRows(OptimizerRows):
    """Adam and AdamW."""

    def gather(self) -> None:
        """Moments, counts of steps, and the options of this epoch."""
        group: dict[str, Any] = self.optimizers[0].param_groups[0]
        (self.beta1, self.beta2), self.eps = group["betas"], group["eps"]
        self.decoupled = bool(group.get("decoupled_weight_decay"))
        self.rate = self.option("lr")
        self.decay = self.option("weight_decay") if self.used("weight_decay") else None
        self.first, self.second = self.stacked("exp_avg"), self.stacked("exp_avg_sq")
        firsts = zip(self.optimizers, self.params, strict=True)
        self.steps = [int(o.state[p[0]]["step"]) if self.first is not None else 0 for o, p in firsts]

    def step(self, params: Tensor, grads: Tensor) -> None:
        """Of all rows."""
        if self.first is None or self.second is None:
            self.first, self.second = torch.zeros_like(params), torch.zeros_like(params)
        self.steps = [n + 1 for n in self.steps]
        if self.decay is not None:
            if self.decoupled:
                params.mul_(1 - self.rate * self.decay)
            else:
                grads = torch.addcmul(grads, params, self.decay)
        self.first.lerp_(grads, 1 - self.beta1)
        self.second.mul_(self.beta2).addcmul_(grads, grads, value=1 - self.beta2)
        first = self._column([1 - self.beta1**n for n in self.steps])
        second = self._column([(1 - self.beta2**n) ** 0.5 for n in self.steps])
        root = self.second.sqrt().div_(second).add_(self.eps)
        params.sub_((self.first * (self.rate / first)).div_(root))

    def scatter(self, count: int) -> None:
        """Moments and counts."""
        if self.first is None or self.second is None:
            return
        self.give("exp_avg", self.first, count)
        self.give("exp_avg_sq", self.second, count)
        for optimizer, params, steps in zip(self.optimizers[:count], self.params, self.steps, strict=False):
            for p in params:
                optimizer.state[p]["step"] = torch.tensor(float(steps))

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=self.rate.dtype, device=self.rate.device)[:, None]


class SgdRows(OptimizerRows):
    """SGD, with momentum or without."""

    def gather(self) -> None:
        """Buffers, and the options of this epoch."""
        self.rate = self.option("lr")
        self.decay = self.option("weight_decay") if self.used("weight_decay") else None
        self.momentum = self.option("momentum") if self.used("momentum") else None
        self.buffer = self.stacked("momentum_buffer") if self.momentum is not None else None

    def step(self, params: Tensor, grads: Tensor) -> None:
        """Of all rows."""
        if self.decay is not None:
            grads = torch.addcmul(grads, params, self.decay)
        if self.momentum is not None:
            self.buffer = grads.clone() if self.buffer is None else self.buffer.mul_(self.momentum).add_(grads)
            grads = self.buffer
        params.sub_(grads * self.rate)

    def scatter(self, count: int) -> None:
        """Buffers."""
        if self.buffer is not None:
            self.give("momentum_buffer", self.buffer, count)
