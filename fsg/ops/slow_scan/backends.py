"""Which twin of the slow-net's block runs, and the one signature they share.

``auto`` takes the fastest that this machine has and says once, on the ``fsg`` logger, what it took and why. A twin asked for
by name that cannot run raises BackendUnavailable with the line that installs it. Nothing is imported before it is needed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Literal, cast

import torch
from torch import Tensor

from fsg.errors import BackendUnavailable
from fsg.ops.slow_scan.reference import MambaWeights

Backend = Literal["auto", "reference", "cpu", "triton", "mamba_ssm"]

_MODULES = {"reference": "reference", "cpu": "cpu", "triton": "triton", "mamba_ssm": "mamba"}
_FLAT_MODULES = {"cpu": "cpu_flat", "triton": "triton_flat"}
_log = logging.getLogger("fsg")


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int = 1, backend: Backend = "auto") -> Tensor:
    """The whole block over B sequences of L scalar tokens: its output at the last ``outputs`` tokens, (B, outputs).

    Differentiable in the tokens and in every parameter; accumulates in the dtype of the tokens, float32 or float64.
    Raises ValueError for shapes that do not fit, BackendUnavailable for a twin that this machine cannot run.
    """
    check(tokens_BL, weights, outputs)
    chosen = choose(backend, tokens_BL.device.type)
    return implementation(chosen)(tokens_BL, weights, outputs)


def slow_scan_flat(
    tokens: Tensor, lengths: Sequence[int], outputs: Sequence[int], weights: MambaWeights, backend: Backend = "auto"
) -> Tensor:
    """As ``slow_scan``, over sequences of different lengths laid end to end: (sum of lengths,) -> (sum of outputs,).

    Each gives its last ``outputs``. The twins ``cpu`` and ``triton`` compute all in one call; the others have one per sequence.
    """
    if tokens.dim() != 1 or sum(lengths) != len(tokens) or len(lengths) != len(outputs):
        raise ValueError(
            f"slow_scan: tokens have shape {tuple(tokens.shape)}, expected ({sum(lengths)},) for {len(lengths)} sequences "
            f"with {len(outputs)} numbers of outputs."
        )
    parts = tokens.split(list(lengths))
    for part, wanted in zip(parts, outputs, strict=True):
        check(part[None], weights, wanted)
    chosen = choose(backend, tokens.device.type)
    if chosen in _FLAT_MODULES:
        module = import_module(f"fsg.ops.slow_scan.{_FLAT_MODULES[chosen]}")
        return cast(Tensor, module.slow_scan_flat(tokens, lengths, outputs, weights))
    run = implementation(chosen)
    return torch.cat([run(part[None], weights, n)[0] for part, n in zip(parts, outputs, strict=True)])


def slow_scans(tokens_KLB: Tensor, weights: MambaWeights, backend: Backend = "auto") -> Tensor:
    """K blocks, whose parameters are stacked, over (K, L, B) tokens: each one's output at its newest tokens, (K, B).

    What a block answers hangs on its own row alone, to the bit. The twin ``cpu`` computes all in one call.
    """
    members = [MambaWeights(*each) for each in zip(*(weight.unbind() for weight in weights), strict=True)]
    check(tokens_KLB[0].T, members[0], 1)
    chosen = choose(backend, tokens_KLB.device.type)
    if chosen == "cpu":
        from fsg.ops.slow_scan import cpu

        return cpu.slow_scans(tokens_KLB, weights)
    run = implementation(chosen)
    return torch.stack([run(tokens.T, each, 1)[:, 0] for tokens, each in zip(tokens_KLB, members, strict=True)])


def check(tokens_BL: Tensor, weights: MambaWeights, outputs: int) -> None:
    """ValueError where the tokens do not fit the block."""
    if tokens_BL.dim() != 2:
        raise ValueError(f"slow_scan: tokens have shape {tuple(tokens_BL.shape)}, expected (sequences, tokens).")
    if weights.in_proj.shape[1] != 1:
        raise ValueError(f"slow_scan: the block reads tokens of width {weights.in_proj.shape[1]}, expected 1.")
    if tokens_BL.dtype not in (torch.float32, torch.float64) or tokens_BL.dtype != weights.D.dtype:
        raise ValueError(
            f"slow_scan: tokens are {tokens_BL.dtype}, parameters {weights.D.dtype}; expected float32 or float64 in both."
        )
    if not 1 <= outputs <= tokens_BL.shape[1]:
        length = tokens_BL.shape[1]
        raise ValueError(f"slow_scan: {outputs} outputs asked of {length} tokens, expected 1 to {length}.")


def implementation(name: str) -> Callable[[Tensor, MambaWeights, int], Tensor]:
    """The twin's ``slow_scan``; importing it is the first time its library is touched."""
    module = import_module(f"fsg.ops.slow_scan.{_MODULES[name]}")
    return cast(Callable[[Tensor, MambaWeights, int], Tensor], module.slow_scan)


@functools.cache
def choose(backend: Backend, device: str) -> str:
    """The twin that runs on a device type ("cpu", "cuda"); said once per process and choice."""
    if backend != "auto":
        missing = _missing(backend, device)
        if missing is not None:
            raise BackendUnavailable(f'slow_scan: backend "{backend}" cannot run here: {missing}')
        _log.info("slow_scan: backend %s on %s, as configured.", backend, device)
        return backend
    fast = "triton" if device == "cuda" else "cpu"
    missing = _missing(fast, device)
    chosen = fast if missing is None else "reference"
    reason = "the fastest here" if missing is None else f"{fast} cannot run here: {missing}"
    _log.info("slow_scan: backend %s on %s; %s", chosen, device, reason)
    return chosen


def _missing(backend: str, device: str) -> str | None:
    """What keeps a twin from running on the device, with what to do; None if nothing does."""
    if backend == "reference":
        return None
    if backend == "cpu":
        if device != "cpu":
            return f"the tokens are on {device}. Use triton there, or auto."
        return None if find_spec("numba") else "numba is not installed. pip install numba"
    if device != "cuda" and not (backend == "triton" and interpreted()):
        return f"it needs a CUDA device, the tokens are on {device}. Use cpu there, or auto."
    if backend == "triton":
        return None if find_spec("triton") else "triton is not installed. pip install triton"
    if find_spec("mamba_ssm") is None:
        return 'mamba-ssm is not installed. pip install --no-build-isolation "fsg[cuda]"'
    return None


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU."""
    import os

    return os.environ.get("TRITON_INTERPRET") == "1"
