"""Opening an MLflow store: quietly, with its schema made once, and without ever printing a password.

A SQLite store is migrated in a file of its own by a process of its own and then linked into place: the driver is not
slowed down for the six seconds this takes, and a kill in the middle leaves no half-made store behind.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.database import sqlalchemy_address, sqlite_path
from fsg.errors import BackendUnavailable, FsgError
from fsg.redaction import redact
from fsg.tracking.schema import NoAnswer, refuse_unless_current, upgrade

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Read by mlflow when it is imported or when it sends a request. A request that fails is tried again by whoever follows
# the ledger, so mlflow's own patience (7 retries, four minutes) would only hide that the server is away. Nor may a request be
# sent twice behind our back: the answer to a run's making may be lost, and its repetition makes a second run.
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}

PAGE = 1000  # runs in one answer

_CREATE = "import sys, mlflow; mlflow.MlflowClient(sys.argv[1]).search_experiments(max_results=1)"


def open_client(tracking_uri: str) -> MlflowClient:
    """A client of the store at ``tracking_uri``; a SQLite file that does not exist yet is made, with its schema.

    BackendUnavailable for a store that MLflow would convert, or cannot read.
    """
    quieten()
    address = store_address(tracking_uri)
    if not is_server(address):
        refuse_unless_current(address)
    path = sqlite_path(address)
    if path is not None:
        _create_sqlite(path)
    from mlflow import MlflowClient

    return MlflowClient(address)


def quieten() -> None:
    """Telemetry off, nothing on the terminal below a warning. What the user set in the environment stays.

    Nor the traceback of a database that refused: whoever asked is told by the error itself.
    """
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if "mlflow" in sys.modules and "MLFLOW_LOGGING_LEVEL" in os.environ:
        logging.getLogger("mlflow").setLevel(os.environ["MLFLOW_LOGGING_LEVEL"])


def is_server(tracking_uri: str) -> bool:
    """Whether the address is that of a running MLflow server, which opens its store itself."""
    return tracking_uri.startswith(("http://", "https://", "databricks"))


def store_address(tracking_uri: str) -> str:
    """What MLflow is given for an address that a person wrote: a server's as it is, a database's with its driver named.

    ConfigError or BackendUnavailable for a database that cannot be used.
    """
    if is_server(tracking_uri):
        return tracking_uri
    path = sqlite_path(tracking_uri)
    if path is not None:
        return f"sqlite:///{path}"  # a query after it would be part of the name to MLflow
    return sqlalchemy_address(tracking_uri)


def artifact_location(tracking_uri: str, folder: str) -> str | None:
    """Where a new experiment keeps its files: beside a SQLite file; anywhere else, where its server says (None)."""
    path = sqlite_path(tracking_uri)
    return None if path is None else (path.parent / "mlartifacts" / folder).as_uri()


def every_run(client: MlflowClient, experiments: Sequence[str], query: str) -> list[Any]:
    """The runs that ``query`` finds, each once, oldest first; a run that is made meanwhile may be among them.

    A page of search_runs is an offset in a list that others change, newest first unless asked otherwise: what is made between two
    pages would push a run onto the next page, where it is found a second time (MLflow 3.17).
    """
    found: dict[str, Any] = {}
    token = None
    while experiments:
        page = client.search_runs(
            list(experiments), query, max_results=PAGE, order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            found.setdefault(run.info.run_id, run)
        token = page.token
        if not token:
            break
    return list(found.values())


def make_ready(tracking_uri: str, upgrade_store: bool, say: Callable[[str], None]) -> None:
    """Before a command uses a store: convert an older one if the user says so, and refuse what MLflow would convert or not read.

    What was done goes to ``say``. A database that does not answer is no reason to refuse: the ledger keeps what it misses.
    """
    address = store_address(tracking_uri)
    if is_server(address):
        return
    with suppress(NoAnswer):
        if upgrade_store:
            upgrade(address, say)
        refuse_unless_current(address)


def explain(error: BaseException) -> str:
    """What went wrong between us and a store, in one line of the field's words; it carries no password."""
    status = _status_of(error)
    if status == 401:
        return "the login was refused (401): set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or the token"
    chain = list(_chain(error))
    names = {type(link).__name__ for link in chain}
    if status is not None:
        return f"it answered {status}" + (f" ({_first_line(error)})" if "RestException" in names else "")
    for link in chain:
        if isinstance(link, sqlite3.Error):
            return f"SQLite: {link}"
    if names & {"ReadTimeout", "ConnectTimeout", "ReadTimeoutError", "TimeoutError"}:
        return f"no answer within {os.environ.get('MLFLOW_HTTP_REQUEST_TIMEOUT', '?')} s"
    if any(isinstance(link, ConnectionRefusedError) for link in chain):
        return "connection refused"
    if names & {
        "RemoteDisconnected",
        "ConnectionResetError",
        "BrokenPipeError",
        "IncompleteRead",
        "ChunkedEncodingError",
    }:
        return "the connection broke before the whole answer had come"
    return _first_line(error) if isinstance(error, FsgError) else f"{type(error).__name__}: {_first_line(error)}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and what it came from; urllib3 and requests hand on their causes as arguments and ``reason``."""
    todo, seen = [error], set()
    while todo:
        link = todo.pop()
        if id(link) not in seen:
            seen.add(id(link))
            yield link
            others = [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
            todo += [other for other in others if isinstance(other, BaseException)]


def _status_of(error: BaseException) -> int | None:
    """The HTTP status of an answer that was an error; None where no answer came."""
    for link in _chain(error):
        found = re.search(r"(?:failed with error code|too many) (\d{3})", str(link))
        if found:
            return int(found[1])
    if "RestException" in {type(link).__name__ for link in _chain(error)}:
        status: int = error.get_http_status_code()  # type: ignore[attr-defined]
        return status
    return None


def _first_line(error: BaseException, most: int = 160) -> str:
    return (redact(str(error)).strip().splitlines() or [""])[0][:most]


def _create_sqlite(path: Path) -> None:
    """An empty store at ``path``, unless there is one. Two processes may try at once: the first to finish wins."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        making = subprocess.Popen(
            [sys.executable, "-c", _CREATE, f"sqlite:///{draft}"],
            cwd=path.parent, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, **QUIET},
        )  # fmt: skip
        import mlflow  # noqa: F401  # four seconds that pass meanwhile

        _, said = making.communicate()
        if making.returncode:
            reason = (said.strip().splitlines() or ["no message"])[-1]
            raise BackendUnavailable(
                f"MLflow could not make its database {path}: {reason}. "
                "Make the folder writable, or give another --tracking-uri."
            )
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # another process was faster, and its store is as good
        except OSError:  # a file system without hard links
            if not path.exists():
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
