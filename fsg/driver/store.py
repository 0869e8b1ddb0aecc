"""The MLflow store that a study is copied to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from fsg.database import absolute_address
from fsg.redaction import redact

DEFAULT_TRACKING = "sqlite:///mlflow.db"
_STORES = ("sqlite", "postgres", "postgresql", "mysql", "mssql", "http", "https", "databricks")


def tracking_of(
    uri: str | None, upgrade_store: bool = False, study: Path | None = None, say: Callable[[str], None] = print
) -> str:
    """The MLflow store: as named, or the environment's, or that of the last run of the study in this folder, or the default.

    Refused where MLflow would convert it unasked.
    """
    from fsg.errors import ConfigError
    from fsg.tracking.store import make_ready

    if study is not None and not uri and not os.environ.get("MLFLOW_TRACKING_URI"):
        from fsg.record.surroundings import surroundings_of

        uri = surroundings_of(study).tracking_uri

    chosen = uri or os.environ.get("MLFLOW_TRACKING_URI")
    named = absolute_address(chosen) if chosen else DEFAULT_TRACKING
    if named.partition("://")[0].partition("+")[0] not in _STORES or "://" not in named:
        where = "--tracking-uri" if uri else "$MLFLOW_TRACKING_URI"
        raise ConfigError(
            f'{where} is "{redact(named)}", expected a database or a server that MLflow can use, '
            f"as in {DEFAULT_TRACKING} or http://127.0.0.1:5000. MLflow keeps no runs in plain folders any more."
        )
    make_ready(named, upgrade_store, say)
    return named
