"""A node that is told to go, as Kubernetes tells a pod, on a real head: its trial saves and goes on elsewhere."""

import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import psutil
import pytest
import yaml
from test_real_cluster import STUDY, Cluster, free_port

from fsg.study.folder import StudyFolder

pytestmark = pytest.mark.long

ONE_TRIAL = STUDY | {"name": "drained", "arms": {}, "base": STUDY["base"] | {"epochs": 400}}
PATIENCE = 300


@pytest.fixture
def head():
    """A head that trains nothing."""
    folder = Path(tempfile.mkdtemp(prefix="fsg-ray-", dir="/tmp"))
    made = Cluster(folder, cpus=0)
    try:
        made.wait()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder, ignore_errors=True)


def join(head, name):
    """A machine with one core: `ray start --block`, which is process 1 of a pod."""
    ports = [f"--{kind}-port={free_port()}" for kind in ("dashboard-agent-listen", "node-manager", "object-manager")]
    words = [
        "ray",
        "start",
        "--block",
        f"--address={head.address}",
        "--node-ip-address=127.0.0.1",
        "--num-cpus=1",
        *ports,
    ]
    environment = head.environment | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"}  # Ray's word for more than loopback
    log = (head.folder / f"{name}.log").open("w")
    return subprocess.Popen(words, env=environment, stdout=log, stderr=subprocess.STDOUT)


def end(process):
    """It and what it started."""
    ours = [*psutil.Process(process.pid).children(recursive=True), process] if process.poll() is None else []
    for each in ours:
        each.kill()
    process.wait()


def test_a_trial_on_a_node_that_is_drained_saves_and_goes_on_on_another(head):
    (head.folder / "study.yaml").write_text(yaml.safe_dump(ONE_TRIAL))
    machines, begun = [join(head, "first")], time.monotonic()
    while "Ray runtime started" not in (head.folder / "first.log").read_text():
        assert time.monotonic() - begun < PATIENCE, (head.folder / "first.log").read_text()
        time.sleep(0.2)
    driver = head.start(
        "ablate", "study.yaml", "--address", head.address, "--storage", head.folder / "studies", "--json"
    )
    ledger = StudyFolder(head.folder / "studies" / "drained").ledger()

    def until(event, since):
        while not (found := [e for e in ledger.read() if e["event"] == event] if ledger.path.exists() else []):
            assert time.monotonic() - since < PATIENCE, f"no {event}"
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.2)
        return found[0]

    try:
        until("epoch", time.monotonic())
        machines[0].send_signal(signal.SIGTERM)
        retried = until("retried", time.monotonic())
        assert machines[0].poll() is None, "the node was gone before its trial"
        machines.append(join(head, "second"))
        until("finished", time.monotonic())
    finally:
        driver.kill()
        driver.communicate()
        for machine in machines:
            end(machine)
    assert retried["cause"] == "preempted", retried
    epochs = [e["metrics"]["epoch"] for e in ledger.read() if e["event"] == "epoch"]
    assert epochs == sorted(set(epochs)), "an epoch was lost, or trained twice"
