"""What became of a trial that did not end by itself: why, and whether it runs again. Pure functions; no Ray, no clock.

A cause is a word that a reason in the ledger begins with. How often a trial is tried again is counted per cause and without
progress: an epoch that was recorded in between begins the count anew, so a trial of a week on machines that come and go is
not given up, and one that dies at the same place again and again is. Proof: ``tests/execution/test_retry.py``.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, cast

from fsg.errors import CheckpointCorrupt, DataError, FsgError, TrialDiverged, TrialPreempted
from fsg.execution.reports import Cause, TrialEnd
from fsg.files import is_full

Action = Literal["retry", "fail", "stop"]

# Tries after the first. An error of the code or a divergence comes again, because a trial is deterministic.
RETRIES: Mapping[Cause, int] = {
    "lost": 3,  # a worker or its node went away
    "preempted": 20,  # it was asked to leave, and saved its work first
    "memory": 1,  # alone, on whatever a node has
    "hang": 2,
    "data": 1,  # perhaps another node has it
    "storage": 3,  # a network share that stumbled
    "packed": 1,  # its memory is known now: it moves to a smaller share of its GPU
}
_PASSING = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EAGAIN", "EINTR", "ENOTCONN", "ECONNRESET", "EHOSTDOWN", "EHOSTUNREACH",
                 "ENETUNREACH", "EREMOTEIO", "EMFILE", "ENFILE", "ENOENT")
    if hasattr(errno, name)
}  # fmt: skip
_LASTING = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENODEV, errno.ENXIO}  # until somebody has mended the storage


@dataclass(frozen=True)
class Limits:
    """How much is put up with. Times in seconds.

    A trial hangs when nothing has come from it for ``hang_factor`` times the study's median epoch, and at least
    ``hang_least``; until its first epoch, which loads data and compiles, for ``hang_first``.
    """

    retries: Mapping[Cause, int] = field(default_factory=lambda: RETRIES)
    hang_factor: float = 20
    hang_least: float = 60
    hang_first: float = 1800

    def silence(self, epochs: Iterable[float], begun: bool) -> float:
        """How long a trial may be silent, from the seconds that the study's epochs took; ``begun``: it has had one."""
        known = list(epochs)
        if not begun or not known:
            return self.hang_first
        return max(self.hang_least, self.hang_factor * median(known))


class TrialEnded(Exception):
    """What a worker raises to give a trial up. Ray hands on its text, which is that of a ``TrialEnd``, on one line."""


def decide(cause: Cause, epoch: int, earlier: Iterable[Mapping[str, Any]], limits: Limits | None = None) -> Action:
    """What to do with a trial that ended for ``cause`` after ``epoch`` recorded epochs.

    ``earlier``: its interruptions so far, each with ``cause`` and ``epoch``. Memory that was short is counted in all: the
    trial has had a whole machine to itself since.
    """
    if cause in ("user", "unwritable"):  # nothing gets better by trying again, until somebody has mended it
        return "stop"
    if cause == "disk":  # the study pauses until there is room (disk_space.py)
        return "retry"
    allowed = (limits or Limits()).retries.get(cause, 0)
    same = [one for one in earlier if one["cause"] == cause and (cause == "memory" or one["epoch"] == epoch)]
    if len(same) < allowed:
        return "retry"
    return "stop" if cause == "storage" else "fail"  # a disk that stays broken is no fault of the trial's


def cause_of(error: BaseException) -> Cause:
    """The cause that an exception in a worker stands for."""
    if isinstance(error, TrialPreempted):
        return "preempted"
    if isinstance(error, TrialDiverged):
        return "diverged"
    if isinstance(error, DataError):
        return "data"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch.cuda's
        return "memory"
    if isinstance(error, OSError) and is_full(error):
        return "disk"
    if isinstance(error, OSError) and error.errno in _LASTING:
        return "unwritable"
    if isinstance(error, FsgError) and error.exit_code == 2:
        return "user"
    if isinstance(error, OSError) and error.errno in _PASSING:
        return "storage"
    if isinstance(error, CheckpointCorrupt):
        return "lost"  # with its node's disk, perhaps: another may have it
    if "CUDA error" in str(error) or "uncorrectable ECC" in str(error):
        return "lost"  # the device, of which nothing works any more in this process
    return "crashed"


def end_of(error: BaseException) -> TrialEnd:
    """What an attempt ended by, that ended with this exception."""
    first = (str(error).strip().splitlines() or [""])[0]
    named = first if isinstance(error, FsgError) else f"{type(error).__name__}: {first}"
    return TrialEnd(cause_of(error), named)


def as_ended(error: BaseException) -> TrialEnded:
    """The same, for the way to the driver."""
    return TrialEnded(str(end_of(error)))


def read_crash(text: str) -> TrialEnd:
    """Cause and reason from what Ray kept of a failure: a worker's last words, or who ended it."""
    said = re.findall(rf"{TrialEnded.__name__}(?:\([^)]*\))?: (\w+): (.*)", text)
    if said:
        cause, reason = said[-1]
        return TrialEnd(cast(Cause, cause), reason)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if "error raised in its creation task" in text:  # it could not be set up, as where an import fails; it comes again
        return TrialEnd("crashed", lines[-1])
    memory = re.search(r"running low on memory.*? was (\S+) used / (\S+) limit", text, re.DOTALL)
    if memory:
        return TrialEnd("memory", f"none was left ({memory[1]} of {memory[2]} used), so Ray ended the worker.")
    if re.search(r"node .{0,200}?(?:has been marked dead|died|is dead|was terminated)|node failure", text, re.I | re.S):
        return TrialEnd("lost", "its node went away.")
    if re.search(r"ActorUnavailableError|The actor .{0,60}is (?:temporarily )?unavailable", text):
        return TrialEnd("lost", "its node could not be reached.")  # nobody knows yet whether it is dead
    if re.search(r"worker process has died|The actor .{0,60}(?:is dead|died)|ActorDiedError", text):
        return TrialEnd("lost", "its process died: killed from outside, out of memory, or a fault below Python.")
    return TrialEnd("crashed", lines[-1] if lines else "the worker ended without a word")
