"""The schema of an MLflow store, read before MLflow opens it: MLflow converts an older one for good, and locks older clients out.

A store says its revision in a table of alembic's; the installed MLflow's own revisions are read as text, for importing them
takes 12 seconds. Proof: ``tests/tracking/test_schema.py``, on stores that MLflow 2.22 and 3.10 made.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from fsg.database import sqlalchemy_address, sqlite_path
from fsg.errors import BackendUnavailable
from fsg.files import free_name, sync_folder
from fsg.redaction import redact


class Migrations(NamedTuple):
    """What MLflow keeps in a database: the table of its revision, one that tells it is there, all revisions, how to convert.

    ``folder`` of the package ``mlflow`` holds the revisions; ``convert`` is code that finds the address in $FSG_STORE, where
    only this user can read its password.
    """

    version_table: str
    known_by: str
    folder: str
    convert: str


RUNS = Migrations(
    "alembic_version", "experiments", "store/db_migrations/versions",
    "import os; from mlflow.db import commands; commands(['upgrade', os.environ['FSG_STORE']], standalone_mode=False)",
)  # fmt: skip
USERS = Migrations(  # of a team's server
    "alembic_version_auth", "users", "server/auth/db/migrations/versions",
    "import os; from mlflow.server.auth.db.cli import commands; "
    "commands(['upgrade', '--url', os.environ['FSG_STORE']], standalone_mode=False)",
)  # fmt: skip

State = Literal["none", "current", "older", "newer", "foreign"]


class NoAnswer(BackendUnavailable):
    """A database's server that is away or refuses the login; it may answer later."""


class Schema(NamedTuple):
    """What a database is to the installed MLflow. ``revision`` None: there is no store yet, or one that has no number."""

    state: State
    revision: str | None


def schema_of(address: str, migrations: Migrations = RUNS) -> Schema:
    """Of a database that is there or not. Nothing is written.

    BackendUnavailable for a file that is no SQLite database, NoAnswer where a server gives none.
    """
    path = sqlite_path(address)
    tables, revision = _read_file(path, migrations) if path is not None else _read_server(address, migrations)
    revisions, head = _revisions(migrations.folder)
    if revision is None:
        return Schema("older" if migrations.known_by in tables else "none", None)
    if revision == head:
        return Schema("current", revision)
    if revision in revisions:
        return Schema("older", revision)
    return Schema("newer" if migrations.known_by in tables else "foreign", revision)


def refuse_unless_current(address: str, migrations: Migrations = RUNS) -> None:
    """BackendUnavailable where MLflow would convert the store, or cannot read it; the message says what to do."""
    schema = schema_of(address, migrations)
    if schema.state in ("none", "current"):
        return
    here = f"MLflow {importlib.metadata.version('mlflow')}"
    what = (
        f"{redact(address)} has {f'the schema {schema.revision}' if schema.revision else 'a schema without a number'}"
    )
    if schema.state == "foreign":
        raise BackendUnavailable(f"{what}, which is another program's. Name a database of MLflow's own.")
    if schema.state == "newer":
        raise BackendUnavailable(
            f"{what} of a newer MLflow than {here}, which cannot read it. Upgrade mlflow to the version that made it, "
            "or name another store."
        )
    raise BackendUnavailable(
        f"{what} of an older MLflow than {here}, which would convert it for good: programs with the older MLflow "
        f"could not open it any more. To convert it, add --upgrade-store{_backup_first(address)}; or name another store."
    )


def upgrade(address: str, say: Callable[[str], None], migrations: Migrations = RUNS) -> None:
    """Convert a store if it is older, a SQLite file after a backup beside it. What is done goes to ``say``, a sentence each.

    BackendUnavailable where the backup or the conversion fails.
    """
    if schema_of(address, migrations).state != "older":
        return
    path, shown = sqlite_path(address), redact(address)
    backup = "There is no backup but your own"
    if path is not None:
        backup = f"Its backup is {back_up(path)}"
        say(f"Converting {shown} for MLflow {importlib.metadata.version('mlflow')}. {backup}.")
    done = subprocess.run(
        [sys.executable, "-c", migrations.convert], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "FSG_STORE": sqlalchemy_address(address)},
    )  # fmt: skip
    if done.returncode:
        reason = redact((done.stderr.strip().splitlines() or ["no message"])[-1])
        raise BackendUnavailable(f"MLflow could not convert {shown}, which may be half converted: {reason}. {backup}.")
    say(f"Converted {shown}.")


def back_up(path: Path) -> Path:
    """A copy of a SQLite file beside it, on disk when this returns; other programs may be writing meanwhile.

    BackendUnavailable where there is no room for it, or the file is damaged.
    """
    kept = free_name(path, "before-upgrade")
    partial = kept.with_name(f".{kept.name}.{os.getpid()}.partial")
    try:
        with closing(_opened(path)) as source, closing(sqlite3.connect(partial)) as copy:
            source.backup(copy)
        shutil.copymode(path, partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(kept)
        sync_folder(kept.parent)
    except (sqlite3.Error, OSError) as error:
        raise BackendUnavailable(f"{path} could not be backed up ({error}), so it was not converted.") from None
    finally:
        partial.unlink(missing_ok=True)
    return kept


def _read_file(path: Path, migrations: Migrations) -> tuple[set[str], str | None]:
    """The tables of a SQLite file, none where there is no file, and its revision."""
    if not path.exists():
        return set(), None
    try:
        with closing(_opened(path)) as database:
            tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if migrations.version_table not in tables:
                return tables, None
            row = database.execute(f"SELECT version_num FROM {migrations.version_table}").fetchone()
    except sqlite3.Error as error:
        raise BackendUnavailable(f"{path} cannot be read as MLflow's database: {error}.") from None
    return tables, row[0] if row else None


def _opened(path: Path) -> sqlite3.Connection:
    """Not made if it is not there. Writable, for what a killed writer left must be rolled back before it can be read."""
    return sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=20)


def _read_server(address: str, migrations: Migrations) -> tuple[set[str], str | None]:
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError

    arguments: dict[str, Any] = {"connect_timeout": 10} if address.startswith("postgres") else {}
    engine = create_engine(sqlalchemy_address(address), connect_args=arguments)
    try:
        with engine.connect() as connection:
            tables = set(inspect(connection).get_table_names())
            if migrations.version_table not in tables:
                return tables, None
            return tables, connection.scalar(text(f"SELECT version_num FROM {migrations.version_table}"))
    except SQLAlchemyError as error:
        first = (str(getattr(error, "orig", None) or error).strip().splitlines() or [type(error).__name__])[0]
        raise NoAnswer(f"{redact(address)} cannot be opened: {redact(first)}.") from error
    finally:
        engine.dispose()


@functools.cache
def _revisions(folder: str) -> tuple[frozenset[str], str]:
    """All revisions of the installed MLflow, and the newest of them, on which no other builds."""
    package = importlib.util.find_spec("mlflow")
    assert package is not None and package.origin is not None, "mlflow is among fsg's requirements"
    texts = [path.read_text() for path in (Path(package.origin).parent / folder).glob("*.py")]
    names = frozenset(name for text in texts for name in re.findall(r'^revision = "(\w+)"', text, re.M))
    below = {name for text in texts for name in re.findall(r'^down_revision = "(\w+)"', text, re.M)}
    (head,) = names - below
    return names, head


def _backup_first(address: str) -> str:
    """What becomes of the store as it is."""
    if sqlite_path(address) is not None:
        return " (a backup is made beside it first)"
    from sqlalchemy.engine import make_url

    url = make_url(sqlalchemy_address(address))
    if url.get_backend_name() != "postgresql":
        return " once you have a backup"
    where = {"host": url.host, "port": url.port, "username": url.username}  # an address would be shown without its user
    options = " ".join(f"--{name}={value}" for name, value in where.items() if value)
    return f" once you have a backup, as from: pg_dump {options} --file=before-upgrade.sql {url.database}"
