"""A machine that is told to go, as Kubernetes tells `ray start --block` by SIGTERM: its trial saves and goes on elsewhere."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from machines import USERS, Machines, missing

from fsg.study.folder import StudyFolder

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

ROOT = Path(__file__).parents[3]
PATIENCE = 400
STUDY = {
    "name": "drained", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste"],
    "analysis": {"interval": None},
    "base": {"gradient": "ste", "epochs": 300, "device": "cpu", "data": {"name": "digits", "batch_size": 64}},
}  # fmt: skip


class Lab:
    """A head without processors, and pods that join it; all as alice."""

    def __init__(self, made, work):
        self.made, self.work = made, work
        self.environment = {
            "PATH": f"{Path(sys.prefix).resolve()}/bin:/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_raylet_start_wait_time_s": "120", "RAY_memory_monitor_refresh_ms": "0", "MLFLOW_DISABLE_TELEMETRY": "true",
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "120",
        }  # fmt: skip

    def run(self, name, *words):
        command = self.made.command(name, "alice", *words, cwd=self.work / "shared", **self.environment)
        log = self.log(name).open("a")
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def log(self, name):
        return self.work / f"log-{name}"

    def pod(self, name, *role, cpus=1):
        """It is up."""
        self.run(name, "ray", "start", "--block", *role, f"--num-cpus={cpus}", "--include-log-monitor=false")
        self.until(lambda: "Ray runtime started" in self.log(name).read_text(), f"{name} did not start")

    def until(self, condition, what):
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, what + "".join(path.read_text()[-2000:] for path in self.work.glob("log-*"))
            time.sleep(0.3)


@pytest.fixture
def lab():
    work = Path(tempfile.mkdtemp(prefix="fsg-drain-", dir="/var/tmp"))
    try:
        with Machines(["head", "first", "second"], work) as made:
            (work / "shared").mkdir()
            (work / "shared/study.yaml").write_text(yaml.safe_dump(STUDY))
            os.chown(work / "shared", USERS["alice"], USERS["alice"])
            yield Lab(made, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def test_a_trial_on_a_machine_that_is_drained_saves_and_goes_on_on_another(lab):
    address = f"{lab.made.address('head')}:6379"
    lab.pod("head", "--head", f"--node-ip-address={lab.made.address('head')}", "--include-dashboard=false", cpus=0)
    lab.pod("first", f"--address={address}")
    lab.run(
        "head",
        "fsg",
        "ablate",
        "study.yaml",
        "--address",
        address,
        "--storage",
        str(lab.work / "shared/studies"),
        "--quiet",
    )
    ledger = StudyFolder(lab.work / "shared/studies/drained").ledger()

    def events(kind):
        return [event for event in ledger.read() if event["event"] == kind] if ledger.path.exists() else []

    lab.until(lambda: events("epoch"), "nothing was trained")
    (started,) = [pid for pid, line in lab.made.processes("first").items() if "ray start --block" in line]
    os.kill(started, signal.SIGTERM)
    lab.until(lambda: events("retried"), "the trial heard nothing")
    (retried,) = events("retried")
    assert retried["cause"] == "preempted", retried
    lab.pod("second", f"--address={address}")
    lab.until(lambda: events("finished"), "it did not go on")
    assert [event["node"] for event in events("started")] == [lab.made.address("first"), lab.made.address("second")]
    epochs = [event["metrics"]["epoch"] for event in events("epoch")]
    assert epochs == list(range(1, STUDY["base"]["epochs"] + 1)), "an epoch was lost, or trained twice"
