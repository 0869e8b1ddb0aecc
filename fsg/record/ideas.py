"""The log of ideas that were tried: one look at one idea a line, on disk before anyone is told what it says.

The first line says which file this is and at which false discovery rate it is read; every other one is a look. A line is a JSON
object with sorted keys whose ``crc`` is the CRC-32 of the line without that item. Lines are added at the end alone, under a lock,
for what an idea may claim follows from all lines before it: one that is damaged, or not ours, is refused with its number, and
nothing is guessed. A last line without its newline was cut off by a kill; it was never told, and the next look moves it aside.
Proof: ``tests/record/test_idea_log.py``.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from fsg.config import canonical_json
from fsg.errors import DiskFull, StudyError
from fsg.files import is_full, keep_aside, sync_folder
from fsg.record.ledger import with_crc

FORMAT = 1
_HEAD = frozenset({"event", "format", "rate", "time"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Idea:
    """An arm of a study, measured against another by a metric."""

    study: str
    study_id: str
    arm: str
    against: str
    metric: str


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of an idea: over ``seeds`` paired seeds the difference ``effect``, and its ``p`` that holds at every look.

    ``better``: whether the difference is in the metric's good direction.
    """

    idea: Idea
    seeds: int
    effect: float
    p: float
    better: bool


@dataclass(frozen=True, slots=True)
class IdeaLog:
    """The file ``path``. ``rate``: the false discovery rate of a log that begins."""

    path: Path
    rate: float

    def read(self) -> tuple[float, list[Look]]:
        """The log's rate and its looks, in order; none where there is no file. StudyError names a line that is not whole."""
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return self.rate, []
        return self._parsed(data)

    def add(self, look: Look, judge: Callable[[float, list[Look]], T]) -> T:
        """Write ``look`` at the end, and return what ``judge`` makes of the rate and all looks, this one the last.

        One process at a time. StudyError as ``read``, and where the disk refuses; the log is then as it was.
        """
        with self._locked() as file:
            whole = self._whole(file)
            rate, looks = self._parsed(whole)
            said = judge(rate, [*looks, look])
            lines = [] if whole else [{"event": "ideas", "format": FORMAT, "rate": self.rate, "time": time.time()}]
            lines.append({"event": "look", "time": time.time(), **asdict(look)})
            self._append(file, "".join(canonical_json(with_crc(line)) + "\n" for line in lines).encode())
            return said

    @contextmanager
    def _locked(self) -> Iterator[int]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if new:
                sync_folder(self.path.parent)
            yield file
        finally:
            os.close(file)

    def _whole(self, file: int) -> bytes:
        """The bytes of its whole lines; what follows is copied aside, and only then cut off."""
        data = self.path.read_bytes()
        keep = data.rfind(b"\n") + 1
        if keep < len(data):
            self._parsed(data[:keep])  # a file that is not ours is left as it is
            keep_aside(self.path, "torn", data[keep:])
            os.ftruncate(file, keep)
        return data[:keep]

    def _append(self, file: int, data: bytes) -> None:
        before = os.fstat(file).st_size
        try:
            left = data
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)
        except OSError as error:
            os.ftruncate(file, before)
            kind = DiskFull if is_full(error) else StudyError
            raise kind(f"{self.path}: cannot be written ({error.strerror}); nothing was added to it.") from None

    def _parsed(self, data: bytes) -> tuple[float, list[Look]]:
        *lines, _cut_off = data.split(b"\n")
        if not lines:
            return self.rate, []
        head = self._line(1, lines[0])
        if head.keys() != _HEAD or head["event"] != "ideas":
            raise self._refused(1, "it is not the first line of a log of ideas")
        if head["format"] != FORMAT:
            raise self._refused(1, f"its format is {head['format']!r}, this version of fsg reads {FORMAT}")
        return head["rate"], [self._look(number, line) for number, line in enumerate(lines[1:], start=2)]

    def _look(self, number: int, line: bytes) -> Look:
        found = self._line(number, line)
        wanted = {"event", "time", *(field.name for field in fields(Look))}
        if found.get("event") != "look" or found.keys() != wanted:
            raise self._refused(number, "it is no look at an idea")
        return Look(Idea(**found["idea"]), found["seeds"], found["effect"], found["p"], found["better"])

    def _line(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            found = json.loads(line)
            crc = found.pop("crc")
            if with_crc(found)["crc"] != crc:
                raise self._refused(number, "it does not match its crc")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise self._refused(number, f"it is no line of a log of ideas ({type(error).__name__})") from None
        return dict(found)

    def _refused(self, number: int, why: str) -> StudyError:
        return StudyError(
            f"{self.path}:{number}: {why}. What an idea may claim follows from every line before it, so nothing was read or "
            "added. Restore the file from a copy, or begin another log."
        )
