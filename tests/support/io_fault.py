"""Injected I/O faults: a preloaded library (``io_fault.c``) that fails the Nth call on the files of a study."""

import atexit
import errno
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("io_fault.c")
CLASSES = {"l": "ledger", "c": "checkpoint", "j": "journal", "s": "spec"}
SHORT = 0  # in an error's place: a write is made by half


class NoShim(Exception):
    """Why there can be no injected faults here."""


@functools.cache
def shim() -> Path:
    """The library, built once a process. NoShim where it cannot be."""
    if sys.platform != "linux":
        raise NoShim("faults are injected with glibc's LD_PRELOAD, so on Linux alone")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoShim("injecting faults needs a C compiler: .ci/debian-packages.txt")
    folder = tempfile.mkdtemp(prefix="fsg-io-fault-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    built = Path(folder) / "io_fault.so"
    options = ["-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-U_FORTIFY_SOURCE"]
    said = subprocess.run([compiler, *options, "-o", str(built), str(SOURCE), "-ldl"], capture_output=True, text=True)
    if said.returncode:
        raise NoShim(f"the library for faults does not build: {said.stderr.strip()[-300:]}")
    return built


def preloaded() -> dict[str, str]:
    """The environment of a process that can arm the library. NoShim where there is none."""
    return os.environ | {"LD_PRELOAD": " ".join(filter(None, [str(shim()), os.environ.get("LD_PRELOAD")]))}


@dataclass(frozen=True)
class Fault:
    """From the ``nth`` counted call on (0: none), the next ``count`` (0: all) of the kinds ``calls`` fail with ``error``.

    Counted are the calls on the files of ``classes`` in the studies that lie in ``root``. ``log`` is written by the library;
    it must lie elsewhere.
    """

    root: Path
    log: Path
    nth: int = 0
    error: int = errno.EIO
    calls: str = "orwsnmtua"
    count: int = 1
    classes: str = "".join(CLASSES)

    def variables(self) -> dict[str, str]:
        """What the library reads when it is armed."""
        return {
            "FSG_FAULT_ROOT": str(self.root), "FSG_FAULT_LOG": str(self.log), "FSG_FAULT_NTH": str(self.nth),
            "FSG_FAULT_ERRNO": str(self.error), "FSG_FAULT_CALLS": self.calls, "FSG_FAULT_COUNT": str(self.count),
            "FSG_FAULT_CLASSES": self.classes,
        }  # fmt: skip

    def environment(self) -> dict[str, str]:
        """That of this process, for one in which the fault happens, and in those that it starts. NoShim as ``shim``."""
        return preloaded() | self.variables()


@dataclass(frozen=True)
class Call:
    """One that was counted: its number, its kind's letter, whether it failed, its class, the path from the root on."""

    number: int
    kind: str
    failed: bool
    of: str
    path: str


def counted(log: Path) -> list[Call]:
    """What the library wrote down, by number."""
    lines = log.read_text().splitlines() if log.exists() else []
    parts = [line.split(" ", 4) for line in lines]
    calls = [Call(int(number), kind, how == "1", CLASSES[of], path) for number, kind, how, of, path in parts]
    return sorted(calls, key=lambda call: call.number)
