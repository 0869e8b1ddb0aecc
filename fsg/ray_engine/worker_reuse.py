"""Which waiting trial gets a worker that has become free: one that has none of its own on the way.

Ray Tune keeps the worker of a trial that ended for the next one. Its FIFO scheduler hands it to the oldest trial that waits;
that one's own worker may be about to come up, and is then thrown away, and another is started for the next trial. Where a
trial takes less time than a worker's start (some five seconds, for torch), no second worker ever comes up: 24 trials of one
second on three hosts all ran on the first. Proof: ``tests/ray_engine/test_worker_reuse.py``.
"""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler


class WorkerReuse(FIFOScheduler):
    """First in, first out, but for workers that are starting. ``slots``: how many trials run side by side."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__()
        self.slots = slots
        self._number: dict[str, int] = {}  # by Ray's id of the trial

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Its place in the queue."""
        self._number[trial.trial_id] = len(self._number)

    def choose_trial_to_run(self, tune_controller: Any, **options: Any) -> Trial | None:
        """The trial that takes a free worker; None, and Ray takes any, where all that wait have one on the way.

        With R of the slots running and one just become free, the ``slots - R - 1`` trials that have waited longest are those
        whose own workers are starting: Ray asks for workers in the order in which trials come.
        """
        live = tune_controller.get_live_trials()
        waiting = sorted((t for t in live if t.status == Trial.PENDING), key=lambda t: self._number.get(t.trial_id, 0))
        starting = max(0, self.slots - sum(t.status == Trial.RUNNING for t in live) - 1)
        return waiting[starting] if starting < len(waiting) else None
