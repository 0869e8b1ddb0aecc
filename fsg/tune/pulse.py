"""Notices that Ray has no host left: Tune would wait for ever for a place for its trials, without a word.

That is so on one machine whose raylet was killed, by hand or by a system short of memory (seen with Ray 2.60). A raylet that
Ray has given up does not come back. Proof: ``tests/faults/test_pulse.py`` and ``test_raylet.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial

from fsg.errors import FsgError
from fsg.tune.snapshots import NotInSnapshots

LOOK_SECONDS = 5.0  # between two questions, of 2 to 50 ms each
PATIENCE = 15.0  # seconds without a host; on a cluster another may be joining


class Pulse(NotInSnapshots, Callback):
    """Asks for living hosts in Ray's loop, and ends the run where there is none. ``error``: that it did."""

    def __init__(self, living: Callable[[], int] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.error: FsgError | None = None
        self._living, self._clock = living or living_hosts, clock
        self._next = self._heard = clock()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """FsgError after ``PATIENCE`` seconds without a host."""
        now = self._clock()
        if now < self._next:
            return
        if now - self._next > PATIENCE or self._living():  # or the driver itself stood still
            self._heard = now
        self._next = now + LOOK_SECONDS
        if now - self._heard > PATIENCE:
            self.error = FsgError(
                "Ray has no host left: its raylet was killed, from outside or because the machine was out of memory. "
                "Everything is recorded; go on with fsg resume."
            )
            raise self.error


def living_hosts() -> int:
    """How many Ray counts on; 1 where it does not answer, which Ray itself takes for an end soon."""
    import ray

    try:
        return sum(node["Alive"] for node in ray.nodes())
    except Exception:  # of Ray's a dozen kinds
        return 1
