"""Addresses of databases: what SQLAlchemy is given for what a person wrote, be it for Optuna, MLflow or a team's server.

A bare ``postgresql://`` is another driver in every SQLAlchemy (psycopg2 up to 2.0, psycopg 3 from 2.1 on); here it is
psycopg2, which the extra ``server`` brings. Proof: ``tests/test_database.py``.
"""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from urllib.parse import unquote

from fsg.errors import BackendUnavailable, ConfigError
from fsg.files import user_path
from fsg.redaction import redact

POSTGRESQL_DRIVERS = ("psycopg2", "psycopg")  # in this order; the second for those who have no other
_SQLITE = re.compile(r"sqlite(?:\+pysqlite)?:///([^?]+)")
_POSTGRESQL = re.compile(r"postgres(?:ql)?(?=://)")


def sqlite_path(address: str) -> Path | None:
    """The file of a ``sqlite:///`` address as an absolute path, ``~`` expanded; None for any other address."""
    found = _SQLITE.match(address)
    return None if found is None else user_path(unquote(found[1])).absolute()


def absolute_address(address: str) -> str:
    """``address`` as it can be opened from any folder: of a SQLite file the whole path, of anything else the same."""
    path = sqlite_path(address)
    return address if path is None else f"sqlite:///{path}"


def sqlalchemy_address(address: str) -> str:
    """``address`` with its driver named, and a SQLite file's path absolute: what every use of a database opens.

    ConfigError for what is no address of a database, BackendUnavailable where the driver is not installed; neither
    shows a password.
    """
    path = sqlite_path(address)
    if path is not None:
        return f"sqlite:///{path}" + "".join(address.partition("?")[1:])
    found = [driver for driver in POSTGRESQL_DRIVERS if importlib.util.find_spec(driver) is not None]
    named = _POSTGRESQL.sub(f"postgresql+{found[0] if found else POSTGRESQL_DRIVERS[0]}", address, count=1)
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(named)
        url.get_dialect().import_dbapi()
        if url.get_backend_name() == "sqlite":  # two slashes, or memory that the next process would not find
            raise ArgumentError
    except (ArgumentError, ValueError):  # ArgumentError: also a kind of database that SQLAlchemy does not know
        raise ConfigError(
            f"{redact(address)} is no address of a database. Expected sqlite:///FILE.db, "
            "postgresql://USER@HOST/DATABASE or another that SQLAlchemy knows."
        ) from None
    except ImportError as error:
        needed = error.name or str(error)
        how = ': pip install "fsg[server]"' if needed == POSTGRESQL_DRIVERS[0] else ", which is not installed"
        raise BackendUnavailable(f"{redact(address)} needs the Python package {needed}{how}.") from None
    return named


def with_environment(address: str) -> str:
    """``address`` with each ``${NAME}`` replaced by that variable's value. ConfigError where one is not set."""
    missing = [name for name in re.findall(r"\$\{(\w+)\}", address) if name not in os.environ]
    if missing:
        raise ConfigError(f"{redact(address)}: the environment has no variable {', '.join(missing)}; set it.")
    return os.path.expandvars(address)
