"""``fsg doctor --cluster``: every node of a Ray cluster, looked at before a study is sent there. Starts no trial.

Address and token first: without them nothing else can be asked. Proof: ``tests/clusters/test_real_cluster.py``.
"""

from __future__ import annotations

import os
import secrets
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from fsg.ray_engine.nodes import (
    MOST_SKEW,
    Ask,
    Found,
    ask_nodes,
    clock_skews,
    judge,
    skew_problems,
    software,
)
from fsg.redaction import redact

Check = tuple[str, bool, str]  # its name, whether it is fine, what was found


def examine(address: str, storage: Path, tracking_uri: str | None, gpu_kind: str | None) -> Iterator[Check]:
    """What the cluster at ``address`` has, and what is wrong."""
    from fsg.ray_engine.cluster import joined

    with joined(address):  # BackendUnavailable says what to mend
        yield from _examine(address, storage, tracking_uri, gpu_kind)


def _examine(address: str, storage: Path, tracking_uri: str | None, gpu_kind: str | None) -> Iterator[Check]:
    yield "address", True, f"{address}, and it takes our token" if _with_token() else f"{address}, which wants no token"
    storage = storage.absolute()
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    server = uri if uri and uri.startswith(("http://", "https://")) else None
    probe = storage / f".fsg-driver-{secrets.token_hex(6)}"
    try:
        storage.mkdir(parents=True, exist_ok=True)
        probe.touch()
        found = ask_nodes(Ask(storage, probe.name))
    except OSError as error:
        yield "storage", False, f"{storage} cannot be written from here ({error.strerror}). Choose another --storage."
        return
    finally:
        with suppress(OSError):
            probe.unlink()
    problems = [*judge(software(), found), *(_server_problems(server) if server else [])]
    problems += skew_problems(clock_skews())
    problems += _machines_problem(len(found))
    if gpu_kind is not None and not any(gpu_kind.lower() in gpu.lower() for node in found for gpu in node.gpus):
        problems.append(f"no node has a GPU of the kind {gpu_kind}; there are: {_kinds(found) or 'none'}.")
    for node in found:
        fine = not any(node.node in problem for problem in problems)
        yield "node", fine, f"{node.node}: {_kinds([node]) or 'no GPU'}"
    if not problems:
        yield "versions", True, ", ".join(f"{name} {value}" for name, value in software().items())
        yield "storage", True, f"{storage}, written, read and cleared from every node"
        yield (
            "tracking",
            True,
            f"{server}, and it takes our login" if server else "no server named; the driver's own file",
        )
        yield "clocks", True, f"within {MOST_SKEW:g} s of this machine's"
    for problem in problems:
        yield "", False, problem


def _with_token() -> bool:
    return os.environ.get("RAY_AUTH_MODE") == "token"


def _kinds(found: Sequence[Found]) -> str:
    counted = Counter(gpu for node in found for gpu in node.gpus)
    return ", ".join(f"{count} x {gpu}" for gpu, count in counted.items())


def _server_problems(server: str) -> list[str]:
    """What keeps studies from the tracking server, asked from here alone: their driver writes to it, and no trial does."""
    if problem := server_problem(server):
        return [problem]
    from fsg.tracking.store import open_client

    try:
        open_client(server).search_experiments(max_results=1)
    except Exception as error:  # whatever mlflow raises
        first = redact(str(error)).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        return [
            f"the tracking server {redact(server)} refuses us ({first}). Set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or ~/.mlflow/credentials."
        ]
    return []


def server_problem(address: str) -> str | None:
    """Why the tracking server at ``address`` (http) is of no use from this machine, or None."""
    named = f"the tracking server {redact(address)}"
    try:
        with urllib.request.urlopen(f"{address.rstrip('/')}/health", timeout=10):
            return None
    except urllib.error.HTTPError as error:
        if error.code == 401:
            return None  # it is there; whether it takes our login is another question
        hint = " Name that host in its allowed_hosts." if error.code == 403 else ""
        return f"{named} answers {error.code} {error.reason}.{hint}"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return f"{named} cannot be reached from here ({reason}). Start it, or open its port to this machine."


def _machines_problem(nodes: int) -> list[str]:
    """That machines which are always to be there have not joined; and what the autoscaler, whose work it is, says."""
    from fsg.ray_engine.cluster import not_joined
    from fsg.ray_engine.waiting import Autoscaler

    if not (lacking := not_joined(nodes)):
        return []
    return [
        f"{lacking} of {nodes - 1 + lacking} machines have not joined. {Autoscaler()()} `ray monitor FILE` shows how their "
        "set-up goes."
    ]
