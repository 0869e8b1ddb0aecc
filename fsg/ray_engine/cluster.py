"""Reaching Ray: one started here, or a running cluster, which is asked first whether it would have us.

Ray itself takes two minutes to give up on a wrong address, and ends the process where a token is missing; a child process
that asks the cluster for its name finds out in two seconds. Proof: ``tests/ray_engine/test_cluster.py``.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from fsg.errors import BackendUnavailable
from fsg.ray_engine.local_ray import ONE_MACHINE, local_ray
from fsg.redaction import redact

# Read by ray when it is imported, which happens in functions only.
RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would make Ray build a second environment
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the record
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # of trials that ended while the study was being stopped
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # a traceback each; the ledger has the reason
}
LAUNCHER_CONFIG = Path("~/ray_bootstrap_config.yaml").expanduser()
REACH_SECONDS = 5.0  # a host that is there accepts at once
ASK_SECONDS = 50.0  # importing ray takes 2 s, and 20 on a machine that is busy
_ASK = """
import sys
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import GcsClient
address = canonicalize_bootstrap_address(sys.argv[1])
print(address, flush=True)
GcsClient(address=address)
"""
TOKEN_HELP = (
    "Put the cluster's token into ~/.ray/auth_token or $RAY_AUTH_TOKEN: `ray get-auth-token` on its head prints it."
)


@contextmanager
def joined(address: str | None) -> Iterator[None]:
    """Connected to the cluster at ``address``, or to Ray started here (None), while the context lasts.

    A process that is connected already stays as it is. BackendUnavailable, with what to mend, where no cluster answers or it
    refuses the token, and where Ray does not start.
    """
    os.environ.update(RAY_ENVIRONMENT if address else RAY_ENVIRONMENT | ONE_MACHINE)
    use_token()
    import ray

    if ray.is_initialized():
        yield
        return
    if address is None:
        with local_ray():
            yield
        return
    refuse_open_token()
    reach(address)
    try:
        ray.init(address=meant(address), log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises a dozen kinds here, from ConnectionError to RuntimeError
        raise _no_cluster(_said(address), _first_line(str(error)) or type(error).__name__) from None
    try:
        yield
    finally:
        ray.shutdown()


def meant(address: str) -> str:
    """``auto`` is the cluster that RAY_ADDRESS names, if it does; any other address is itself.

    BackendUnavailable where RAY_ADDRESS is none of a cluster that can be joined.
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else ""
    if "://" in named:
        job = named if named.startswith("ray://") else f"job:{named}"
        raise BackendUnavailable(
            f"{_said(address)}: that is no cluster to join. To send the study there as a job: --address {redact(job)}; "
            "to join a cluster: --address HOST:PORT."
        )
    return named or address


def _said(address: str) -> str:
    """Where an address comes from, as a message begins."""
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else ""
    return f"--address {address}" + (f" (RAY_ADDRESS is {redact(named)})" if named else "")


def use_token() -> None:
    """Have Ray show its token to clusters, where there is one; what the user set in the environment stays."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def refuse_open_token() -> None:
    """BackendUnavailable where others may read the token that clusters are shown: it lets them run anything as its user."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    place = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    mode = place.stat().st_mode & 0o777 if place.is_file() else 0
    if mode & 0o077:
        raise BackendUnavailable(
            f"{place} holds the cluster's token, and others may read it (mode {mode:03o}). Whoever has it can run anything "
            f"as the cluster's user: chmod 600 {place}"
        )


def reach(address: str) -> None:
    """Ask the cluster at ``address`` ("auto" or host:port) whether it is there and takes our token; changes nothing.

    BackendUnavailable where the address is none, nobody listens, or the token is wrong.
    """
    named = meant(address)
    if named != "auto":
        _listens(named, _said(address))
    use_token()
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, named], capture_output=True, text=True, timeout=ASK_SECONDS,
            env={**os.environ, **RAY_ENVIRONMENT},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _no_cluster(_said(address), f"it did not answer in {ASK_SECONDS:g} seconds") from None
    if asked.returncode == 0:
        return
    if "InvalidAuthToken" in asked.stderr or "uthentication token" in asked.stderr:
        has = "RAY_AUTH_MODE" in os.environ and os.environ["RAY_AUTH_MODE"] == "token"
        problem = "it refuses our token" if has else "it wants a token and none was found here"
        raise BackendUnavailable(f"{_said(address)}: a Ray cluster is there, but {problem}. {TOKEN_HELP}")
    lines = [line for line in asked.stderr.strip().splitlines() if line.strip()]
    raise _no_cluster(_said(address), lines[-1].partition(": ")[2] or lines[-1] if lines else "no answer")


def grown(have: Mapping[str, float], launcher: Path = LAUNCHER_CONFIG) -> dict[str, float]:
    """What a cluster that has ``have`` may come to have, where its workers come when trials wait for them.

    ``launcher``: the configuration of `ray up` as it lies on the head. Where there is none, and no autoscaler of KubeRay either,
    the cluster is what it is.
    """
    total = dict(have)
    kinds = [kind for kind in _kinds(launcher) if kind.get("max_workers", 0)]
    if not kinds:
        return total
    named = {name for kind in kinds for name in kind.get("resources", {})}
    for name in {"CPU", "GPU", *(name for name in named if name.startswith("accelerator_type:"))}:
        most = sum(kind["max_workers"] * kind.get("resources", {}).get(name, 0) for kind in kinds)
        total[name] = max(total.get(name, 0), most)
    return total


def share_problem(shares: Iterable[Mapping[str, float]], have: Mapping[str, float]) -> str | None:
    """Why a cluster that has, or may come to have, ``have`` never runs trials of these ``shares``; None if it does."""
    for share in shares:
        for name, option in (("CPU", "--cpus-per-trial"), ("GPU", "--gpus-per-trial")):
            if (wanted := share[name.lower()]) > have.get(name, 0):
                return f"{option} is {wanted:g}, but the cluster has {have.get(name, 0):g}. Ask for less."
        for kind in share.keys() - have.keys() - {"cpu", "gpu", "memory"}:
            there = sorted(name.partition(":")[2] for name in have if name.startswith("accelerator_type:"))
            return f"trials ask for the accelerator {kind.partition(':')[2]}, but the cluster has {', '.join(there) or 'none'}."
    return None


def not_joined(nodes: int, launcher: Path = LAUNCHER_CONFIG) -> int:
    """How many machines, which are to be there whether trials wait or not, a cluster of ``nodes`` lacks (min_workers)."""
    return max(0, 1 + sum(kind.get("min_workers", 0) for kind in _kinds(launcher)) - nodes)


def _kinds(launcher: Path) -> list[dict[str, Any]]:
    """The types of machines of the cluster on whose head this runs; [] where it cannot grow."""
    types = yaml.safe_load(launcher.read_text()) if launcher.is_file() else _of_kuberay()
    return list(types.get("available_node_types", {}).values())


def _of_kuberay() -> dict[str, Any]:
    """The same on the head of a KubeRay cluster that scales: from the resource that its autoscaler reads, with its right to it.

    {} elsewhere, and where the API server does not give it.
    """
    if "--no-monitor" not in os.environ.get("KUBERAY_GEN_RAY_START_CMD", ""):
        return {}  # KubeRay starts Ray's head so where an autoscaler of its own stands beside it
    from ray.autoscaler._private.kuberay.autoscaling_config import AutoscalingConfigProducer

    try:
        read = AutoscalingConfigProducer(os.environ["RAY_CLUSTER_NAME"], os.environ["RAY_CLUSTER_NAMESPACE"])
        config: dict[str, Any] = read()
    except (OSError, KeyError):  # of requests, too
        return {}
    return config


def _listens(address: str, said: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BackendUnavailable(
            f'{said}: "{address}" is no address, expected auto, HOST:PORT, ray://HOST:PORT or job:http://HOST:PORT.'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(said, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(said: str, why: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"{said}: no Ray cluster answers there ({why}). "
        "Start one with `ray start --head`, or leave --address out to use this machine."
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
