"""Which backend computes the slow-net's block, and the one signature they share.

``auto`` takes the fastest of fsg's own that this machine has and says once, on the ``fsg`` logger, what it took and why. One
asked for by name that cannot run raises BackendUnavailable with what to do. They are registered in ``fsg/catalogue/backends.py``,
a guest's by ``fsg.register("backend", ...)``; none is imported before it is needed.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor

from fsg.errors import BackendUnavailable
from fsg.ops.slow_scan.reference import MambaWeights
from fsg.parts import find_part, resolved

Scan = Callable[[Tensor, MambaWeights, int], Tensor]
_log = logging.getLogger("fsg")


def slow_scan(tokens_BL: Tensor, weights: MambaWeights, outputs: int = 1, backend: str = "auto") -> Tensor:
    """The whole block over B sequences of L scalar tokens: its output at the last ``outputs`` tokens, (B, outputs).

    Differentiable in the tokens and in every parameter; accumulates in the dtype of the tokens, float32 or float64.
    Raises ValueError for shapes that do not fit, BackendUnavailable for a twin that this machine cannot run.
    """
    check(tokens_BL, weights, outputs)
    chosen = choose(backend, tokens_BL.device.type)
    return implementation(chosen)(tokens_BL, weights, outputs)


def slow_scan_flat(
    tokens: Tensor, lengths: Sequence[int], outputs: Sequence[int], weights: MambaWeights, backend: str = "auto"
) -> Tensor:
    """As ``slow_scan``, over sequences of different lengths laid end to end: (sum of lengths,) -> (sum of outputs,).

    Each gives its last ``outputs``. A backend with a ``flat`` twin computes all in one call; the others have one per sequence.
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
    flat = find_part("backend", chosen).facts.get("flat")
    if flat is not None:
        return cast(Tensor, resolved(flat)(tokens, lengths, outputs, weights))
    run = implementation(chosen)
    return torch.cat([run(part[None], weights, n)[0] for part, n in zip(parts, outputs, strict=True)])


def slow_scans(tokens_KLB: Tensor, weights: MambaWeights, backend: str = "auto") -> Tensor:
    """K blocks, whose parameters are stacked, over (K, L, B) tokens: each one's output at its newest tokens, (K, B).

    What a block answers hangs on its own row alone, to the bit. A backend with a ``stacked`` twin computes all in one call.
    """
    members = [MambaWeights(*each) for each in zip(*(weight.unbind() for weight in weights), strict=True)]
    check(tokens_KLB[0].T, members[0], 1)
    chosen = choose(backend, tokens_KLB.device.type)
    stacked = find_part("backend", chosen).facts.get("stacked")
    if stacked is not None:
        return cast(Tensor, resolved(stacked)(tokens_KLB, weights))
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


def implementation(name: str) -> Scan:
    """The backend's ``slow_scan``; this is the first time its library is imported."""
    return cast(Scan, resolved(find_part("backend", name).build))


@functools.cache
def choose(backend: str, device: str) -> str:
    """The backend that runs on a device type ("cpu", "cuda"); said once per process and choice."""
    if backend != "auto":
        missing = find_part("backend", backend).fact("missing", device)
        if missing is not None:
            raise BackendUnavailable(f'slow_scan: backend "{backend}" cannot run here: {missing}')
        _log.info("slow_scan: backend %s on %s, as configured.", backend, device)
        return backend
    fast = "triton" if device == "cuda" else "cpu"
    missing = find_part("backend", fast).fact("missing", device)
    chosen = fast if missing is None else "reference"
    reason = "the fastest here" if missing is None else f"{fast} cannot run here: {missing}"
    _log.info("slow_scan: backend %s on %s; %s", chosen, device, reason)
    return chosen
