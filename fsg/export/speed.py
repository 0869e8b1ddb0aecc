"""How long an image takes in each of several ways to run a network: measured by turns, the median counts.

Proof: ``tests/export/test_check.py``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

BATCHES = (1, 32)
_LEAST, _MOST, _SECONDS = 3, 15, 2.0  # rounds for each size of batch, and when to stop


def milliseconds(ways: Mapping[str, Callable[[Tensor], object]], images: Tensor) -> dict[str, dict[int, float]]:
    """Name -> batch size -> milliseconds for a batch, one after the other in each round, after one round that is not counted."""
    found: dict[str, dict[int, float]] = {name: {} for name in ways}
    with torch.no_grad():
        for batch in BATCHES:
            part = images[:1].expand(batch, -1, -1, -1).contiguous() if len(images) < batch else images[:batch]
            times: dict[str, list[float]] = {name: [] for name in ways}
            began = time.perf_counter()
            for turn in range(_MOST + 1):
                if turn > _LEAST and time.perf_counter() - began > _SECONDS:
                    break
                for name, run in ways.items():
                    start = time.perf_counter()
                    run(part)
                    if turn:
                        times[name].append(1000 * (time.perf_counter() - start))
            for name in ways:
                found[name][batch] = statistics.median(times[name])
    return found
