"""The first line of a ledger: which study this is, and which versions of what it runs on.

The line is kept once more in ``header.json``: the study's id is drawn at random, and nothing else could give it back.
"""

from __future__ import annotations

import platform
import subprocess
import uuid
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fsg.config import canonical_json
from fsg.files import write_atomically
from fsg.record.ledger import Ledger, parse_line
from fsg.study.spec import AblationSpec, SweepSpec

COPY = "header.json"
PACKAGES = ("fsg", "torch", "numpy", "ray", "optuna", "mlflow")


def begin(ledger: Ledger, spec: AblationSpec | SweepSpec) -> dict[str, Any]:
    """Write the header of a study that begins, and return it."""
    header = ledger.append(
        "study",
        study_id=uuid.uuid4().hex,
        name=spec.name,
        kind=spec.kind,
        spec_digest=spec.digest(),
        versions=installed_versions(),
        git_commit=git_commit(),
        format=spec.format,
    )
    keep_copy(ledger.path.parent, canonical_json(header).encode())
    return header


def keep_copy(folder: Path, line: bytes) -> None:
    """Keep the header's line in a study's folder, where ``copy_of_header`` finds it."""
    write_atomically(folder / COPY, line)


def copy_of_header(folder: Path) -> bytes | None:
    """The header's line as ``begin`` kept it in a study's folder; None where it is missing or damaged itself."""
    try:
        line = (folder / COPY).read_bytes()
        return line if parse_line(line)["event"] == "study" else None
    except (OSError, ValueError):
        return None


def installed_versions() -> dict[str, str]:
    """Python's version and those of the packages a result depends on, read without importing them."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # the trainer runs without ray and mlflow
    return found


def git_commit() -> str | None:
    """The commit of the working directory, with "+" where files differ from it; None outside a repository."""
    try:
        commit = _git("rev-parse", "--short=12", "HEAD")
        return f"{commit}+" if _git("status", "--porcelain", "--untracked-files=no") else commit
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True, timeout=10).stdout.strip()
