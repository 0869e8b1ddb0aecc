"""A study's copy at a URL: another machine fetches it and goes on. The study itself is worked on in a local folder.

An object store cannot append, so the ledger lies there in blocks of 1 MiB, of which only the last is ever replaced;
any other file is one object, replaced whole. A push takes the ledger's length first and writes its blocks last, so that the
ledger at the URL never speaks of a checkpoint that is not there. Of the two ledgers one is a beginning of the other, or else
two machines have gone on separately: then nothing is copied. The folder remembers its URL in the file ``mirror``.

The folder needs a file system with an atomic rename, exclusive creation and fsync, as NFS has them; no hard links, no locks
between machines, no memory maps. Proof: ``tests/record/test_mirror.py``.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from fsg.errors import FsgError, StudyError
from fsg.files import write_atomically
from fsg.record.folder import StudyFolder
from fsg.record.follow import whole_lines
from fsg.record.surroundings import FILE as SURROUNDINGS
from fsg.remote import RemoteFolder, safe

BLOCK = 1 << 20
INTERVAL, FIRST_WAIT, LONGEST_WAIT = 5.0, 1.0, 60.0
NOTE, LEDGER = "mirror", "ledger.jsonl"
LEFT_OUT = (
    "ray",
    NOTE,
    "driver.json",
    SURROUNDINGS,
)  # snapshots that can be lost; the rest holds on this machine alone


class Mirror:
    """The copy of ``folder`` at ``url``. Not for several threads at once."""

    def __init__(self, folder: StudyFolder, url: str) -> None:
        self.folder, self.remote = folder, RemoteFolder(url)
        self._pushed: dict[str, tuple[int, int]] | None = None

    @property
    def url(self) -> str:
        """Where the copy is."""
        return self.remote.url

    def fetch(self) -> bool:
        """Make the folder at least as new as the copy; False where there is no copy. Remembers the URL.

        Nothing is overwritten where the folder is as new or newer. StudyError where both went on separately.
        """
        there = self.remote.listing()
        theirs = b"".join(self.remote.get(name) for name in _blocks(there, LEDGER))
        ours = whole_lines(self.folder.ledger_path)
        self._compare(ours, theirs)
        if "spec.yaml" in there and len(theirs) >= len(ours) and (theirs != ours or not self.folder.spec_path.exists()):
            for name in there:
                if f"/{LEDGER}/" not in f"/{name}":
                    self._write(name, self.remote.get(name))
            for ledger in sorted(
                {name.rpartition("/")[0] for name in there if f"/{LEDGER}/" in f"/{name}"}, reverse=True
            ):
                data = theirs if ledger == LEDGER else b"".join(self.remote.get(n) for n in _blocks(there, ledger))
                self._write(ledger, data)
        if "spec.yaml" in there:
            remember(self.folder, self.url)
        return "spec.yaml" in there

    def push(self) -> None:
        """Bring the copy up to date. StudyError where it is no beginning of this study."""
        if self._pushed is None:
            self._pushed = self._known()
        ledgers = {path: whole_lines(path) for path in self.folder.path.rglob(LEDGER)}
        for name, path in self._files():
            stamp = _stamp(path)
            if stamp is not None and self._pushed.get(name) != stamp:
                try:
                    data = path.read_bytes()
                except FileNotFoundError:
                    continue  # replaced or pruned meanwhile
                self.remote.put(name, data)
                self._pushed[name] = stamp
        for path, data in ledgers.items():
            name = path.relative_to(self.folder.path).as_posix()
            done = self._pushed.get(name, (0, 0))[1]
            for block in range(done // BLOCK, -(-len(data) // BLOCK) if len(data) > done else 0):
                self.remote.put(f"{name}/{block:06d}", data[block * BLOCK : (block + 1) * BLOCK])
            self._pushed[name] = (0, len(data))

    def behind(self) -> int:
        """Bytes of the ledger that the copy does not have, as far as is known."""
        return len(whole_lines(self.folder.ledger_path)) - (self._pushed or {}).get(LEDGER, (0, 0))[1]

    def _known(self) -> dict[str, tuple[int, int]]:
        """What the copy holds already: files of the same size that were written there later than here, and the ledger."""
        there = self.remote.listing()
        theirs = b"".join(self.remote.get(name) for name in _blocks(there, LEDGER))
        ours = whole_lines(self.folder.ledger_path)
        if not ours.startswith(theirs):
            self._compare(ours, theirs)
            raise StudyError(f"{self.url} is ahead of {self.folder.path}; go on with: fsg resume {self.url}")
        known = {LEDGER: (0, len(theirs))}
        for name, path in self._files():
            stamp, (size, written) = _stamp(path), there.get(name, (-1, 0.0))
            if stamp is not None and stamp[1] == size and written > stamp[0] / 1e9:
                known[name] = stamp
        return known

    def _compare(self, ours: bytes, theirs: bytes) -> None:
        if not (ours.startswith(theirs) or theirs.startswith(ours)):
            same = next(n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b)
            line = ours[:same].count(b"\n") + 1
            raise StudyError(
                f"{self.folder.path} and its copy at {self.url} went on separately, from line {line} of the ledger on: two "
                "machines worked on one study. Nothing was changed. To take the copy, move the folder away; "
                "to keep the folder, give its copy another address with --storage."
            )

    def _files(self) -> Iterator[tuple[str, Path]]:
        """(name, path) of every file that belongs to the copy, ledgers left out."""
        for path in sorted(self.folder.path.rglob("*")):
            name = path.relative_to(self.folder.path).as_posix()
            inside = name.partition("/")[0] not in LEFT_OUT and "/ray/" not in name and not path.name.startswith(".")
            if inside and path.name != LEDGER and not path.is_symlink() and safe(name) and path.is_file():
                yield name, path

    def _write(self, name: str, data: bytes) -> None:
        path = self.folder.path / name
        if path.exists() and path.name == LEDGER and path.read_bytes() != whole_lines(path):
            write_atomically(path.with_name(f"{LEDGER}.torn-before-fetch"), path.read_bytes())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)


class FollowingMirror:
    """Pushes beside a running study. A store that is away, read-only or full is tried again; the study never waits for it."""

    def __init__(self, mirror: Mirror, interval: float = INTERVAL) -> None:
        self._mirror, self._interval = mirror, interval
        self._error: str | None = None
        self._pushing = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fsg-mirror", daemon=True)
        self._thread.start()

    @property
    def status(self) -> str:
        """One line for a live view."""
        return f"copy behind: {self._error}" if self._error else f"copied to {self._mirror.url}"

    def close(self, timeout: float = 120.0) -> str | None:
        """Push what is left and stop; None, or what was not copied within ``timeout`` seconds."""
        self._closing.set()
        self._thread.join(timeout)
        if not self._thread.is_alive() and self._error is None:
            return None
        why = self._error or "it did not take everything in time"
        return (
            f"The copy at {self._mirror.url} is behind: {why} Nothing is lost, {self._mirror.folder.path} holds everything; "
            f"once it is back, copy it with: fsg resume {self._mirror.folder.called}"
        )

    def __enter__(self) -> FollowingMirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _follow(self) -> None:
        wait, next_try = FIRST_WAIT, 0.0
        while True:
            closing = self._closing.is_set()
            if closing or time.monotonic() >= next_try:
                try:
                    self._mirror.push()
                    self._error, wait, next_try = None, FIRST_WAIT, 0.0
                except (FsgError, OSError) as error:
                    self._error = str(error)
                    next_try = time.monotonic() + wait * random.uniform(0.5, 1.0)
                    wait = min(2 * wait, LONGEST_WAIT)
            if closing:
                return
            self._closing.wait(self._interval)


def remember(folder: StudyFolder, url: str) -> None:
    """Write down where the folder's copy is."""
    write_atomically(folder.path / NOTE, f"{url}\n".encode())


def mirror_of(folder: StudyFolder) -> Mirror | None:
    """The folder's copy, if it has one."""
    note = folder.path / NOTE
    return Mirror(folder, note.read_text().strip()) if note.is_file() else None


def _blocks(there: dict[str, tuple[int, float]], ledger: str) -> list[str]:
    """The names of a ledger's blocks, in order, up to the first that is missing."""
    names: list[str] = []
    while (name := f"{ledger}/{len(names):06d}") in there:
        names.append(name)
    return names


def _stamp(path: Path) -> tuple[int, int] | None:
    """(time in ns, bytes) of a file; None where it has gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_size
