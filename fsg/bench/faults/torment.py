"""A study run as a user runs it, through the command line, and struck at random moments until it is complete.

What is struck: the driver, a worker, Ray's raylet and GCS, and the MLflow server, by SIGKILL, SIGTERM (driver) or SIGSTOP
for a while. Whoever ends is started again: the driver with ``fsg resume``, the server at its old address. The dice are
seeded; the moments are not, they depend on the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import psutil

from fsg.errors import FsgError

if TYPE_CHECKING:
    from fsg.tracking import TrackingServer

Victim = Literal["worker", "driver", "raylet", "gcs", "mlflow"]
Blow = Literal["kill", "terminate", "freeze"]
# How often each is struck: most of a study's processes are workers.
ODDS: dict[tuple[Victim, Blow], int] = {
    ("worker", "kill"): 10,
    ("driver", "kill"): 3,
    ("driver", "terminate"): 1,
    ("raylet", "kill"): 1,
    ("gcs", "kill"): 1,
    ("mlflow", "kill"): 2,
    ("worker", "freeze"): 1,
    ("driver", "freeze"): 1,
}
FROZEN = 3.0  # seconds
PATIENCE = 300.0  # seconds without a line in the ledger: the study hangs
UNPROVOKED = 3  # a busy machine may be too slow for Ray to start, which is said and is no fault of the study's
COMMAND = [sys.executable, "-c", "from fsg.cli import main; main()"]


@dataclass
class Struck:
    """What happened: blows by victim, and how often the driver was started again."""

    blows: dict[tuple[Victim, Blow], int] = field(default_factory=dict)
    restarts: int = 0
    words: list[str] = field(default_factory=list)  # what drivers that failed said last

    @property
    def kills(self) -> int:
        """Processes ended."""
        return sum(count for (_, blow), count in self.blows.items() if blow != "freeze")


class Server:
    """MLflow's server on a sqlite file, at one address however often it is started."""

    def __init__(self, store: Path) -> None:
        self.store = f"sqlite:///{store}"
        self._port: int | None = None
        self._server: TrackingServer | None = None
        self.start()

    @property
    def address(self) -> str:
        """As a client takes it."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Up and answering."""
        from fsg.tracking import serve
        from fsg.tracking.store import open_client

        open_client(self.store)
        self._server = serve(self.store, self._port, timeout=240)
        self._port = int(self._server.address.rpartition(":")[2])

    def kill(self) -> None:
        """Gone, without a word."""
        if self._server is not None:
            self._server.kill()


def torment(
    start: list[str], resume: list[str], ledger: Path, dice: random.Random, blows: int, server: Server | None = None,
    every: tuple[float, float] = (1.0, 8.0), log: Path | None = None, env: dict[str, str] | None = None,
) -> Struck:  # fmt: skip
    """Run ``fsg *start``, strike up to ``blows`` times, start again by ``fsg *resume`` until the study is complete.

    ``every``: seconds between blows, drawn evenly. FsgError when the study hangs, or drivers that nobody struck keep failing.
    """
    struck, unprovoked = Struck(), 0
    arguments = start
    log = log or ledger.parent.parent / "driver.log"
    while True:
        before = sum(struck.blows.values())
        with log.open("ab") as out:
            driver = subprocess.Popen(
                [*COMMAND, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=env,
                start_new_session=True,
            )
        try:
            for _ in _moments(driver, ledger, dice, every):
                if sum(struck.blows.values()) < blows:
                    _strike(driver.pid, dice, struck, server)
        finally:
            _end(driver)
        if driver.returncode == 0:
            return struck
        if sum(struck.blows.values()) == before:
            unprovoked += 1
            struck.words.append(f"exit {driver.returncode}: {_last_words(log)}")
            if unprovoked > UNPROVOKED:
                raise FsgError(f"{ledger.parent}: the driver fails though nobody struck it: {struck.words[-1]}")
        struck.restarts += 1
        arguments = resume if ledger.exists() else start


def _moments(
    driver: subprocess.Popen[bytes], ledger: Path, dice: random.Random, every: tuple[float, float]
) -> Iterator[None]:
    """The moments to strike at, until the driver ends. FsgError where the ledger stands still for too long."""
    size, grew = -1, time.monotonic()
    due = grew + dice.uniform(*every)
    while driver.poll() is None:
        now = time.monotonic()
        length = ledger.stat().st_size if ledger.exists() else 0
        if length != size:
            size, grew = length, now
        if now - grew > PATIENCE:
            raise FsgError(f"{ledger}: no event for {PATIENCE:.0f} s, and the driver still runs: the study hangs.")
        if now >= due:
            yield
            due = time.monotonic() + dice.uniform(*every)
        time.sleep(0.05)


def _strike(driver: int, dice: random.Random, struck: Struck, server: Server | None) -> None:
    odds = {target: n for target, n in ODDS.items() if target[0] != "mlflow" or server is not None}
    victim, blow = dice.choices(list(odds), weights=list(odds.values()))[0]
    if victim == "mlflow" and server is not None:
        server.kill()
        time.sleep(dice.uniform(0, 3))
        server.start()
    else:
        found = processes(driver)[victim]
        if not found:
            return  # not there yet, or no longer
        process = dice.choice(found)
        with contextlib.suppress(psutil.NoSuchProcess):
            if blow == "freeze":
                process.suspend()
                time.sleep(FROZEN)
                process.resume()
            else:
                process.send_signal(signal.SIGKILL if blow == "kill" else signal.SIGTERM)
    struck.blows[victim, blow] = struck.blows.get((victim, blow), 0) + 1


def processes(driver: int) -> dict[str, list[psutil.Process]]:
    """What belongs to a driver, by what it is. Ray names its workers after what they run."""
    found: dict[str, list[psutil.Process]] = {"driver": [], "raylet": [], "gcs": [], "worker": []}
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(driver)
        found["driver"].append(root)
        for child in root.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                command = child.cmdline()
                name = Path(command[0]).name if command else ""
                if name in ("raylet", "gcs_server"):
                    found[name.removesuffix("_server")].append(child)
                elif command and command[0].startswith("ray::") and "Trainable" in command[0]:
                    found["worker"].append(child)
    return found


def _end(driver: subprocess.Popen[bytes]) -> None:
    """A driver that still runs is ended with everything of its session."""
    if driver.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


def _last_words(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1] if lines else "nothing"
