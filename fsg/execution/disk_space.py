"""Room on the disk before work is given out: a study without room pauses, says so, and goes on by itself once there is some.

A worker trains one epoch for each request of the driver, so a driver that waits is a study that waits. The disk is asked
to set the reserve aside in earnest, because a quota shows nowhere else. A worker, the ledger or the search's journal that
meets a full disk all the same is tried again after the pause.
Proof: ``tests/execution/test_disk_space.py``, ``tests/faults/test_disk_pause.py``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from fsg.files import as_size, is_full, size_of
from fsg.record.folder import StudyFolder

LEDGER_BYTES = 16 * 2**20  # ledger, search journal, and checkpoints of a size not known yet
CHECKPOINTS = 4  # that a trial may add until the disk is asked again: last, previous, best, and one half-written
LOOK_SECONDS = 1.0
COST = 100  # times what asking took, at least, until the disk is asked again
LONGEST_WAIT = 60.0  # seconds, for a worker that was refused where the driver is not


class PauseInterrupted(Exception):
    """Ctrl-C, or SIGTERM, while a study waits for room."""


class DiskSpace:
    """Asks for room in a study's folder, and waits for it. ``interrupted``: a wait was ended by Ctrl-C.

    ``check`` is called before the disk is asked, and raises where the folder itself is gone.
    """

    def __init__(
        self,
        folder: StudyFolder,
        say: Callable[[str], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self._check = check
        self.interrupted = False
        self._say = say or _to_stderr
        self._checkpoint = max((size_of(path) for path in folder.checkpoints.glob("*/last.pt")), default=0)
        self._next = 0.0
        self._least = 0.0  # seconds that the next pause lasts, whatever the disk says then

    def wrote(self, checkpoint: Path) -> None:
        """A checkpoint that now exists: others will be as large."""
        self._checkpoint = max(self._checkpoint, size_of(checkpoint))

    def refused(self, times: int) -> None:
        """A worker was refused, ``times`` in a row: the next pause is made in any case, each twice as long."""
        self._least = max(self._least, min(LONGEST_WAIT, 2.0**times))

    def make_sure(self, running: int) -> float:
        """Wait for room for ``running`` trials; the seconds it took. Asks at most every second. PauseInterrupted on Ctrl-C."""
        if time.monotonic() < self._next and not self._least:
            return 0.0
        self._check()
        return self._wait(LEDGER_BYTES + CHECKPOINTS * max(1, running) * self._checkpoint)

    def refused_driver(self) -> None:
        """The ledger or the search journal was: wait a second at least, and until there is room. PauseInterrupted on Ctrl-C."""
        self._least = max(self._least, LOOK_SECONDS)
        self._wait(LEDGER_BYTES)

    def _wait(self, needed: int) -> float:
        if not self._least and self._has(needed):
            return 0.0
        least, self._least = self._least, 0.0
        began, said = time.monotonic(), False
        try:
            with _interruptible():
                while not (fits := self._has(needed)) or time.monotonic() < began + least:
                    if not fits and not said:
                        self._say(self._paused(needed))
                        said = True
                    time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            self.interrupted = True
            raise PauseInterrupted from None
        seconds = time.monotonic() - began
        if said:
            self._say(f"there is room in {self.folder.path} again; the study goes on after {seconds:.0f} s.")
        return seconds

    def _paused(self, needed: int) -> str:
        free = os.statvfs(self.folder.path)
        return (
            f"paused: no room in {self.folder.path}: {as_size(needed)} are needed for checkpoints and the ledger, "
            f"{as_size(free.f_bavail * free.f_frsize)} are free on that disk (a quota may allow less). Make space there: the "
            "study goes on by itself. Ctrl-C stops it, to go on later with fsg resume."
        )

    def _has(self, size: int) -> bool:
        """Whether the disk sets ``size`` bytes aside. True where it cannot say: a write will."""
        began = time.monotonic()
        try:
            with TemporaryFile(dir=self.folder.path) as file:  # without a name, so that a kill leaves nothing
                os.posix_fallocate(file.fileno(), 0, size)
            return True
        except OSError as error:
            return not is_full(error)
        finally:
            now = time.monotonic()
            self._next = now + max(LOOK_SECONDS, COST * (now - began))


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the wait at once: Ray would only note it for the end of its step, which waits for this one."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _to_stderr(sentence: str) -> None:
    print(f"fsg: {sentence}", file=sys.stderr, flush=True)
