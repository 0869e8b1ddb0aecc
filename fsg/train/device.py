"""Where a trial computes."""

from __future__ import annotations

import os

import torch

from fsg.errors import BackendUnavailable


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; BackendUnavailable where CUDA is asked for and missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= int(name.partition(":")[2] or 0):
            raise BackendUnavailable(
                f'device is "{name}", but {count} CUDA devices are visible. Use device: cpu or auto.'
            )
    return torch.device(name)


def make_deterministic(device: torch.device, deterministic: bool) -> None:
    """Have CUDA compute the same bits in every run of this process, or as fast as it can. The CPU is deterministic as it is."""
    if device.type != "cuda":
        return
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.deterministic = deterministic
    torch.backends.cudnn.benchmark = not deterministic
