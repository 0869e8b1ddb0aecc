"""Notices that Ray is no more: Tune would wait for ever for a place for its trials, or Ray end the process in its own words.

That is so on one machine whose raylet or GCS was killed, by hand or by a system short of memory (seen with Ray 2.60), and on a
cluster that lost its last host. None of them comes back. Proof: ``tests/faults/test_ray_liveness.py`` and ``test_ray_killed.py``.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from ray.tune import Callback
from ray.tune.experiment import Trial

from fsg.errors import FsgError
from fsg.ray_engine.snapshots import NotInSnapshots

LOOK_SECONDS = 5.0  # between two questions, of 2 to 50 ms each
PATIENCE = 15.0  # seconds without a host; on a cluster another may be joining
WHY = "from outside or because the machine was out of memory. Everything is recorded; go on with fsg resume."


class RayLiveness(NotInSnapshots, Callback):
    """Asks after Ray in Tune's loop, and ends the run where it is gone. ``error``: that it did.

    ``living``: how many hosts Ray counts on. ``ended``: whether the raylet was started here and has ended.
    """

    def __init__(
        self, living: Callable[[], int] | None = None, ended: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.error: FsgError | None = None
        self._living, self._ended, self._clock = living or living_hosts, ended or Ended("raylet"), clock
        self._next = self._heard = clock()

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """FsgError where the raylet of this machine has ended, and after ``PATIENCE`` seconds without a host."""
        now = self._clock()
        if now < self._next:
            return
        if self._ended():
            self._end(f"Ray's raylet on this machine was killed, {WHY}")
        if now - self._next > PATIENCE or self._living():  # or the driver itself stood still
            self._heard = now
        self._next = now + LOOK_SECONDS
        if now - self._heard > PATIENCE:
            self._end(f"Ray has no host left: its raylet was killed, {WHY}")

    def _end(self, what: str) -> None:
        self.error = FsgError(what)
        raise self.error


@contextmanager
def explaining_gcs() -> Iterator[None]:
    """Say on stderr that the GCS that was started here has ended, which Ray ends this process for, within 15 seconds.

    A thread says it: by then the main one waits for Ray and cannot be woken.
    """
    over, ended = threading.Event(), Ended("gcs_server")

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if ended():
                print(f"fsg: Ray's GCS on this machine was killed, {WHY}", file=sys.stderr, flush=True)
                return

    thread = threading.Thread(target=look, name="explaining_gcs", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def living_hosts() -> int:
    """How many Ray counts on; 1 where it does not answer, which Ray itself takes for an end soon."""
    import ray

    try:
        return sum(node["Alive"] for node in ray.nodes())
    except Exception:  # of Ray's a dozen kinds
        return 1


class Ended:
    """Whether the process of that name which this one has started, and which lives when this is made, has ended since.

    Nobody asks for its exit status, so it stays to be seen. False for ever where there is none: Ray was started elsewhere.
    """

    def __init__(self, name: str) -> None:
        self._process = next(filter(lambda child: _is(child, name), psutil.Process().children()), None)

    def __call__(self) -> bool:
        """Yes or no."""
        try:
            return self._process is not None and self._process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True


def _is(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
