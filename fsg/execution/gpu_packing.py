"""How much of a machine a trial gets: as asked for, packed by measured memory, or alone where memory was short.

With ``--gpus-per-trial auto`` the first trial of each size has a whole GPU; once its first epoch has shown what it needs, it
and all others of its size get equal shares that hold the peak and some head-room. Shares are Ray's bookkeeping: nothing
keeps a trial from taking more, so one that runs out of memory runs again alone. Proof: ``tests/execution/test_gpu_packing.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fsg.config import TrialConfig, digest
from fsg.record.ledger import TrialRecord

HEADROOM = 0.2  # of the peak: allocators fragment, and a later epoch may need a little more
MOST = 16  # trials on one GPU


def share(peak: float, capacity: float, headroom: float = HEADROOM) -> float:
    """The part of a GPU for a trial: 1/k, where k trials of that peak and head-room fit; never more than a whole one."""
    if peak <= 0 or capacity <= 0:
        return 1.0
    fit = min(MOST, math.floor(capacity / (peak * (1 + headroom))))
    return 1.0 if fit < 2 else math.floor(1e4 / fit) / 1e4  # Ray counts in steps of 0.0001


def size_of(config: TrialConfig) -> str:
    """Equal for trials that need the same memory: same network, batch, precision and estimator, whatever their rates."""
    data = config.model_dump(mode="json")
    decides = {name: data[name] for name in ("model", "quantizer", "gradient", "dtype", "autocast", "evaluate")}
    decides = {name: _without_rates(part) for name, part in decides.items()}
    return digest(decides | {"data": [config.data.name, config.data.batch_size], "optimizer": config.optimizer.name})


def _without_rates(part: Any) -> Any:
    """Sizes are whole numbers, switches and names; what is a fraction is a rate or a weight."""
    if isinstance(part, Mapping):
        return {name: _without_rates(value) for name, value in part.items() if not isinstance(value, float)}
    return part


class Packing:
    """What each trial gets, as Ray counts it. ``auto``: GPUs by measured memory; ``whole`` is what a node has at most."""

    def __init__(
        self, cpus: float, gpus: float, auto: bool, whole: Mapping[str, float], records: Mapping[str, TrialRecord]
    ) -> None:
        self._cpus, self._gpus, self._auto, self._whole = cpus, gpus, auto, whole
        self._peaks: dict[str, tuple[int, int]] = {}
        self._alone: set[str] = set()
        for key, record in records.items():
            if any(retry["cause"] == "memory" for retry in record.retries):
                self._alone.add(key)
            if record.memory is not None:
                self.measured(TrialConfig.model_validate(record.config), *record.memory)

    def measured(self, config: TrialConfig, peak: int, capacity: int) -> None:
        """What a trial of that size needed; the largest counts."""
        size = size_of(config)
        if peak > self._peaks.get(size, (0, 0))[0]:
            self._peaks[size] = (peak, capacity)

    def ran_out(self, key: str) -> None:
        """From now on this trial has a node's processors, and a whole GPU if it has any, to itself."""
        self._alone.add(key)

    def resources(self, key: str, config: TrialConfig, asked: Mapping[str, float] | None = None) -> dict[str, float]:
        """``{"cpu": ..., "gpu": ...}``, and what else was ``asked`` for; None: as all."""
        asked = {"cpu": self._cpus, "gpu": self._gpus} if asked is None else dict(asked)
        if key in self._alone:
            gpu = max(asked["gpu"], 1.0) if asked["gpu"] else 0.0
            return asked | {"cpu": max(asked["cpu"], self._whole.get("CPU", 0)), "gpu": gpu}
        if self._auto:
            return asked | {"gpu": share(*self._peaks.get(size_of(config), (0, 0)))}
        return asked
