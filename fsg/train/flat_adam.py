"""torch's Adam and AdamW over many small tensors as over one vector: the same bits in a third of the time.

On a CPU torch's foreach takes the tensors one by one, some twelve calls each; the hypernetworks have fourteen of some tens of
numbers, so that what surrounds a call is all of its cost. Here parameters, moments and counts of steps become views of
one vector each, which a step moves by torch's own operations in torch's order. Each is element by element, and where an
element lies does not change its bits. States keep torch's form. Proof: ``tests/train/test_flat_adam.py``.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fsg.train.eager import eager


class _Vectors(NamedTuple):
    """What all parameters of an optimizer have, end to end; ``counts`` holds one number for each."""

    params: Tensor
    first: Tensor
    second: Tensor
    counts: Tensor


class _Flat:
    """A step of Adam over vectors; mixed in before the class of torch that it stands for. Groups differ in their rate alone."""

    param_groups: list[dict[str, Any]]
    state: dict[Tensor, dict[str, Tensor]]
    _vectors: _Vectors | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step; torch's own where a parameter has no gradient, or has made fewer steps than another."""
        params = [p for group in self.param_groups for p in group["params"]]
        grads = [p.grad for p in params if p.grad is not None]
        if len(grads) < len(params) or not self._joined(params):
            super().step(closure)  # type: ignore[misc]
            self._vectors = self._join(params)
            return
        assert self._vectors is not None
        grad, (whole, first, second, counts) = _end_to_end(grads), self._vectors
        count, group = counts.add_(1)[0].item(), self.param_groups[0]
        (beta1, beta2), decay = group["betas"], group["weight_decay"]
        parts = whole.split([sum(p.numel() for p in each["params"]) for each in self.param_groups])
        if decay and group["decoupled_weight_decay"]:
            for part, each in zip(parts, self.param_groups, strict=True):
                part.mul_(1 - each["lr"] * decay)
        elif decay:
            grad = torch.add(grad, whole, alpha=decay)
        first.lerp_(grad, 1 - beta1)
        second.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        root = second.sqrt().div_((1 - beta2**count) ** 0.5).add_(group["eps"])
        sizes = [len(part) for part in parts]
        for part, m, r, each in zip(parts, first.split(sizes), root.split(sizes), self.param_groups, strict=True):
            part.addcdiv_(m, r, value=(each["lr"] / (1 - beta1**count)) * -1)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        if not set_to_none:
            super().zero_grad(False)  # type: ignore[misc]
            return
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def _joined(self, params: Sequence[Tensor]) -> bool:
        """Whether the tensors are still those that were joined: loading a state, and a fused pack, make all of them anew."""
        if self._vectors is None:
            return False
        whole, *moments = (vector.data_ptr() for vector in self._vectors[:3])
        last = self._vectors.params[-params[-1].numel() :].data_ptr() - whole
        for p, offset in ((params[0], 0), (params[-1], last)):
            state = self.state[p]
            found = [p.data_ptr(), state["exp_avg"].data_ptr(), state["exp_avg_sq"].data_ptr()]
            if found != [start + offset for start in (whole, *moments)]:
                return False
        return True

    def _join(self, params: Sequence[Tensor]) -> _Vectors | None:
        """Lay everything end to end; None where parameters have made unequally many steps."""
        states = [self.state.get(p, {}) for p in params]
        counts = [float(state.get("step", -1.0)) for state in states]
        if any(count != counts[0] or count < 0 for count in counts):
            return None
        named = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq", "step"))
        return _Vectors(*(_laid_end_to_end(tensors) for tensors in (params, *named)))


@functools.cache
def flat(kind: Any) -> Any:
    """``kind``, Adam or AdamW, as a class that steps vectors."""
    return type(kind.__name__, (_Flat, eager(kind)), {})


def _laid_end_to_end(tensors: Sequence[Tensor]) -> Tensor:
    """One vector of which all are views: theirs where they lie so already, else a new one."""
    whole = _common(tensors)
    if whole is None:
        whole = torch.cat([t.detach().flatten() for t in tensors])
        for tensor, part in zip(tensors, whole.split([t.numel() for t in tensors]), strict=True):
            tensor.data = part.view(tensor.shape)
    return whole


def _end_to_end(tensors: Sequence[Tensor]) -> Tensor:
    """Their numbers as one vector."""
    whole = _common(tensors)
    return torch.cat([t.flatten() for t in tensors]) if whole is None else whole


def _common(tensors: Sequence[Tensor]) -> Tensor | None:
    """The vector that these are views of, one after the other; None where they are not."""
    here, end = tensors[0], tensors[0].data_ptr()
    for tensor in tensors:
        if tensor.data_ptr() != end or not tensor.is_contiguous():
            return None
        end += tensor.numel() * tensor.element_size()
    storage = here.untyped_storage()
    if end > storage.data_ptr() + storage.nbytes():
        return None  # neighbours by chance
    return here.detach().as_strided((sum(t.numel() for t in tensors),), (1,))
