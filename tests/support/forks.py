"""Processes at a hundredth of a second each, forked from one that has imported all that is slow and can arm the library.

Importing torch, Ray and Optuna takes some ten seconds, and a study that is struck takes one.
"""

import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from support.io_fault import preloaded

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Ran:
    """How a process ended: its exit code, None where it was killed for taking too long; and what it wrote to stderr."""

    code: int | None
    err: str


class Forks:
    """A context in which ``run`` calls a function of ``module`` in a process of its own. NoShim where no fault can be injected.

    ``module.warm`` is called once, before all of them.
    """

    def __init__(self, module: str) -> None:
        paths = [str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = preloaded() | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "support.forks", module],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    def __enter__(self) -> "Forks":
        return self

    def __exit__(self, *error: object) -> None:
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()

    def run(self, function, err, *arguments, variables=None, interrupt_at=None, seconds=60.0) -> Ran:
        """Call it with these arguments, which JSON must hold; the file ``err`` is its stderr.

        ``variables`` are set in its environment, and the library for faults is armed by them. It hears Ctrl-C once, when
        ``interrupt_at`` stands in what it wrote to stderr.
        """
        order = [function, str(err), arguments, variables or {}, interrupt_at, seconds]
        self._parent.stdin.write(json.dumps(order) + "\n")
        self._parent.stdin.flush()
        return Ran(json.loads(self._parent.stdout.readline()), Path(err).read_text(errors="replace"))


def serve(name):
    """The parent: an order a line from stdin, the exit code a line to stdout."""
    module = importlib.import_module(name)
    module.warm()
    for line in sys.stdin:
        function, err, arguments, variables, interrupt_at, seconds = json.loads(line)
        child = os.fork()
        if child == 0:
            _call(getattr(module, function), err, arguments, variables)
        print(json.dumps(_code(child, Path(err), interrupt_at, seconds)), flush=True)


def _code(child, err, interrupt_at, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if interrupt_at is not None and err.exists() and interrupt_at in err.read_text(errors="replace"):
            interrupt_at = None
            os.kill(child, signal.SIGINT)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _call(function, err, arguments, variables):
    """The child: to its end, with the exit code that Python would have."""
    code = 1
    try:
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(0, 1)
        os.environ.update(variables)
        ctypes.CDLL(None).io_fault_arm()
        function(*arguments)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(sys.argv[1])
