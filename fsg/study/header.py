"""The first line of a ledger: which study this is, and which versions of what it runs on."""

from __future__ import annotations

import platform
import subprocess
import uuid
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fsg.study.ledger import Ledger
from fsg.study.spec import AblationSpec, SweepSpec

PACKAGES = ("fsg", "torch", "ray", "optuna", "mlflow")


def begin(ledger: Ledger, spec: AblationSpec | SweepSpec) -> dict[str, Any]:
    """Write the header of a study that begins, and return it."""
    return ledger.append(
        "study",
        study_id=uuid.uuid4().hex,
        name=spec.name,
        kind=spec.kind,
        spec_digest=spec.digest(),
        versions=installed_versions(),
        git_commit=git_commit(),
    )


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
