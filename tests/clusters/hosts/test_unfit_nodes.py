"""A cluster of two machines that cannot run a study: each fault is one message within a minute, exit 2, and nothing is begun.

Seen on two busy cores: two minutes.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import yaml
from machines import USERS, missing
from ray_lab import ROOT, lab

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

STUDY = {
    "name": "refused", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste", "ema"],
    "analysis": {"interval": None}, "base": {"gradient": "ste", "epochs": 1, "device": "cpu"},
}  # fmt: skip
UNFIT = "fsg: The cluster is not fit for this study; nothing was started."
# Machines of one kernel have one clock; Python's on the second is moved once this file is in its own /tmp.
LATE = "import os, time\nif os.path.exists('/tmp/late'):\n    kernel = time.time\n    time.time = lambda: kernel() + 3600\n"


@pytest.fixture(scope="module")
def two():
    with lab(["head", "second"]) as made:
        (made.work / "shared/study.yaml").write_text(yaml.safe_dump(STUDY))
        (made.work / "late").mkdir()
        (made.work / "late/sitecustomize.py").write_text(LATE)
        made.pod("head", "--head", f"--node-ip-address={made.address('head')}", "--include-dashboard=false")
        role = [f"--address={made.address('head')}:6379", '--resources={"accelerator_type:A10G": 1}']
        made.pod("second", *role, PYTHONPATH=f"{made.work / 'late'}:{ROOT}")
        yield made


def refused(two, *options, storage="studies", address=None, **environment):
    """What `fsg ablate` on the head says where it refuses: its complaint, within a minute, and nothing that it left."""
    here = two.work / "shared" / storage
    words = [
        "fsg",
        "ablate",
        "study.yaml",
        "--address",
        address or f"{two.address('head')}:6379",
        "--storage",
        str(here),
        *options,
    ]
    began, before = time.monotonic(), two.log("head").stat().st_size
    code = two.run("head", *words, **environment).wait(180)
    seconds, said = time.monotonic() - began, two.log("head").read_bytes()[before:].decode()
    assert code == 2, said
    assert seconds < 60, f"it took {seconds:.0f} s\n{said}"
    assert "Traceback" not in said
    assert not (here / "refused").exists() and not list(here.glob(".fsg-*"))
    for name in ("head", "second"):
        left = [line for line in two.made.processes(name).values() if " ablate " in line]
        assert left == [], f"{name} still runs it"
    return said


def folder(two, name):
    made = two.work / "shared" / name
    made.mkdir()
    os.chown(made, USERS["alice"], USERS["alice"])
    return made


def test_a_storage_that_one_node_does_not_see(two):
    place = folder(two, "local")
    two.made.call("second", "root", "mount", "-t", "tmpfs", "-o", "mode=777", "none", str(place))
    said = refused(two, storage="local")
    assert UNFIT in said
    (line,) = [line for line in said.splitlines() if line.startswith("node 2 (second, ")]
    assert line.endswith(f"{place} is another folder than the driver's. Mount the same storage at the same path.")


def test_another_version_on_one_node(two):
    other = two.work / "other"
    shutil.copytree(ROOT / "fsg", other, ignore=shutil.ignore_patterns("__pycache__"))
    (other / "train/step.py").write_text((other / "train/step.py").read_text() + "\n# Another version.\n")
    two.made.call("second", "root", "mount", "--bind", str(other), str(ROOT / "fsg"))
    try:
        said = refused(two)
    finally:
        two.made.call("second", "root", "umount", str(ROOT / "fsg"))
    (line,) = [line for line in said.splitlines() if line.startswith("node 2 (second, ")]
    assert " has fsg source " in line and " instead of " in line and "Every node needs what the driver has" in line


def test_clocks_that_are_apart(two):
    two.made.call("second", "alice", "touch", "/tmp/late")
    try:
        said = refused(two)
    finally:
        two.made.call("second", "alice", "rm", "/tmp/late")
    (line,) = [line for line in said.splitlines() if line.startswith("node 2 (second, ")]
    assert "its clock is 3600 s ahead of this machine's. Set up NTP there" in line


def test_a_token_file_that_others_may_read(two):
    token = two.work / "shared/token"
    token.write_text(two.environment["RAY_AUTH_TOKEN"])
    token.chmod(0o644)
    said = refused(two, RAY_AUTH_TOKEN="", RAY_AUTH_TOKEN_PATH=str(token))
    assert (
        f"{token} holds the cluster's token, and others may read it (mode 644)." in said
        and f"chmod 600 {token}" in said
    )


def test_the_ray_of_somebody_else_at_that_address(two):
    said = refused(two, RAY_AUTH_TOKEN="f" * 64)
    assert "a Ray cluster is there, but it refuses our token." in said


def test_a_kind_of_machine_that_no_node_is(two):
    said = refused(two, "--accelerator", "L4")
    assert "trials ask for the accelerator L4, but the cluster has A10G." in said


def test_something_other_than_ray_at_that_address(two):
    """It listens, and answers in another language."""
    server = two.run("second", "python", "-m", "http.server", "7000")
    said = refused(two, address=f"{two.address('second')}:7000")
    server.terminate()
    assert "no Ray cluster answers there" in said


def test_a_head_whose_port_is_anothers(two):
    """As a launcher file starts it, by another user of the machine."""
    start = [
        "bash",
        str(ROOT / "clusters/tries.sh"),
        "ray",
        "start",
        "--head",
        "--port=6379",
        f"--node-ip-address={two.address('head')}",
    ]
    command = two.made.command("head", "bob", *start, "--include-dashboard=false", **two.environment)
    began = time.monotonic()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and time.monotonic() - began < 60
    assert "tries.sh: port 6379 of this machine is taken, by somebody else's Ray perhaps." in done.stderr
    left = [
        line for pid, line in two.made.processes("head").items() if Path(f"/proc/{pid}").stat().st_uid == USERS["bob"]
    ]
    assert left == []
