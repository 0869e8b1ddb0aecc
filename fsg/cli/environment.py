"""The variables of the environment that change what a study does, said in one line before it begins.

They are inherited from a login file, a batch system or a notebook, and nobody who reads the command sees them.
Proof: ``tests/cli/test_environment.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from fsg.redaction import SHOWN, is_secret, redact

# Of Ray, MLflow, CUDA, threads and proxies; CUDA_HOME, CUDA_VERSION and the like, which images set, change nothing.
_NAMES = re.compile(
    r"(RAY|TUNE|MLFLOW|OMP|MKL|NUMBA)_\w+|OPENBLAS_NUM_THREADS|(CUDA|NVIDIA)_VISIBLE_DEVICES|CUDA_DEVICE_ORDER"
    r"|CUDA_LAUNCH_BLOCKING|CUBLAS_WORKSPACE_CONFIG|PYTORCH_\w+|(?i:(https?|all|no)_proxy)"
)
MOST, LONGEST = 10, 40  # variables, and letters of a value, in the line


def environment_line(tracking: str, tracking_given: bool, address: str | None) -> str | None:
    """The line; None where there is nothing to say.

    Args:
        tracking: The MLflow store that the study writes to.
        tracking_given: Whether that was typed.
        address: The Ray cluster that is joined; None: Ray starts here.
    """
    ours, in_job = _ours(), "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ  # there Ray itself sets a dozen
    found = {
        name: value
        for name, value in sorted(os.environ.items())
        if value and _NAMES.fullmatch(name) and ours.get(name) != value and not (in_job and name.startswith("RAY_"))
    }
    notes = {}
    if address is None:
        notes["RAY_ADDRESS"] = "not used: without --address a study runs here"
    elif address != "auto":
        notes["RAY_ADDRESS"] = "not used: --address names a cluster"
    if tracking_given:
        notes["MLFLOW_TRACKING_URI"] = "not used: --tracking-uri names a store"
    notes |= dict.fromkeys(found.keys() & {"http_proxy", "HTTP_PROXY"}, _between(tracking))
    said = [_shown(name, value) + (f" ({notes[name]})" if notes.get(name) else "") for name, value in found.items()]
    if not said:
        return None
    more = f" and {len(said) - MOST} more" if len(said) > MOST else ""
    return f"From the environment: {', '.join(said[:MOST])}{more}."


def _ours() -> Mapping[str, str]:
    """What every driver sets for itself, as it may be inherited from one."""
    from fsg.ray_engine.cluster import ONE_MACHINE, RAY_ENVIRONMENT
    from fsg.tracking.store import QUIET

    return {**QUIET, **RAY_ENVIRONMENT, **ONE_MACHINE}


def _shown(name: str, value: str) -> str:
    text = SHOWN if is_secret(name) else redact(" ".join(value.split()))
    return f"{name}={text if len(text) <= LONGEST else text[:LONGEST] + '...'}"


def _between(tracking: str) -> str:
    """What a proxy does that stands between this machine and an MLflow server on it; "" if none does."""
    address = urlsplit(tracking)
    host = address.hostname or ""
    if address.scheme != "http" or not (host == "localhost" or host == "::1" or host.startswith("127.")):
        return ""
    if "http" not in getproxies_environment() or proxy_bypass(host):
        return ""
    return f"asked for MLflow on {host} too; if it should not be, set NO_PROXY={host}"
