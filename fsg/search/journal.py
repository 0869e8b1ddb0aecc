"""Optuna's journal with a crc in every line: what was not written so is set aside, and Optuna is told again by the ledger.

The ledger holds every configuration and what it came to; the journal is Optuna's own form of it. Without a crc a flipped bit
in a number would be a lower loss that nobody measured. Optuna itself reads such a journal as any other.
Proof: ``tests/search/test_journal.py``.
"""

from __future__ import annotations

import itertools
import json
import os
import zlib
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from fsg.files import is_full, keep_aside, set_aside, size_of, write_atomically
from fsg.formats import FIRST, FORMAT, FORMAT_KEY, format_of

FORMAT_ATTRIBUTE = (
    "fsg_format"  # of the study; of a trial: its configuration's key, or that of the one which it repeats
)
KEY, REPEATS = "fsg_key", "repeats"


class Journal(JournalStorage):
    """Knows up to which trial none waits: Optuna looks through all of them for one that does before it makes another.

    That was 40 % of a driver's processor time at 10,000 trials, and grew with their square. A trial stops waiting for good.
    """

    _none_waits_before = 0

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's; those that wait are looked for among the newest alone. A journal here holds one study."""
        if states != (TrialState.WAITING,):
            return super().get_all_trials(study_id, deepcopy, states)
        waiting: list[FrozenTrial] = []
        with suppress(KeyError):  # there is no trial of that number yet
            for number in itertools.count(self._none_waits_before):
                trial = self.get_trial(self.get_trial_id_from_study_id_trial_number(study_id, number))
                if trial.state == TrialState.WAITING:
                    waiting.append(trial)
                elif not waiting:
                    self._none_waits_before = number + 1
        return waiting


class CheckedJournal(JournalFileBackend):
    """A journal of one process, whose lines carry a crc of the rest: no lock, and no fsync.

    Optuna has seven of these a trial at 1 to 6 ms each. What a power failure takes from the journal's end is entered again
    from the ledger, which is on disk. ``refused`` is called where the disk is full, and returns once there may be room.
    """

    def __init__(self, path: Path, refused: Callable[[], None] | None = None) -> None:
        super().__init__(str(path))
        self._path, self._refused = path, refused

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Hand the lines to the system, which keeps them through a kill of this process: all of them, or OSError and none."""
        lines = [json.dumps(log | {"crc": _crc(log)}, separators=(",", ":")).encode() + b"\n" for log in logs]
        while True:
            before = size_of(self._path)
            try:
                with self._path.open("ab") as file:
                    file.write(b"".join(lines))
                return
            except OSError as error:
                with suppress(OSError):
                    os.truncate(self._path, before)
                if self._refused is None or not is_full(error):  # a write names no file
                    raise OSError(error.errno, error.strerror, str(self._path)) from None
            self._refused()


def open_journal(path: Path, refused: Callable[[], None] | None = None) -> tuple[Journal, list[str]]:
    """The journal at ``path``, new if it is damaged; and a sentence for what was set aside. ``refused``: as CheckedJournal.

    NewerFormat, and nothing is touched, for one that a newer fsg wrote: its format stands among the study's attributes.
    A kill leaves a lock that Optuna would wait 30 s for, and half of a line: that is kept beside it, and is no damage.
    """
    refuse_newer(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
    said = []
    if path.exists():
        data = path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if problem := problem_in(data[:whole]):
            aside = set_aside(path, "damaged")
            said.append(f"{path}: damaged: {problem}. Set aside as {aside.name}; Optuna is told again by the ledger.")
        elif whole < len(data):
            keep_aside(path, "torn", data[whole:])
            os.truncate(path, whole)
    return Journal(CheckedJournal(path, refused)), said


def refuse_newer(path: Path) -> None:
    """NewerFormat if a whole line of the journal at ``path`` says that its format is not known here."""
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], start=1):
        if FORMAT_ATTRIBUTE.encode() in line and problem_in(line) is None:
            found = (json.loads(line).get("user_attr") or {}).get(FORMAT_ATTRIBUTE, FIRST)
            format_of({FORMAT_KEY: found}, f"{path}:{number}")


def problem_in(data: bytes) -> str | None:
    """The first line that is not what was written, or None."""
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            log = json.loads(line)
            crc = log.pop("crc")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            return f"line {number} is no entry ({type(error).__name__})"
        if crc != _crc(log):
            return f"line {number} does not match its crc"
    return None


def rekey(path: Path, keys: Mapping[str, str]) -> None:
    """Give the configurations in a journal other keys (old -> new), and the journal today's format."""
    logs = [json.loads(line) for line in path.read_bytes().splitlines()]
    for log in logs:
        log.pop("crc")
        attributes = log.get("user_attr") or {}
        for name in (KEY, REPEATS):
            if name in attributes:
                attributes[name] = keys.get(attributes[name], attributes[name])
    if logs and not any(FORMAT_ATTRIBUTE in (log.get("user_attr") or {}) for log in logs):
        worker = logs[0]["worker_id"]
        logs.insert(1, {"op_code": 2, "worker_id": worker, "study_id": 0, "user_attr": {FORMAT_ATTRIBUTE: FORMAT}})
    lines = (json.dumps(log | {"crc": _crc(log)}, separators=(",", ":")) + "\n" for log in logs)
    write_atomically(path, "".join(lines).encode())


def _crc(log: dict[str, Any]) -> str:
    return f"{zlib.crc32(json.dumps(log, sort_keys=True).encode()):08x}"
