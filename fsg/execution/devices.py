"""What a trial computes on, as its maker names it: tables say it, prices go by it."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

OF_CLUSTER = {"cpu": "CPU of the cluster", "cuda": "GPU of the cluster"}  # until a trial says what it was given


def device_name(device: torch.device | str) -> str:
    """The model of a GPU of this machine, or of its processor with how many cores: ``cpu``, ``cuda``, ``cuda:1``."""
    if str(device).startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device) if torch.cuda.is_available() else "GPU"
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else []
    return f"{models[0].strip() if models else platform.processor() or 'CPU'}, {os.cpu_count()} cores"
