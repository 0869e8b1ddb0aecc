"""Optimizers of torch without their preparations for ``torch.compile``, which nothing here uses.

Making one of torch's optimizers, or stepping it, imports ``torch._dynamo``: 4.4 s of processor and 886 modules in every worker
(torch 2.15), three times what torch itself takes. The methods below the decorators are the same, so every bit is.
Proof: ``tests/train/test_eager.py``.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, TypeVar

import torch
from torch.optim import Optimizer

Kind = TypeVar("Kind", bound=Optimizer)


@functools.cache
def eager(kind: type[Kind]) -> type[Kind]:
    """``kind``, one of torch's own optimizers, not differentiated through, as a class that imports no ``torch._dynamo``."""
    methods: dict[str, Any] = {
        name: inspect.unwrap(method)
        for name, method in vars(Optimizer).items()
        if inspect.isfunction(method) and method.__module__ == Optimizer.__module__ and hasattr(method, "__wrapped__")
    }
    methods["step"] = torch.no_grad()(inspect.unwrap(kind.step))
    return type(kind.__name__, (kind,), methods)
