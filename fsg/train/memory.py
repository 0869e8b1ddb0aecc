"""How much memory a trial needs, of how much there is, where it computes. Proof: ``tests/train/test_memory.py``."""

from __future__ import annotations

import ctypes
import functools
import os
import resource

import torch

# glibc's numbers for mallopt, and what we set: the largest block that is taken from the heap (more is not allowed), what may lie
# free at its end, and by how much it grows.
_MALLOPT = {-3: 32 * 2**20, -1: 512 * 2**20, -2: 64 * 2**20}


@functools.cache
def keep_memory() -> None:
    """Have this process keep freed memory for the next step instead of giving it back to the system, where libc can be told so.

    Left alone, glibc gives blocks of some megabytes back as soon as they are free, and each step has them cleared page by page: a
    fused step of 12 digits_cnn took 25 ms so and 15 ms otherwise (torch 2.15, 2026-11-28). No number changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another libc
        return
    for parameter, value in _MALLOPT.items():
        mallopt(parameter, value)


def watch_memory(device: torch.device) -> None:
    """The peak of what follows counts; what an earlier trial of this process needed does not."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(device: torch.device, alone: bool) -> tuple[int, int]:
    """Peak and capacity in bytes: of a GPU, or of the machine's memory for a process on the CPU, since it began.

    torch counts what it reserved. The rest that a process takes of a GPU (its context, libraries) is seen only from outside,
    and is this process's only while it is ``alone`` there.
    """
    if device.type != "cuda":
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pages
    free, total = torch.cuda.mem_get_info(device)
    beside = max(0, total - free - torch.cuda.memory_reserved(device)) if alone else 0
    return torch.cuda.max_memory_reserved(device) + beside, total
