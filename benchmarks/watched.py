"""A command and everything that it starts, watched: wall time, and the processor time of the whole tree.

Ray's workers are no children that anybody waits for, so their time is read while they run: every process is told by a mark in
its environment, four times a second. What a process does between the last look and its end is not counted.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

MARK = "FSG_WATCHED"
LOOK_SECONDS = 0.25
SECONDS_TO_STOP = 60.0


@dataclass
class Watched:
    """What a command took: seconds, processor seconds of all its processes, and what it said."""

    wall_s: float
    cpu_s: float
    said: str = ""
    by_process: dict[int, float] = field(default_factory=dict)


def watch(command: Sequence[str | Path], place: Path, until: Callable[[], bool] = lambda: False) -> Watched:
    """Run ``command`` in the folder ``place`` to its end, or to where ``until`` is true; then it is interrupted.

    SystemExit where it fails by itself.
    """
    mark, seen = uuid.uuid4().hex, {}
    environment = os.environ | {"OMP_NUM_THREADS": "1", MARK: mark}
    log = place / "watched.log"
    began = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            list(map(str, command)), cwd=place, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
        reached = False
        while process.poll() is None and not reached:
            seen |= _processor_seconds(mark)
            reached = until()
            time.sleep(0 if reached else LOOK_SECONDS)
        seen |= _processor_seconds(mark)
        wall = time.monotonic() - began
        if reached and process.poll() is None:
            _interrupt(process)
    said = log.read_text(encoding="utf-8", errors="replace")
    if not reached and process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} exited with {process.returncode}:\n{said[-3000:]}")
    return Watched(wall, sum(seen.values()), said, seen)


def holds_event(ledger: Path, *events: str) -> bool:
    """Whether a study's ledger has a line of one of these events."""
    with contextlib.suppress(OSError):
        content = ledger.read_bytes()
        return any(f'"event":"{event}"'.encode() in content for event in events)
    return False


def _processor_seconds(mark: str) -> dict[int, float]:
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                times = process.cpu_times()
                found[process.pid] = times.user + times.system
    return found


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    """As Ctrl-C, and once more where that takes long."""
    for each in (signal.SIGINT, signal.SIGINT, signal.SIGKILL):
        process.send_signal(each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(SECONDS_TO_STOP)
            return
