"""Reaching Ray: one started here that listens on loopback alone, or a running cluster, asked first whether it would have us.

Ray itself takes two minutes to give up on a wrong address, and ends the process where a token is missing; a child process
that asks the cluster for its name finds out in two seconds. Proof: ``tests/tune/test_cluster.py``.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from fsg.errors import BackendUnavailable

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
ONE_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray listens on every interface (seen in 2.60: six ports)
    "RAY_prestart_worker_first_driver": "0",  # a worker per core, of which Tune's actors take none: 2.5 s of processor each
    "RAY_gcs_rpc_server_reconnect_timeout_s": "15",  # not 60: a GCS that was killed does not come back here
}
LAUNCHER_CONFIG = Path("~/ray_bootstrap_config.yaml").expanduser()
REACH_SECONDS = 5.0  # a host that is there accepts at once
ASK_SECONDS = 60.0  # importing ray takes 2 s, and 20 on a machine that is busy
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


def connect(address: str | None) -> bool:
    """Join the cluster at ``address``, or start Ray here (None); False if this process was connected already.

    BackendUnavailable, with what to mend, where no cluster answers or it refuses the token.
    """
    os.environ.update(RAY_ENVIRONMENT if address else RAY_ENVIRONMENT | ONE_MACHINE)
    use_token()
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if address is None:
        try:
            ray.init(include_dashboard=False, **quiet)
        except Exception as error:  # a bare Exception after 30 s without an answer, on a machine that is too busy
            why = _first_line(str(error)) or type(error).__name__
            raise BackendUnavailable(
                f"Ray did not start on this machine ({why}). Is it busy, short of memory, or without room in "
                f"{os.environ.get('RAY_TMPDIR', '/tmp')}? Then run the same command again."
            ) from None
        return True
    reach(address)
    try:
        ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises a dozen kinds here, from ConnectionError to RuntimeError
        raise _no_cluster(address, _first_line(str(error)) or type(error).__name__) from None
    return True


def use_token() -> None:
    """Have Ray show its token to clusters, where there is one; what the user set in the environment stays."""
    named = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH")
    if named or (Path.home() / ".ray" / "auth_token").is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def reach(address: str) -> None:
    """Ask the cluster at ``address`` ("auto" or host:port) whether it is there and takes our token; changes nothing.

    BackendUnavailable where the address is none, nobody listens, or the token is wrong.
    """
    if address != "auto":
        _listens(address)
    use_token()
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _ASK, address], capture_output=True, text=True, timeout=ASK_SECONDS,
            env={**os.environ, **RAY_ENVIRONMENT},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise _no_cluster(address, f"it did not answer in {ASK_SECONDS:g} seconds") from None
    if asked.returncode == 0:
        return
    if "InvalidAuthToken" in asked.stderr or "uthentication token" in asked.stderr:
        has = "RAY_AUTH_MODE" in os.environ and os.environ["RAY_AUTH_MODE"] == "token"
        problem = "it refuses our token" if has else "it wants a token and none was found here"
        raise BackendUnavailable(f"--address {address}: a Ray cluster is there, but {problem}. {TOKEN_HELP}")
    lines = [line for line in asked.stderr.strip().splitlines() if line.strip()]
    raise _no_cluster(address, lines[-1].partition(": ")[2] or lines[-1] if lines else "no answer")


def grown(have: Mapping[str, float], launcher: Path = LAUNCHER_CONFIG) -> dict[str, float]:
    """What a cluster that has ``have`` may come to have: where `ray up` made it, its workers come when trials wait.

    ``launcher``: the launcher's configuration as it lies on the head; where there is none, the cluster is what it is.
    """
    total = dict(have)
    if launcher.is_file():
        types = yaml.safe_load(launcher.read_text()).get("available_node_types", {})
        for name in ("CPU", "GPU"):
            most = sum(kind.get("max_workers", 0) * kind.get("resources", {}).get(name, 0) for kind in types.values())
            total[name] = max(total.get(name, 0), most)
    return total


def _listens(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise BackendUnavailable(
            f'--address is "{address}", expected auto, HOST:PORT, ray://HOST:PORT or job:http://HOST:PORT.'
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, getattr(error, "strerror", None) or str(error)) from None


def _no_cluster(address: str, why: str) -> BackendUnavailable:
    return BackendUnavailable(
        f"--address {address}: no Ray cluster answers there ({why}). "
        "Start one with `ray start --head`, or leave --address out to use this machine."
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0] if text.strip() else ""
