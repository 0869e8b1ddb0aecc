"""Keeps MLflow up to date beside a running study: a thread reads the ledger as it grows. Training never waits for it.

The ledger is the queue. It is on disk already and as long as the study, and nothing is queued a second time: the follower
holds an offset into it and at most one piece of PIECE events, whatever the outage. While MLflow is away it counts what
is behind and tries again after 1, 2, 4, ... 30 seconds, each shortened at random by up to a half, so that the drivers of
a lab do not all come back at once. Proof: ``tests/tracking/test_following.py``, ``tests/tracking/test_faults.py``.
"""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from types import TracebackType

from fsg.errors import StudyError
from fsg.record.follow import LedgerFollower
from fsg.redaction import redact
from fsg.tracking.exporter import Exporter
from fsg.tracking.store import explain

PIECE = 500
FIRST_WAIT, LONGEST_WAIT = 1.0, 30.0
LAST_TRY = 10.0  # seconds that close() gives a store once it is away


class FollowingExporter:
    """Exports the ledger at ``ledger`` (it need not exist yet) to ``tracking_uri`` every ``interval`` seconds.

    ``waits``: not before ``begin``, or ``close``. Importing MLflow and making its store take 8 s of processor (2026-11-28), which
    the start of a study has better uses for.
    """

    def __init__(
        self,
        ledger: Path,
        tracking_uri: str,
        metric: str = "val_accuracy",
        mode: str = "max",
        interval: float = 1.0,
        waits: bool = False,
    ) -> None:
        self._tracking_uri, self._metric, self._mode, self._interval = tracking_uri, metric, mode, interval
        self._ledger = LedgerFollower(Path(ledger))
        self._unwritten = 0  # events that the exporter has taken in and not yet written
        self._behind = 0
        self._exporter: Exporter | None = None
        self._error: str | None = None
        self._away_since = 0.0
        self._deadline = float("inf")
        self._closing, self._begun = threading.Event(), threading.Event()
        if not waits:
            self._begun.set()
        self._thread = threading.Thread(target=self._follow, name="fsg-mlflow", daemon=True)
        self._thread.start()

    @property
    def exporter(self) -> Exporter | None:
        """The exporter behind this, for log_report after close(); None while the ledger has no header."""
        return self._exporter

    @property
    def status(self) -> str:
        """One line for a live view; it carries no password."""
        if self._error is not None:
            since = time.strftime("%H:%M:%S", time.localtime(self._away_since))
            return f"MLflow: {self._behind} events behind, away since {since} ({self._error})"
        if not self._begun.is_set():
            return "MLflow: from the first epoch on"
        return "MLflow: up to date" if not self._behind else f"MLflow: {self._behind} events behind, catching up"

    def begin(self) -> None:
        """Wait no longer."""
        self._begun.set()

    def close(self, timeout: float = 60.0) -> str | None:
        """Write what is left, close runs nobody works on, and stop; None, or what was not written in ``timeout`` seconds."""
        timeout = min(timeout, LAST_TRY) if self._error is not None else timeout
        self._deadline = time.monotonic() + timeout
        self._closing.set()
        self._begun.set()
        self._thread.join(timeout)
        if not self._thread.is_alive() and self._error is None and not self._behind:
            return None
        why = self._error or "it did not take everything in time"
        return (
            f"MLflow at {redact(self._tracking_uri)} is {self._behind} events behind: {why}. "
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
            self._behind = self._unwritten + self._ledger.behind()
            if (self._begun.is_set() and time.monotonic() >= next_try) or closing:
                try:
                    self._catch_up(settle=closing)
                    self._error, wait = None, FIRST_WAIT
                    if closing:
                        return
                except Exception as error:  # whatever a store may raise: training must not notice
                    if self._error is None:
                        self._away_since = time.time()
                    self._error = explain(error.__cause__ or error)
                    self._behind = self._unwritten + self._ledger.behind()
                    next_try = time.monotonic() + wait * random.uniform(0.5, 1.0)
                    wait = min(2 * wait, LONGEST_WAIT)
                    if isinstance(error, StudyError):
                        self._begin_again()
                    if closing:
                        self._deadline = min(self._deadline, time.monotonic() + LAST_TRY)
                        if time.monotonic() + FIRST_WAIT > self._deadline:
                            return
            if closing:
                time.sleep(FIRST_WAIT)
            else:
                self._closing.wait(self._interval)

    def _catch_up(self, settle: bool) -> None:
        """Write piece after piece until there is none. What an error left unwritten comes first, and nothing else is read."""
        while True:
            events = [] if self._unwritten else self._ledger.read(PIECE)
            if self._exporter is None:
                header = next((event for event in events if event.get("event") == "study"), None)
                if header is None:
                    self._ledger.rewind()
                    return
                self._exporter = Exporter(self._tracking_uri, header, self._metric, self._mode)
            pending = bool(self._unwritten or events)
            self._unwritten += len(events)
            self._behind = self._unwritten + self._ledger.behind()
            self._exporter.export(events)
            self._unwritten = 0
            self._behind = self._ledger.behind()
            if not pending:
                break
            if time.monotonic() > self._deadline:
                return
        if settle:
            self._exporter.settle()

    def _begin_again(self) -> None:
        self._exporter = None
        self._unwritten = 0
        self._ledger.rewind()
