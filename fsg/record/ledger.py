"""The record of a study: one event a line, on disk before anyone is told, and what the events add up to.

A line is a JSON object with sorted keys; its ``crc`` is the CRC-32 of the line without that item. A line is written in
one piece and ended by a newline, so a line without one was cut off by a kill: it never happened, and the next append
moves it aside. Any other line that does not match its crc is damage, and is refused. A whole line with an event or a field that
is not known here is no damage: a newer fsg wrote it, and this one neither reads nor mends it.
Proof: ``tests/record/test_ledger.py``.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic_core import from_json

from fsg.config import TrialConfig, canonical_json, merge, nested
from fsg.errors import DiskFull, StudyError
from fsg.files import is_full, keep_aside, sync_folder
from fsg.formats import FIRST, FORMAT, format_of, newer
from fsg.identity import completed
from fsg.redaction import redact

Status = Literal["planned", "running", "paused", "pruned", "failed", "finished"]
Event = dict[str, Any]

# What each event carries, besides "event", "time" and "crc".
FIELDS: Mapping[str, frozenset[str]] = {
    "study": frozenset({"study_id", "name", "kind", "spec_digest", "versions", "git_commit"}),
    "planned": frozenset({"key", "arm", "seed", "config"}),
    "started": frozenset({"key", "attempt", "node", "device"}),
    "epoch": frozenset({"key", "metrics"}),
    "device": frozenset({"key", "device"}),
    "fingerprint": frozenset({"key", "weights", "batches"}),
    "memory": frozenset({"key", "peak", "capacity"}),
    "layers": frozenset({"key", "epoch", "layers"}),
    "checkpoint": frozenset({"key", "epoch", "path"}),
    "paused": frozenset({"key", "epoch"}),
    "exploited": frozenset({"key", "epoch", "donor", "values"}),
    "retried": frozenset({"key", "cause", "epoch", "reason"}),
    "pruned": frozenset({"key", "epoch", "reason"}),
    "failed": frozenset({"key", "reason"}),
    "finished": frozenset({"key", "metrics"}),
    "superseded": frozenset({"key", "reason"}),
    "stopped": frozenset({"reason"}),
    "damaged": frozenset({"file", "line", "aside", "detail"}),
    "versions": frozenset({"versions"}),
}
# Fields that came after the first release, and what a line without them means.
ADDED: Mapping[str, Mapping[str, Any]] = {"study": {"format": FIRST}}
ENDED: tuple[Status, ...] = ("finished", "pruned", "failed")
LARGEST = 1e100  # the square of a number beyond it, and so any spread, could not be held
_WHOLE = {name: fields | {"event", "time"} for name, fields in FIELDS.items() if name not in ADDED}


@dataclass(frozen=True, slots=True)
class Exploit:
    """After ``epoch`` a trial went on from the weights of ``donor``, a trial's key, with these ``values`` by path."""

    epoch: int
    donor: str
    values: dict[str, Any]


@dataclass(slots=True)
class TrialRecord:
    """What happened to one trial so far. ``epochs`` has one entry for each epoch number, in order.

    ``config`` is what it began with, ``exploits`` what a population made of it, in order; ``paused`` is one that waits for
    its population.

    ``fingerprint``: hashes of its initial weights and of its first batches.
    ``started`` is when it first started and ``ended`` when it last ended, in unix seconds. ``checkpoint`` is the last
    one: its epoch and path. ``final`` holds the metrics of a finished trial. ``memory`` is its peak and what there was, in
    bytes. ``retries`` are the interruptions after which it was to go on: the ``cause``, how many epochs were recorded
    then (``epoch``), and the ``reason``. ``versions``: the packages under which its epochs were trained, each set once.
    ``first_epochs`` are the epochs that its attempts began with: their times hold imports and compilation; 0 among them stands
    for one to come.
    """

    key: str
    arm: str
    seed: int
    config: dict[str, Any]
    status: Status = "planned"
    epochs: list[dict[str, Any]] = field(default_factory=list)
    final: dict[str, Any] | None = None
    reason: str | None = None
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    checkpoint: dict[str, Any] | None = None
    device: str | None = None
    fingerprint: tuple[str, str] | None = None
    retries: list[dict[str, Any]] = field(default_factory=list)
    memory: tuple[int, int] | None = None
    exploits: list[Exploit] = field(default_factory=list)
    versions: list[dict[str, str]] = field(default_factory=list)
    first_epochs: set[int] = field(default_factory=set)

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self.status in ENDED

    def final_value(self, metric: str) -> float:
        """The value that it counts with, everywhere: of its last epoch, and only if it finished.

        NaN for a trial that was pruned, failed or still runs, and where ``finite`` says that there is no number.
        """
        if self.status != "finished":
            return math.nan
        final = finite((self.final or {}).get(metric))
        return finite(self.epochs[-1].get(metric)) if math.isnan(final) and self.epochs else final

    def curve(self, metric: str) -> list[Any]:
        """A metric from the first epoch to the last; None where it, or the epoch's own line, is missing."""
        known = {metrics["epoch"]: metrics.get(metric) for metrics in self.epochs}
        return [known.get(epoch) for epoch in range(1, max(known, default=0) + 1)]

    @property
    def last_config(self) -> dict[str, Any]:
        """The configuration that its last epochs had: ``config``, but for what a population changed."""
        config = self.config
        for path, value in (self.exploits[-1].values if self.exploits else {}).items():
            config = merge(config, nested(path, value))
        return config


@dataclass(slots=True)
class StudyState:
    """What the events of a ledger add up to. ``header`` is its first "study" event; trials are in the order planned.

    ``stopped`` is why no further trial was begun, where a budget was used up or a space exhausted. ``damaged`` are the events
    that name what was found damaged and where it was set aside. ``versions`` are those of the packages of its last run.
    """

    header: Event | None = None
    trials: dict[str, TrialRecord] = field(default_factory=dict)
    stopped: str | None = None
    damaged: list[Event] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def format(self) -> int:
        """The format that the study began in; of one that has not begun, that of today."""
        return self.header.get("format", FIRST) if self.header else FORMAT


def finite(value: Any) -> float:
    """A recorded metric as a number; NaN for none, for one that is not finite, and for one beyond ``LARGEST``."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
    return float(value) if number else math.nan


class Ledger:
    """The file ``path``. One process appends; any number read. ``listener`` hears of every event once it is on disk."""

    def __init__(self, path: str | Path, listener: Callable[[Event], None] | None = None) -> None:
        self.path = Path(path)
        self._listener = listener
        self._lock = threading.Lock()
        self._file: int | None = None

    def append(self, event: str, **fields: Any) -> Event:
        """Write one event and return it, once it is on disk; as ``append_all``."""
        return self.append_all([(event, fields)])[0]

    def append_all(self, events: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Event]:
        """Write (event, fields) each as a line, and return them once all are on disk: one fsync, 1 to 6 ms, for all of them.

        A kill leaves the first ones whole and in order. Safe to call from several threads. A metric that is no finite
        number is written as null. StudyError for an unknown event, fields that are not the event's, values JSON cannot
        hold, and a disk that refuses; DiskFull for one that is full. After a refusal the file is as it was.
        """
        now = time.time()
        written, lines = [], []
        for event, fields in events:
            record, line = self._line({"event": event, "time": now, **fields})
            written.append(record)
            lines.append(line)
        with self._lock:
            try:
                self._write(b"".join(lines))
            except OSError as error:
                self._close()  # the next append looks for, and moves aside, what could not be taken back
                kind = DiskFull if is_full(error) else StudyError
                raise kind(f"{self.path}: cannot be written ({error}). Make space or mend it, then resume.") from None
        if self._listener is not None:
            for record in written:
                self._listener(record)
        return written

    def _line(self, record: Event) -> tuple[Event, bytes]:
        """The event with its crc, and its line; StudyError if it is none."""
        if isinstance(record.get("metrics"), Mapping):
            record["metrics"] = {name: _finite(value) for name, value in record["metrics"].items()}
        if isinstance(record.get("reason"), str):
            record["reason"] = redact(record["reason"])  # an error's own words, which nobody has looked through
        problem = _shape_problem(record)
        if problem:
            raise StudyError(f"{self.path}: cannot record this event: {problem}.")
        try:
            sealed = with_crc(record)
        except (TypeError, ValueError) as error:
            raise StudyError(f'{self.path}: cannot record "{record["event"]}": {error}.') from None
        return sealed, canonical_json(sealed).encode() + b"\n"

    def read(self) -> list[Event]:
        """Every event, as ``each``."""
        return list(self.each())

    def each(self) -> Iterator[Event]:
        """Every event, in order, one in memory at a time; none where there is no file. Changes nothing.

        StudyError for a damaged line, NewerFormat for one that a newer fsg wrote. A last line without its newline was cut off
        and is left out.
        """
        try:
            with self.path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.endswith(b"\n"):
                        yield self._parse(line[:-1], number)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StudyError(f"{self.path}: cannot be read ({error}).") from None

    def close(self) -> None:
        """Let go of the file. A later append opens it again."""
        with self._lock:
            self._close()

    def _parse(self, line: bytes, number: int) -> Event:
        try:
            return parse_line(line, f"{self.path}:{number}")
        except ValueError as error:
            raise StudyError(
                f"{self.path}:{number}: damaged line: {error}. Nothing was changed. fsg resume sets the line aside and "
                "goes on without it; or restore the file from a copy."
            ) from None

    def _write(self, line: bytes) -> None:
        if self._file is None:
            self._file = self._open()
        before = os.fstat(self._file).st_size
        try:
            _write_all(self._file, line)
            os.fsync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, before)
            raise

    def _open(self) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            self._move_torn_line_aside(descriptor)
            if new:
                sync_folder(self.path.parent)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _move_torn_line_aside(self, descriptor: int) -> None:
        """Copy what follows the last newline to ``<name>.torn-<n>``, and only then cut it off: a kill loses nothing."""
        whole = self.path.read_bytes()
        keep = whole.rfind(b"\n") + 1
        if keep == len(whole):
            return
        keep_aside(self.path, "torn", whole[keep:])
        os.ftruncate(descriptor, keep)
        os.fsync(descriptor)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def whole_bytes(path: Path) -> int:
    """How many bytes of whole lines a file has."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            reach = 1 << 16
            while True:
                start = max(0, size - reach)
                file.seek(start)
                newline = file.read(size - start).rfind(b"\n")
                if newline >= 0 or start == 0:
                    return start + newline + 1
                reach *= 4
    except FileNotFoundError:
        return 0


def with_crc(record: Event) -> Event:
    """The event with its crc; TypeError or ValueError for what JSON cannot hold."""
    return record | {"crc": f"{zlib.crc32(canonical_json(record).encode()):08x}"}


def parse_line(line: bytes, where: str = "the ledger") -> Event:
    """The event of a line without its newline, with every field that was added since it was written.

    ValueError, with the reason, for one that is not what was written; NewerFormat, naming ``where``, for one that is, but that
    this version does not know.
    """
    unknown: str | None = None
    problem: str | None = None
    try:
        record = _loaded(line)
        crc = record.pop("crc")
        # The item's text can be cut out because canonical JSON puts "event" after "crc", so a comma follows it.
        body = line.replace(b'"crc":"%s",' % crc.encode(), b"", 1)
        if crc != f"{zlib.crc32(body):08x}":
            problem = "it does not match its crc"
        elif not _is_usual(record):
            unknown = _unknown(record)
            problem = None if unknown else _shape_problem(record)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        problem = f"it is no event ({type(error).__name__})"
    if problem:
        raise ValueError(problem)
    if unknown:
        raise newer(where, unknown)
    if record["event"] == "study":
        format_of(record, where)
    found: Event = {**ADDED[record["event"]], **record} if record["event"] in ADDED else record
    found["crc"] = crc
    return found


def _loaded(line: bytes) -> Any:
    """What the JSON of a line says. pydantic's parser takes half the time of json's, and holds each name once; what it
    refuses, such as half a surrogate pair, json has the last word on.
    """
    try:
        return from_json(line)
    except ValueError:
        return json.loads(line)


def refuse_newer(path: Path) -> None:
    """NewerFormat if the ledger at ``path`` has a whole line that only a newer fsg wrote; damage is no matter here."""
    if path.exists():
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
            with suppress(ValueError):
                parse_line(line, f"{path}:{number}")


def fold(events: Iterable[Event]) -> StudyState:
    """What ``events`` add up to. A finished trial stays finished, whatever follows.

    StudyError for an event of a trial that was never planned, and for two studies in one ledger.
    """
    state = StudyState()
    epochs: dict[str, dict[int, dict[str, Any]]] = {}
    for event in events:
        if event["event"] in ("study", "versions"):
            _fold_header(state, event)
            continue
        if event["event"] == "stopped":
            state.stopped = event["reason"]
            continue
        if event["event"] == "damaged":
            state.damaged.append(event)
            continue
        key = event["key"]
        if event["event"] == "planned":
            if key not in state.trials:
                config = completed(event["config"], TrialConfig, state.format)
                state.trials[key] = TrialRecord(key, event["arm"], event["seed"], config)
            continue
        trial = state.trials.get(key)
        if trial is None:
            raise StudyError(
                f'the ledger has "{event["event"]}" of trial {key}, which was never planned: a line is missing.'
            )
        if event["event"] == "superseded":
            del state.trials[key]
            epochs.pop(key, None)
        elif trial.status != "finished":
            _fold_trial(trial, event, epochs.setdefault(key, {}))
            if event["event"] == "epoch" and state.versions not in trial.versions:
                trial.versions.append(state.versions)
    for key, by_number in epochs.items():
        state.trials[key].epochs = [by_number[number] for number in sorted(by_number)]
    return state


def _fold_header(state: StudyState, event: Event) -> None:
    if event["event"] == "versions":
        state.versions = event["versions"]
    elif state.header is None:
        state.header, state.versions = event, event["versions"]
    elif state.header["study_id"] != event["study_id"]:
        raise StudyError(
            f"the ledger holds two studies, {state.header['study_id']} and {event['study_id']}; part them."
        )


def _fold_trial(trial: TrialRecord, event: Event, epochs: dict[int, dict[str, Any]]) -> None:
    match event["event"]:
        case "started":
            trial.status, trial.reason, trial.ended = "running", None, None
            trial.started = event["time"] if trial.started is None else trial.started
            trial.attempts = max(trial.attempts, event["attempt"])
            trial.device = event["device"]
            trial.first_epochs.add(0)
        case "epoch":
            number = event["metrics"]["epoch"]
            epochs[number] = event["metrics"]
            trial.first_epochs.discard(number)
            if 0 in trial.first_epochs:
                trial.first_epochs = trial.first_epochs - {0} | {number}
        case "device":
            trial.device = event["device"]
        case "fingerprint":
            trial.fingerprint = (event["weights"], event["batches"])
        case "paused":
            trial.status = "paused"
        case "exploited":
            trial.exploits = [e for e in trial.exploits if e.epoch < event["epoch"]]
            trial.exploits.append(Exploit(event["epoch"], event["donor"], event["values"]))
        case "memory":
            trial.memory = (event["peak"], event["capacity"])
        case "checkpoint":
            trial.checkpoint = {"epoch": event["epoch"], "path": event["path"]}
        case "retried":
            trial.status, trial.reason = "planned", event["reason"]
            trial.retries.append({name: event[name] for name in ("cause", "epoch", "reason")})
        case "finished":
            trial.status, trial.final, trial.reason, trial.ended = "finished", event["metrics"], None, event["time"]
        case "pruned" | "failed" as status:
            trial.status, trial.reason, trial.ended = status, event["reason"], event["time"]


def _is_usual(record: Event) -> bool:
    """Whether an event has what its name asks for and nothing else, as all but a few lines have: asked first, it is cheap."""
    name = record.get("event")
    if not isinstance(name, str) or record.keys() != _WHOLE.get(name):
        return False
    return name != "epoch" or (isinstance(record["metrics"], dict) and type(record["metrics"].get("epoch")) is int)


def _shape_problem(record: Any) -> str | None:
    """Why this is no event of ours, or None."""
    if not isinstance(record, dict):
        return "it is no JSON object"
    name = record.get("event")
    if not isinstance(name, str) or name not in FIELDS:
        return f'"event" is {name!r}, expected one of {", ".join(FIELDS)}'
    found, expected = record.keys() - {"event", "time"}, FIELDS[name]
    if found - ADDED.get(name, {}).keys() != expected:
        return f'"{name}" has {", ".join(sorted(found)) or "nothing"}, expected {", ".join(sorted(expected))}'
    if name == "epoch" and (not isinstance(record["metrics"], dict) or type(record["metrics"].get("epoch")) is not int):
        return 'an "epoch" needs its number in metrics["epoch"]'
    return None


def _unknown(record: Any) -> str | None:
    """What this event has that only a later fsg can have written: its format, its name, or a field."""
    name = record.get("event") if isinstance(record, dict) else None
    if not isinstance(name, str):
        return None
    if type(found := record.get("format", FIRST)) is int and found > FORMAT:
        return f"format {found}"
    if name not in FIELDS:
        return f'the event "{name}"'
    extra = sorted(record.keys() - {"event", "time", "crc"} - FIELDS[name] - ADDED.get(name, {}).keys())
    return f'{", ".join(extra)} in "{name}"' if extra else None


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_all(descriptor: int, data: bytes) -> None:
    written = 0
    while written < len(data):
        written += os.write(descriptor, data[written:])
