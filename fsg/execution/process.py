"""The process that a trial runs in: asked to leave, and asked what it is doing.

Proof: ``tests/faults/test_strikes.py`` and ``test_ray_killed.py``.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any


def as_ctrl_c(number: int, frame: FrameType | None) -> None:
    """SIGTERM as Ctrl-C would be heard; also by a program that ignores Ctrl-C, as one that a script has begun with ``&`` does."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM are heard afterwards, once: what happens here must come to its end. Elsewhere than in main as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard: list[int] = []
    before = {
        number: signal.signal(number, lambda n, frame: heard.append(n)) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if heard:
            signal.raise_signal(heard[0])


class Leaving:
    """Whether this process was asked to go, by SIGTERM: the step under way, or one that comes soon, hands its trial back.

    A second signal, or the first where no step comes within ``GRACE`` seconds, does what it did before.
    """

    GRACE = 2.0

    def __init__(self) -> None:
        self._asked = self._busy = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():  # elsewhere it is never asked
            self._before = signal.signal(signal.SIGTERM, self._heard)

    def __call__(self) -> bool:
        """Yes or no."""
        return self._asked

    def leave(self) -> None:
        """Ask, and end the process ``GRACE`` seconds after the step that is under way."""
        self._asked = True
        time.sleep(self.GRACE)
        while self._busy:
            time.sleep(self.GRACE)
        os._exit(1)

    def __enter__(self) -> None:
        self._busy = True

    def __exit__(self, *error: object) -> None:
        self._busy = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if not self._asked:
            self._asked = True
            if not self._busy:
                timer = threading.Timer(self.GRACE, self._unless_busy)
                timer.daemon = True
                timer.start()
        elif callable(self._before):
            self._before(number, frame)
        else:
            raise SystemExit(1)

    def _unless_busy(self) -> None:
        if not self._busy:
            os.kill(os.getpid(), signal.SIGTERM)


class Stacks:
    """Where SIGUSR1 writes what every thread of this process is doing, as it is asked of a trial that hangs.

    The file must be open beforehand: a process that hangs opens nothing. One that stayed empty is removed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(exist_ok=True)  # below the study's folder, which is there or gone for good
        self._file = path.open("ab")
        faulthandler.register(signal.SIGUSR1, file=self._file, all_threads=True)

    def close(self) -> None:
        """Let go of the file."""
        faulthandler.unregister(signal.SIGUSR1)
        self._file.close()
        with suppress(OSError):
            if self.path.stat().st_size == 0:
                self.path.unlink()
