"""Ray started by hand on machines (``machines.py``), as alice, with a token; her studies lie in ``work/shared``."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machines import USERS, Machines

ROOT = Path(__file__).parents[3]
PATIENCE = 400


class Lab:
    """Machines on which commands run as alice's; what each says goes to a log of its own."""

    def __init__(self, made, work):
        self.made, self.work = made, work
        self.environment = {
            "PATH": f"{Path(sys.prefix).resolve()}/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120", "RAY_memory_monitor_refresh_ms": "0", "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "120",
        }  # fmt: skip

    def run(self, name, *words, **environment):
        known = self.environment | environment
        command = self.made.command(name, "alice", *words, cwd=self.work / "shared", **known)
        log = self.log(name).open("a")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def log(self, name):
        return self.work / f"log-{name}"

    def address(self, name):
        return self.made.address(name)

    def pod(self, name, *role, cpus=1, block=True, **environment):
        """Ray is up there. ``block``: as a pod starts it, and not `ray up`: a part of it that ends takes the rest along."""
        self.run(
            name,
            "ray",
            "start",
            *(["--block"] if block else []),
            *role,
            f"--num-cpus={cpus}",
            "--include-log-monitor=false",
            **environment,
        )
        self.until(lambda: "Ray runtime started" in self.log(name).read_text(), f"{name} did not start")

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what + "".join(path.read_text()[-2000:] for path in self.work.glob("log-*"))
            time.sleep(0.3)


@contextmanager
def lab(names: list[str]) -> Iterator[Lab]:
    """Machines of these names."""
    work = Path(tempfile.mkdtemp(prefix="fsg-ray-", dir="/var/tmp"))
    try:
        with Machines(names, work) as made:
            (work / "shared").mkdir()
            os.chown(work / "shared", USERS["alice"], USERS["alice"])
            yield Lab(made, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
