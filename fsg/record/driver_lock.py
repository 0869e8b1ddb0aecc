"""One driver a study: who drives it, since when, and what to do about one that died.

``driver.json`` in the study's folder is locked (flock) by the driver, and says who that is; the driver writes it anew every
few seconds. What is relied on:

- On one machine the kernel's lock alone: it ends with the process, however that ends, so a lock that can be had is free.
  A container counts as a machine of its own: its process numbers are not those of the next.
- On a share whose server keeps locks (NFS since version 4, SMB) the same holds between machines.
- Where locks are not kept, or only on each machine, the file decides: a driver on another machine counts as alive until it
  has not written for ``SILENT`` seconds. Times are compared as the share's own clock wrote them, so clocks may differ.

The file is written in place and never removed: a lock is of the file, and not of its name.
Proof: ``tests/record/test_driver_lock.py``.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsg.errors import StudyError

FILE = "driver.json"
BEAT, SILENT = 5.0, 30.0
_SLACK = 2.0  # seconds by which a clock may be set back while a driver runs
_SIZE = 1024  # bytes, always written at once: a reader sees the old text or the new one
_MACHINES_OWN = "pid:[4026531836]"  # the namespace of the processes of no container: the kernel's PROC_PID_INIT_INO
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


class StudyLock:
    """Holds the study in ``folder``, which is made if need be, while the context lasts.

    ``before`` is what the last driver said of itself; ``taken_over`` a sentence about it, if it died with the lock.
    StudyError on entering if another holds it.
    """

    def __init__(self, folder: str | Path, beat: float = BEAT, silent: float = SILENT) -> None:
        self.path = Path(folder) / FILE
        self.before: dict[str, Any] = {}
        self.taken_over: str | None = None
        self.notes: Callable[[], dict[str, Any]] = dict  # what else the driver says of itself, at every beat
        self._beat, self._silent = beat, silent
        self._file = -1
        self._me = {
            "host": socket.gethostname(),
            "machine": machine_id(),
            "pid": os.getpid(),
            "started": _ticks(os.getpid()),
            "since": time.time(),
            "token": secrets.token_hex(8),
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="fsg-lock", daemon=True)

    def __enter__(self) -> StudyLock:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StudyError(f"{self.path.parent}: cannot be written ({error}). Choose another --storage.") from None
        try:
            self._take()
        except BaseException as error:
            os.close(self._file)
            if isinstance(error, OSError):
                raise StudyError(f"{self.path}: cannot be written ({error}). Choose another --storage.") from None
            raise
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        with suppress(OSError, StudyError):
            self._write(released=True)
        os.close(self._file)

    def _take(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = True
        except BlockingIOError:
            raise self._refusal(_parsed(os.pread(self._file, _SIZE, 0))) from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise StudyError(f"{self.path}: cannot be locked ({error}).") from None
            locked = False
        self.before = before = _parsed(os.pread(self._file, _SIZE, 0))
        if before and not before.get("released"):
            if not self._has_ended(before, locked):
                raise self._refusal(before)
            self.taken_over = (
                f"{self.path.parent}: its last driver ({_who(before)}) ended without a word; taken over from it."
            )
        self._write()
        if not locked:  # two may have come this far: the last to write has it
            time.sleep(min(1.0, self._beat))
            after = _parsed(os.pread(self._file, _SIZE, 0))
            if after.get("token") != self._me["token"]:
                raise self._refusal(after)

    def _has_ended(self, before: Mapping[str, Any], locked: bool) -> bool:
        """Whether the last driver, which did not let go, is no more. ``locked``: the lock was to be had."""
        theirs, ours = str(before.get("machine")), str(self._me["machine"])
        if locked and theirs.partition(" ")[0] == ours.partition(" ")[0]:
            return True  # one kernel keeps the locks of all its containers
        return not _lives(before) if theirs == ours else _silence(self.path, self._file) > self._silent

    def _write(self, released: bool = False) -> None:
        content = self._me | {"released": released, "beat": time.time()} | self.notes()
        text = json.dumps(content).encode()
        os.pwrite(self._file, text[: _SIZE - 1].ljust(_SIZE - 1) + b"\n", 0)

    def _keep_beating(self) -> None:
        while not self._over.wait(self._beat):
            with suppress(OSError):  # a disk that is full or away is the ledger's to report
                now = _parsed(os.pread(self._file, _SIZE, 0))
                if now and now.get("token") != self._me["token"]:
                    _thread.interrupt_main()  # we stood still for so long that another took over
                    return
                self._write()

    def _refusal(self, holder: dict[str, Any]) -> StudyError:
        who = _who(holder) if holder else "somebody who has not said who"
        return StudyError(
            f"{self.path.parent}: is being driven already: {who}. "
            f"Wait for it, or stop it with Ctrl-C or: kill {holder.get('pid', 'PID')}. "
            f"If its machine died, try again in {self._silent:.0f} s."
        )


def driver_of(folder: str | Path) -> dict[str, Any] | None:
    """What the last driver of a study said of itself, with ``alive``: whether it still drives. None if there was none."""
    path = Path(folder) / FILE
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        said = _parsed(os.pread(file, _SIZE, 0))
        if not said:
            return None
        if said.get("released"):
            alive = False
        elif said.get("machine") == machine_id():
            alive = _lives(said)
        else:
            alive = _silence(path, file) < SILENT
        return said | {"alive": alive}
    finally:
        os.close(file)


def was_killed(driver: Mapping[str, Any] | None) -> bool:
    """Whether the last driver, as ``driver_of`` tells of it, ended without a word."""
    return driver is not None and not driver["alive"] and not driver.get("released")


def ledger_bytes(said: Mapping[str, Any] | None) -> int:
    """How many bytes of whole lines the ledger had when a driver last spoke of it; 0 where that is not known."""
    known = (said or {}).get("ledger_bytes")
    return known if isinstance(known, int) else 0


def machine_id() -> str:
    """Of this boot of this machine, whatever its name, and in a container of that too: a process number means something only
    within it. Containers of one machine share the boot, but not their processes.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return socket.gethostname()
    return boot if processes == _MACHINES_OWN else f"{boot} {processes}"


def _silence(path: Path, file: int) -> float:
    """Seconds since ``file``, open at ``path``, was last written: by the file system's clock, by ours where we cannot write."""
    probe = path.with_name(f".{FILE}.{secrets.token_hex(8)}")
    now = time.time()
    with suppress(OSError):
        probe.write_bytes(b"")
        now = probe.stat().st_mtime
        probe.unlink()
    return now - os.fstat(file).st_mtime


def _lives(said: Mapping[str, Any]) -> bool:
    """Whether the driver's process of this machine lives: not another one that was given its number since."""
    pid, began, since = said.get("pid"), said.get("started"), said.get("since")
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    ticks = _ticks(pid)
    if ticks is None:
        return True
    if isinstance(began, int):
        return ticks == began
    # Written by a driver of 0.1.0, which did not say when it began: not after it took the lock.
    return not isinstance(since, int | float) or _age(ticks) >= time.time() - since - _SLACK


def _ticks(pid: int) -> int | None:
    """When a process began, in clock ticks since this boot; None where the kernel does not say."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _age(ticks: int) -> float:
    """Seconds since a process began."""
    return float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK")


def _who(holder: dict[str, Any]) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.get("since", 0)))
    return f"process {holder.get('pid')} on {holder.get('host')}, since {since}"


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
