"""What decides a trial's numbers on a machine: versions, and digests of source. A worker that has others refuses its trial.

Proof: ``tests/ray_engine/test_nodes.py``.
"""

from __future__ import annotations

import functools
import hashlib
import platform
import socket
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fsg.errors import BackendUnavailable
from fsg.plugins import installed

SAME = "Every node needs what the driver has: install it there, or ship the tree with --address job:http://HOST:8265."


@functools.cache
def software() -> dict[str, str]:
    """What decides a trial's numbers here: Python, torch, fsg, a digest of its source, and packages with parts of their own."""
    found = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in ("torch", "fsg"):
        with suppress(PackageNotFoundError):
            found[name] = version(name).partition("+")[0]  # 2.11.0+cu126 and 2.11.0+cpu are one release
    found |= installed()  # packages that register parts; a study's own files travel with its trials
    package = Path(__file__).parents[1]
    sources = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        sources.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return {**found, "fsg source": sources.hexdigest()[:12]}


def differing(driver: Mapping[str, str], node: Mapping[str, str]) -> str | None:
    """What ``node`` runs other than the driver does, as "torch 2.11.0 instead of 2.13.0"; None if it is the same."""
    differences = [
        f"{name} {node.get(name, '(not installed)')} instead of {driver.get(name, '(not installed)')}"
        for name in dict.fromkeys([*driver, *node])
        if driver.get(name) != node.get(name)
    ]
    return ", ".join(differences) or None


def refuse_other_software(driver: Mapping[str, str]) -> None:
    """BackendUnavailable where this process runs other versions than the driver: its trial would not be comparable."""
    other = differing(driver, software())
    if other:
        raise BackendUnavailable(f"node {socket.gethostname()} has {other}. {SAME}")
