"""Backends of the slow-net's block: what computes it, and what keeps it from a device. ``auto`` takes the fastest.

``missing`` of each: (device type) -> why it cannot run there, with what to do, or None. None imports what it asks for.
"""

from __future__ import annotations

import os
from importlib.util import find_spec

from fsg.parts import register


def interpreted() -> bool:
    """Whether Triton's kernels run in its interpreter, on the CPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _cpu(device: str) -> str | None:
    if device != "cpu":
        return f"the tokens are on {device}. Use triton there, or auto."
    return None if find_spec("numba") else "numba is not installed. pip install numba"


def _triton(device: str) -> str | None:
    if device != "cuda" and not interpreted():
        return _needs_cuda(device)
    return None if find_spec("triton") else "triton is not installed. pip install triton"


def _mamba_ssm(device: str) -> str | None:
    if device != "cuda":
        return _needs_cuda(device)
    if find_spec("mamba_ssm"):
        return None
    return 'mamba-ssm is not installed. pip install --no-build-isolation "fsg[cuda]"'


def _needs_cuda(device: str) -> str:
    return f"it needs a CUDA device, the tokens are on {device}. Use cpu there, or auto."


_HOME = "fsg.ops.slow_scan"
register("backend", "reference", f"{_HOME}.reference:slow_scan")
register(
    "backend",
    "cpu",
    f"{_HOME}.cpu:slow_scan",
    missing=_cpu,
    flat=f"{_HOME}.cpu_flat:slow_scan_flat",
    stacked=f"{_HOME}.cpu:slow_scans",
)
register("backend", "triton", f"{_HOME}.triton:slow_scan", missing=_triton, flat=f"{_HOME}.triton_flat:slow_scan_flat")
register("backend", "mamba_ssm", f"{_HOME}.mamba:slow_scan", missing=_mamba_ssm)
