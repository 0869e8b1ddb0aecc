"""Keeps MLflow up to date beside a running study: a thread reads the ledger as it grows. Training never waits for it.

The ledger itself is the queue: while MLflow is away the thread only counts what is behind, and tries again after 1, 2, 4,
... 30 seconds. Nothing is kept that the ledger does not hold, so what could not be written is written by any later export.
Proof: ``tests/tracking/test_following.py``.
"""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from fsg.errors import StudyError
from fsg.tracking.exporter import Exporter
from fsg.tracking.store import redact

FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0


class LedgerTail:
    """The events a ledger gained since the last look. A line still being written is left for the next one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """New whole lines as events; [] while there is no file. A damaged line is passed over: the ledger reports it."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        events = []
        for line in whole.splitlines():
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def rewind(self) -> None:
        """Begin again at the file's start."""
        self._offset = 0


class FollowingExporter:
    """Exports the ledger at ``ledger`` (it need not exist yet) to ``tracking_uri`` every ``interval`` seconds."""

    def __init__(
        self, ledger: Path, tracking_uri: str, metric: str = "val_accuracy", mode: str = "max", interval: float = 1.0
    ) -> None:
        self._tracking_uri, self._metric, self._mode, self._interval = tracking_uri, metric, mode, interval
        self._tail = LedgerTail(Path(ledger))
        self._pending: list[dict[str, Any]] = []
        self._exporter: Exporter | None = None
        self._error: str | None = None
        self._away_since = 0.0
        self._deadline = float("inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="fsg-mlflow", daemon=True)
        self._thread.start()

    @property
    def exporter(self) -> Exporter | None:
        """The exporter behind this, for log_report after close(); None while the ledger has no header."""
        return self._exporter

    @property
    def status(self) -> str:
        """One line for a live view; it carries no password."""
        behind = len(self._pending)
        if self._error is not None:
            since = time.strftime("%H:%M:%S", time.localtime(self._away_since))
            return f"MLflow: {behind} events behind, server away since {since} ({self._error})"
        return "MLflow: up to date" if not behind else f"MLflow: {behind} events behind"

    def close(self, timeout: float = 60.0) -> str | None:
        """Write what is left, close runs nobody works on, and stop; None, or what was not written in ``timeout`` seconds."""
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._thread.join(timeout)
        if not self._thread.is_alive() and self._error is None and not self._pending:
            return None
        why = self._error or "it did not answer in time"
        return (
            f"MLflow at {redact(self._tracking_uri)} is {len(self._pending)} events behind: {why}. "
            "Nothing is lost, the ledger holds them; once it is back, write them with: fsg sync STUDY"
        )

    def __enter__(self) -> FollowingExporter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _follow(self) -> None:
        wait, next_try = FIRST_WAIT, 0.0
        while True:
            closing = self._closing.is_set()
            self._pending += self._tail.read()
            if time.monotonic() >= next_try or closing:
                try:
                    self._export(settle=closing)
                    self._error, wait = None, FIRST_WAIT
                    if closing:
                        return
                except Exception as error:  # whatever a store may raise: training must not notice
                    if self._error is None:
                        self._away_since = time.time()
                    self._error = _first_line(error)
                    next_try = time.monotonic() + wait
                    wait = min(2 * wait, LONGEST_WAIT)
                    if isinstance(error, StudyError):
                        self._begin_again()
                    if closing and time.monotonic() + FIRST_WAIT > self._deadline:
                        return
            if closing:
                time.sleep(FIRST_WAIT)
            else:
                self._closing.wait(self._interval)

    def _export(self, settle: bool) -> None:
        if self._exporter is None:
            header = next((event for event in self._pending if event.get("event") == "study"), None)
            if header is None:
                return
            self._exporter = Exporter(self._tracking_uri, header, self._metric, self._mode)
        count = len(self._pending)
        self._exporter.export(self._pending)
        del self._pending[:count]
        if settle:
            self._exporter.settle()

    def _begin_again(self) -> None:
        self._exporter = None
        self._pending.clear()
        self._tail.rewind()


def _first_line(error: Exception) -> str:
    text = redact(str(error)).strip().splitlines() or [""]
    return f"{type(error).__name__}: {text[0][:160]}"
