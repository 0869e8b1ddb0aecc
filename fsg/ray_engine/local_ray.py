"""Ray on this machine, started for one driver and ended with it.

It listens on loopback alone, takes the cores that the driver may use, and starts here whatever RAY_ADDRESS says: a cluster is
joined where ``--address`` asks for it. A start that took too long is made once more; then what is wrong is said by its cause.
Proof: ``tests/ray_engine/test_local_ray.py``.
"""

from __future__ import annotations

import errno
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from fsg.cores import usable_cores
from fsg.errors import BackendUnavailable
from fsg.execution.process import undisturbed
from fsg.files import as_size, is_full

# Read by ray when it is imported, which happens in functions only.
ONE_MACHINE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray listens on every interface (seen in 2.60: six ports)
    "RAY_prestart_worker_first_driver": "0",  # a worker per core, of which Tune's actors take none: 2.5 s of processor each
}
# Not 60: a GCS that was killed does not come back here. As a setting of Ray's and not in the environment it counts once Ray
# runs; while it starts, a machine that is busy has the 60 s that Ray gives it before it ends this process.
ONCE_IT_RUNS = {"gcs_rpc_server_reconnect_timeout_s": 15}
SLOW_SECONDS = (
    45.0  # after which a start that lasts is said to last: 4 s are usual, 40 were seen beside ten other programs
)
SOCKET_BYTES = 107  # the longest name of a socket that Linux takes
_SOCKETS = "/ray/session_2026-11-28_01-28-54_860269_1234567/sockets/plasma_store"  # as Ray names them below its folder
MEMORY, DISK = 10**9, 10**8  # bytes: with less Ray's own processes do not come up


@contextmanager
def local_ray() -> Iterator[None]:
    """Ray runs here while the context lasts. BackendUnavailable, with the cause, where it does not start.

    Once it has started, SIGTERM does what it did before, where Ray would end this process with 1 and no word.
    """
    import ray

    short, terminate = short_folder(), signal.getsignal(signal.SIGTERM)
    try:
        with _asking_for_what_is_shown():
            _start(short)
        # Where nobody had said what it does, Ray's way at least ends Ray's processes.
        if threading.current_thread() is threading.main_thread() and terminate is not signal.SIG_DFL:
            signal.signal(signal.SIGTERM, terminate)
        yield
    finally:
        with undisturbed():  # half ended, Ray may end this process
            ray.shutdown()
            if short is not None:
                shutil.rmtree(short, ignore_errors=True)


def short_folder() -> str | None:
    """A new folder for Ray in ``/tmp`` where the sockets in its usual one would have too long a name; else None."""
    usual = _usual_folder()
    longest = SOCKET_BYTES - len(_SOCKETS)
    if len(os.fsencode(usual)) <= longest:
        return None
    try:
        return tempfile.mkdtemp(prefix="fsg-ray-", dir="/tmp")
    except OSError as error:
        raise BackendUnavailable(
            f"{usual}: Ray's sockets there would have names of more than the {SOCKET_BYTES} bytes that the system takes, and "
            f"/tmp cannot be used instead ({error.strerror}). Set RAY_TMPDIR to a folder of at most {longest} characters."
        ) from None


@contextmanager
def _asking_for_what_is_shown() -> Iterator[None]:
    """A Ray that is started meanwhile asks for a token if this process shows one, which Ray settles when it is imported.

    RAY_AUTH_MODE may be set since then, by whoever joined a cluster; it is given back.
    """
    from ray._private.authentication.authentication_utils import get_authentication_mode_name
    from ray._raylet import get_authentication_mode  # type: ignore[attr-defined]

    before = os.environ.get("RAY_AUTH_MODE")
    os.environ["RAY_AUTH_MODE"] = get_authentication_mode_name(get_authentication_mode())
    try:
        yield
    finally:
        os.environ.pop("RAY_AUTH_MODE")
        if before is not None:
            os.environ["RAY_AUTH_MODE"] = before


def _usual_folder() -> str:
    """Where Ray puts sockets and logs."""
    return os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"


def _start(folder: str | None) -> None:
    import ray

    options: dict[str, Any] = {
        "address": "local",
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "_temp_dir": folder,
        "_system_config": ONCE_IT_RUNS,
    }
    for last in (False, True):
        slow = threading.Timer(SLOW_SECONDS, _say, [f"Ray is still starting after {SLOW_SECONDS:.0f} s: {strain()}."])
        slow.daemon = True
        before = set(psutil.Process().children())
        slow.start()
        try:
            ray.init(**options)
            return
        except Exception as error:  # a bare Exception after 30 s without an answer
            ray.shutdown()
            _end_remains(before)
            problem = cause(error)
            if last or problem is not None:
                said = (str(error).strip().splitlines() or [type(error).__name__])[0]
                why = problem or f"{strain()}. Run the same command again when it has less to do"
                raise BackendUnavailable(f"Ray did not start on this machine: {why}. (Ray says: {said})") from None
            _say(f"Ray did not start in time ({strain()}); trying once more.")
        finally:
            slow.cancel()


def cause(error: Exception) -> str | None:
    """What keeps Ray from starting and does not pass by itself, with what to do; None where it was only slow."""
    folder = Path(_usual_folder())
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open. Raise the limit: ulimit -n 8192"
    if isinstance(error, OSError) and error.errno == errno.EAGAIN:
        return "no further process may be started. Raise the limit (ulimit -u), or end others"
    if isinstance(error, OSError) and not is_full(error) and error.errno is not None:
        return f"{error.filename or folder} cannot be used ({error.strerror}). Set RAY_TMPDIR to a folder that can be written"
    if (free := psutil.virtual_memory().available) < MEMORY:
        return f"only {as_size(free)} of memory are free. End other programs, or take a machine that has more"
    existing = next((place for place in (folder, *folder.parents) if place.is_dir()), Path("/"))
    if (isinstance(error, OSError) and is_full(error)) or shutil.disk_usage(existing).free < DISK:
        return f"there is no room in {folder}. Make some, or set RAY_TMPDIR to a folder that has it"
    return None


def strain() -> str:
    """How busy this machine is."""
    waiting, cores = os.getloadavg()[0], usable_cores()
    if waiting > 1.5 * cores:
        return f"the machine is busy, {waiting:.0f} programs at a time want its {cores} cores"
    return "its processes did not answer, though the machine is not busy"


def _end_remains(before: set[psutil.Process]) -> None:
    """Kill what a start that failed has left: the second would run beside it."""
    for process in set(psutil.Process().children()) - before:
        try:
            if any("/ray/" in word for word in process.cmdline()[:4]):
                process.kill()
                process.wait(5)
        except (psutil.Error, ProcessLookupError):
            continue


def _say(sentence: str) -> None:
    print(f"fsg: {sentence}", file=sys.stderr, flush=True)
