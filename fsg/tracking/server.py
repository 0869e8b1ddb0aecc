"""What ``fsg ui`` runs: MLflow's own server on a study's store, on loopback, as a child that is stopped with it.

Job execution is off (2 GB in ten processes otherwise, 0.5 GB in two without) and telemetry too. The store's address goes
through the environment, not the command line, where every user of the machine could read its password.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from types import TracebackType

from fsg.database import sqlite_path
from fsg.errors import BackendUnavailable, StudyError
from fsg.redaction import redact
from fsg.tracking.schema import refuse_unless_current
from fsg.tracking.store import QUIET, is_server, store_address

HOST = "127.0.0.1"
# The child that starts the server holds one end of a pipe and ends the whole group when the other end closes: then we are
# gone, killed perhaps, and nobody else would stop the server.
_KEEPER = """
import os, signal, subprocess, sys, threading
def watch():
    sys.stdin.buffer.read()
    os.killpg(0, signal.SIGKILL)
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
threading.Thread(target=watch, daemon=True).start()
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to the group: the server ends, and then this
os._exit(server.wait())  # the thread above holds stdin, which sys.exit would stumble over
"""
START_SECONDS = 90.0
STOP_SECONDS = 8.0


class TrackingServer:
    """A running server: ``address`` to open, ``stop()`` or the end of a ``with`` block to end it."""

    def __init__(
        self, address: str, process: subprocess.Popen[bytes] | None = None, leftovers: Sequence[Path] = ()
    ) -> None:
        self.address = address
        self._process, self._leftovers = process, leftovers

    def wait(self) -> None:
        """Block until the server ends by itself; returns at once where the server is not ours."""
        if self._process is not None:
            self._process.wait()

    def stop(self) -> None:
        """End the server and its workers; harmless when they have ended already."""
        if self._process is not None:
            _signal(self._process, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            _signal(self._process, signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                self._process.stdin.close()
        for path in self._leftovers:
            path.unlink(missing_ok=True)
        self._process = None

    def kill(self) -> None:
        """End it at once, as a crash would. The address can be taken again by ``serve`` with its port."""
        if self._process is not None:
            _signal(self._process, signal.SIGKILL)
            self._process.wait()
        self.stop()

    def __enter__(self) -> TrackingServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def serve(tracking_uri: str, port: int | None = None, timeout: float = START_SECONDS) -> TrackingServer:
    """Start MLflow's server on the store at ``tracking_uri`` and wait until it answers; an http address is used as it is.

    ``port`` None takes a free one. StudyError when the store does not exist, BackendUnavailable when MLflow would convert it,
    the port is taken or the server does not come up within ``timeout`` seconds.
    """
    if is_server(tracking_uri):
        return TrackingServer(_without_login(tracking_uri))
    path = sqlite_path(tracking_uri)
    if path is not None and not path.exists():
        raise StudyError(f"{path}: no MLflow store yet. Run a study first, or make it again with: fsg sync STUDY")
    address = store_address(tracking_uri)
    refuse_unless_current(address)
    environment = {"MLFLOW_BACKEND_STORE_URI": address}
    if path is not None:
        environment["MLFLOW_ARTIFACTS_DESTINATION"] = str(path.parent / "mlartifacts")
    return launch(HOST, port, ["--workers", "1"], environment, timeout)


def launch(
    host: str,
    port: int | None,
    options: Sequence[str],
    environment: Mapping[str, str],
    timeout: float,
    leftovers: Sequence[Path] = (),
) -> TrackingServer:
    """MLflow's server as a child, answering. Secrets belong into ``environment``; ``leftovers`` go when it ends."""
    server = TrackingServer("", None, leftovers)
    try:
        port = _free_port(host, port)
        reachable = HOST if host in ("0.0.0.0", "::") else host
        with NamedTemporaryFile(prefix="fsg-mlflow-", suffix=".log", delete=False) as log:
            server = TrackingServer(f"http://{reachable}:{port}", None, [*leftovers, Path(log.name)])
            # A session of its own: stop() reaches the workers too, and Ctrl-C reaches us first.
            server._process = subprocess.Popen(
                [sys.executable, "-c", _KEEPER, sys.executable, "-m", "mlflow", "server", "--host", host,
                 "--port", str(port), *options],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **environment},
            )  # fmt: skip
        _wait_until_healthy(server.address, server._process, Path(log.name), timeout)
    except BaseException:
        server.stop()
        raise
    return server


def _wait_until_healthy(address: str, process: subprocess.Popen[bytes], log: Path, timeout: float) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback never goes through a proxy
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), opener.open(f"{address}/health", timeout=2) as answer:
            if answer.status == 200 and process.poll() is None:
                return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    lines = redact(log.read_text(errors="replace")).strip().splitlines()[-8:]
    state = "is not answering" if process.poll() is None else f"ended with code {process.returncode}"
    raise BackendUnavailable("\n".join([f"MLflow's server {state} at {address}. The end of its log:", *lines]))


def _free_port(host: str, port: int | None) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port or 0))
        except OSError as error:
            raise BackendUnavailable(
                f"Port {port} of {host} cannot be used: {error.strerror}. Give another one, or none to take a free one."
            ) from None
        free: int = probe.getsockname()[1]
        return free


def _signal(process: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _without_login(address: str) -> str:
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}".rstrip("/")
