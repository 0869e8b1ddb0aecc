"""A ledger that grows, read piece by piece: for all that follows a study beside its driver, or looks again from time to time.

A last line without its newline is being written, or was cut off: it is left for the next look. A damaged line is passed over
and named; ``repair.py`` sets it aside. Proof: ``tests/record/test_follow.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from fsg.record.ledger import Event, parse_line


class LedgerFollower:
    """Reads the file ``path``, which need not exist yet, from where it left off.

    ``damaged``: line number and reason of each line that was passed over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rewind()

    def rewind(self) -> None:
        """Begin again at the file's start."""
        self.damaged: list[tuple[int, str]] = []
        self._offset = self._counted = self._left = self._line = 0

    def behind(self) -> int:
        """How many whole lines follow what has been read; each byte is looked at once."""
        with self._open(self._counted) as file:
            while data := file.read(1 << 20):
                self._left += data.count(b"\n")
                self._counted += len(data)
        return self._left

    def read(self, most: int | None = None) -> list[Event]:
        """The events of the next ``most`` whole lines, of all for None; [] at the end. NewerFormat as the ledger."""
        count = self.behind() if most is None else min(most, self.behind())
        events = []
        with self._open(self._offset) as file:
            for _ in range(count):
                line = file.readline()
                self._offset += len(line)
                self._left -= 1
                self._line += 1
                try:
                    events.append(parse_line(line.removesuffix(b"\n"), f"{self.path}:{self._line}"))
                except ValueError as error:
                    self.damaged.append((self._line, str(error)))
        return events

    def _open(self, offset: int) -> BinaryIO:
        """The file from ``offset`` on; an empty one where there is none."""
        file = (self.path if self.path.exists() else Path("/dev/null")).open("rb")
        file.seek(offset)
        return file


def whole_lines(path: Path) -> bytes:
    """What a ledger holds, without a line that was cut off or is being written; nothing where there is no file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return b""
    return data[: data.rfind(b"\n") + 1]
