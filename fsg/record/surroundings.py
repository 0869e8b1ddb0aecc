"""What a study found around it where it last ran, kept in its folder: the working folder and the MLflow store of its copy.

Both are told relative to the study, so that a tree that is moved whole finds them again. With them ``fsg resume`` from any
folder reads the same data and goes on with the same copy. Proof: ``tests/record/test_surroundings.py``.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsg.database import sqlite_path
from fsg.files import write_atomically
from fsg.redaction import redact

FILE = "surroundings.json"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is remembered, and is there.

    Attributes:
        working_folder: What relative paths of the study's file are seen from; None where it is not there (any more).
        tracking_uri: The MLflow store of its copy; None for one that is not known, or whose address holds a password.
    """

    working_folder: Path | None = None
    tracking_uri: str | None = None


def remember_surroundings(study: Path, tracking_uri: str) -> None:
    """Write down that the study in the folder ``study`` runs in this working folder, with its copy at ``tracking_uri``.

    A disk that refuses is the ledger's to report: a study runs without this, too.
    """
    here = study.resolve()
    uri: str | None = tracking_uri if redact(tracking_uri) == tracking_uri else None
    if uri is not None and (store := sqlite_path(uri)):
        uri = f"sqlite:///{os.path.relpath(store, here)}"
    said = {"working_folder": os.path.relpath(Path.cwd(), here), "tracking_uri": uri}
    text = json.dumps(said, indent=1).encode() + b"\n"
    path = here / FILE
    with suppress(OSError):
        if not path.exists() or path.read_bytes() != text:
            write_atomically(path, text)


def surroundings_of(study: Path) -> Surroundings:
    """What was remembered, as seen from here: nothing of it that is not there."""
    here = study.resolve()
    try:
        said = json.loads((here / FILE).read_text())
        folder, uri = said["working_folder"], said["tracking_uri"]
        working = Path(os.path.normpath(here / folder))
    except (OSError, ValueError, KeyError, TypeError):
        return Surroundings()
    if isinstance(uri, str) and uri.startswith("sqlite:///"):
        store = Path(os.path.normpath(here / uri.removeprefix("sqlite:///")))
        uri = f"sqlite:///{store}" if store.is_file() else None
    return Surroundings(working if working.is_dir() else None, uri)
