"""Notices a trial from which nothing comes any more, keeps what its threads were doing, and ends its process.

Ray sees a process that died; one that waits for ever, or was stopped, it does not. Time is the driver's monotonic clock, so a
clock that is set does not matter; a driver that was itself stopped for a while blames nobody for it.
Proof: ``tests/ray_engine/test_hang_monitor.py``.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, Protocol

from ray.tune import Callback
from ray.tune.experiment import Trial

from fsg.execution.disk_space import DiskSpace
from fsg.execution.reports import TrialEnd, assignment_of
from fsg.execution.retry import Limits
from fsg.execution.trial_run import STACKS
from fsg.files import size_of
from fsg.ray_engine.snapshots import NotInSnapshots

DRIVER_GAP = 5.0  # seconds between two looks after which it was the driver that stood still
DUMP_SECONDS = 1.0  # at most, for the stacks to be written before the process is killed
LOOK_SECONDS = 0.01
USUAL = 501  # so many epochs tell how long one takes; their median is looked for in every step


class Blames(Protocol):
    """Who writes down why a trial's worker ended."""

    def blame(self, key: str, end: TrialEnd) -> None: ...  # noqa: D102


class HangMonitor(NotInSnapshots, Callback):
    """Hears every result, and looks at the clock, and at ``disk_space``, once in every step of Ray's loop."""

    def __init__(
        self,
        recorder: Blames,
        limits: Limits,
        disk_space: DiskSpace | None = None,
        clock: Callable[[], float] = time.monotonic,
        end: Callable[[Trial], None] | None = None,
    ) -> None:
        self._recorder, self._limits, self._disk_space = recorder, limits, disk_space
        self._clock, self._end = clock, end or end_worker
        self._heard: dict[str, float] = {}  # by Ray's name: when something last came from it
        self._begun: set[str] = set()
        self._epochs: deque[float] = deque(maxlen=USUAL)  # seconds each took
        self._looked = clock()

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """An attempt begins; its first epoch has not been."""
        self._heard[trial.trial_id] = self._clock()
        self._begun.discard(trial.trial_id)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch. The first of an attempt is no measure: data were loaded, or it is the checkpoint's."""
        now, name = self._clock(), trial.trial_id
        if name in self._begun:
            self._epochs.append(now - self._heard[name])
        self._begun.add(name)
        self._heard[name] = now

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """No longer watched."""
        self._heard.pop(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """No longer watched."""
        self._heard.pop(trial.trial_id, None)

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Before work is given out, there is room for it; nobody is blamed for the wait."""
        if self._disk_space is not None:
            self.excuse(self._disk_space.make_sure(sum(trial.status == Trial.RUNNING for trial in trials)))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """End whoever was silent too long."""
        now = self._clock()
        if now - self._looked > DRIVER_GAP:
            self.excuse(now - self._looked)
        self._looked = now
        if not self._heard:
            return
        longest = [self._limits.silence(self._epochs, begun) for begun in (False, True)]
        late = {n for n, heard in self._heard.items() if now - heard > longest[n in self._begun]}
        for trial in trials if late else ():
            if trial.trial_id in late:
                self._blame(trial, now - self._heard[trial.trial_id])
                self._heard[trial.trial_id] = now
                self._end(trial)

    def excuse(self, seconds: float) -> None:
        """Time in which nothing could come."""
        self._heard = {name: heard + seconds for name, heard in self._heard.items()}
        self._looked += seconds

    def _blame(self, trial: Trial, silent: float) -> None:
        assignment = assignment_of(trial)
        stacks = assignment.checkpoint.with_name(STACKS)
        usual = f", where an epoch takes {median(self._epochs):.1f} s" if self._epochs else ""
        reason = f"nothing came from it for {silent:.0f} s{usual}; what its threads were doing: {stacks}"
        self._recorder.blame(assignment.key, TrialEnd("hang", reason))


def end_worker(trial: Trial) -> None:
    """Have the process of a trial write its stacks and kill it, on whatever node it is. Does not wait."""
    import ray

    place = trial.temporary_state.location
    if not place.pid:
        return
    stacks = assignment_of(trial).checkpoint.with_name(STACKS)
    task = ray.remote(num_cpus=0, max_retries=0, resources={f"node:{place.hostname}": 0.001})(dump_and_kill)
    task.remote(place.pid, stacks)


def dump_and_kill(pid: int, stacks: Path) -> None:
    """SIGUSR1 is what a worker writes its stacks for; SIGCONT, in case it was stopped and hears nothing.

    One that was stopped trains on as soon as it is continued, so it is killed as soon as ``stacks`` no longer grows.
    """
    with suppress(OSError):
        if b"ray::" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return  # it is gone, and its number is another's
    with suppress(ProcessLookupError):
        before = size = size_of(stacks)
        os.kill(pid, signal.SIGUSR1)
        os.kill(pid, signal.SIGCONT)
        deadline = time.monotonic() + DUMP_SECONDS
        while time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)
            last, size = size, size_of(stacks)
            if before < size == last:
                break
        os.kill(pid, signal.SIGKILL)
