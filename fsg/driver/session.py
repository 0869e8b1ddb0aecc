"""What every driver of a study does around it: hold its lock, look after what was damaged, hear SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.execution.process import as_ctrl_c
from fsg.record.driver_lock import StudyLock
from fsg.report.plain import say

if TYPE_CHECKING:
    from rich.console import Console


@contextmanager
def driving(folder: Path, console: Console) -> Iterator[StudyLock]:
    """The study in ``folder`` is ours. StudyError if another process drives it."""
    with StudyLock(folder) as lock, _terminated_as_interrupted():
        if lock.taken_over:
            say(console, lock.taken_over, "yellow")
        yield lock


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM stops a driver as Ctrl-C does: cleanly, with everything recorded, to go on later."""

    if threading.current_thread() is not threading.main_thread():  # where no signal can be heard
        yield
        return

    before = signal.signal(signal.SIGTERM, as_ctrl_c)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
