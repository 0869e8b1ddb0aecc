"""What Ray Tune's own snapshots hold of us: nothing. The ledger, the checkpoints and the searcher's journal are the memory."""

from __future__ import annotations

from typing import Any


class NotInSnapshots:
    """Pickles as an empty object: locks, files and Optuna studies stay with the driver."""

    def __getstate__(self) -> dict[str, Any]:
        return {}
