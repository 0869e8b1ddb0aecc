"""``clusters/on_premise.yaml`` by a real ``ray up`` over sshd: a laptop, a head and two machines that join and leave.

The machines' packages are this environment's (setup_node.sh would fetch them); all else is the file's own. Seen on two busy
cores: five minutes.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machines
import pytest
import yaml
from machines import USERS, Machines

from fsg.record.folder import StudyFolder

ROOT = Path(__file__).parents[3]
NEEDED = {"sshd": "openssh-server", "ssh-keygen": "openssh-client", "rsync": "rsync", "curl": "curl", "nft": "nftables"}


def missing():
    for tool, package in NEEDED.items():
        if shutil.which(tool) is None and not Path(f"/usr/sbin/{tool}").exists():
            return f"{tool} is missing: apt-get install {package}"
    return machines.missing()


pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]
HEAD, WORKERS = "m0", ["m1", "m2"]
PATIENCE = 600  # seconds until both have joined: 100 on two idle cores
SSHD = """
Port 22
HostKey {work}/hostkey
PidFile {work}/sshd-{name}.pid
AuthorizedKeysFile .ssh/authorized_keys
StrictModes no
UsePAM no
AcceptEnv LANG
SetEnv PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin RAY_raylet_start_wait_time_s=60 RAY_memory_monitor_refresh_ms=0 {quiet}
"""


# A firewall between the machines that lets new connections through to the ports which the file names, and to no others.
OPEN = re.findall(r"Open between the machines: (.+?)\.", (ROOT / "clusters/on_premise.yaml").read_text())[0]
WALL = """
table inet wall {{
    chain from_others {{
        type filter hook input priority 0;
        iifname "eth0" tcp flags & (syn | ack) == syn tcp dport != {{ {open} }} reject with tcp reset
    }}
}}
"""
NODES = """
import ray
ray.init("auto", log_to_driver=False)
print("NODES", *sorted(node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]))
"""

# As the head's user, with the login that start_mlflow.sh made.
RUNS = """
import mlflow
print("RUNS of own:", len(mlflow.search_runs(experiment_names=["own"])))
"""
STUDY = {
    "name": "own", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste", "ema"],
    "analysis": {"interval": None},
    "base": {"gradient": "ste", "epochs": 1, "device": "cpu", "data": {"name": "digits", "batch_size": 256}},
}  # fmt: skip


def configured(made, work):
    """The file with its lines marked CHANGE changed, and packages linked where setup_node.sh would install them."""
    cluster = yaml.safe_load((ROOT / "clusters/on_premise.yaml").read_text())
    cluster["provider"] |= {"head_ip": made.address(HEAD), "worker_ips": [made.address(name) for name in WORKERS]}
    cluster["auth"] = {"ssh_user": "alice", "ssh_private_key": "~/.ssh/id_ed25519"}
    link = [
        f"ln -sfn {Path(sys.prefix).resolve()} ~/fsg/.venv",
        "echo 'export PATH=~/fsg/.venv/bin:$PATH' >> ~/.bashrc",
    ]
    cluster |= {"head_setup_commands": link, "worker_setup_commands": link}
    (work / "on_premise.yaml").write_text(yaml.safe_dump(cluster))


@pytest.fixture(scope="module")
def lab():
    work = Path(tempfile.mkdtemp(prefix="fsg-own-", dir="/var/tmp"))
    made = Machines(["laptop", HEAD, *WORKERS], work, own_homes=True)
    try:
        with made:
            key = work / "hostkey"
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
            for name in made.names:
                config = work / f"sshd-{name}"
                config.write_text(
                    SSHD.format(work=work, name=name, quiet="MLFLOW_DISABLE_TELEMETRY=true OMP_NUM_THREADS=1")
                )
                keys = (
                    "mkdir -m 700 ~/.ssh; cp $1 ~/.ssh/id_ed25519; chmod 600 ~/.ssh/*; cp $1.pub ~/.ssh/authorized_keys"
                )
                key.chmod(0o644)
                made.call(name, "alice", "bash", "-c", keys, "-", str(key))
                key.chmod(0o600)
                made.call(name, "root", "nft", WALL.format(open=OPEN))
                made.call(
                    name,
                    "root",
                    "bash",
                    "-c",
                    f"mount -t tmpfs none /run && mkdir /run/sshd && /usr/sbin/sshd -f {config}",
                )
            configured(made, work)
            (work / "study.yaml").write_text(yaml.safe_dump(STUDY))
            (work / "shared").mkdir(mode=0o777)
            os.chown(work / "shared", USERS["alice"], USERS["alice"])
            copy = f"mkdir fsg && cp -r {ROOT}/fsg {ROOT}/clusters fsg/ && find fsg -name __pycache__ -prune -exec rm -rf {{}} +"
            made.call("laptop", "alice", "bash", "-c", copy)
            yield made, work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def on_laptop(lab, *words, timeout=900):
    made, work = lab
    tree, path = work / "home/alice/fsg", f"{Path(sys.prefix).resolve()}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return made.call("laptop", "alice", *words, cwd=tree, timeout=timeout, PATH=path, RAY_USAGE_STATS_ENABLED="0")


def on_head(lab, command, timeout=300):
    """As typed after `ray attach`: a login shell that reads the user's own files."""
    made, work = lab
    return made.call(HEAD, "alice", "bash", "--login", "-i", "-c", command, cwd=work / "home/alice", timeout=timeout)


def test_all_machines_join_studies_write_to_the_teams_mlflow_and_all_leave(lab):
    made, work = lab
    (token,) = re.findall(r"^#   2. (.*)$", (ROOT / "clusters/on_premise.yaml").read_text(), re.MULTILINE)
    on_laptop(lab, "bash", "-c", f"umask 022; {token}")
    on_laptop(lab, "ray", "up", "--yes", "--no-config-cache", f"{work}/on_premise.yaml")
    end = time.monotonic() + PATIENCE
    here = []
    while len(here) < 1 + len(WORKERS):
        if not all("/raylet --" in " ".join(made.processes(name).values()) for name in WORKERS):
            time.sleep(2)  # asking Ray costs seconds of processor, which those that start have more use for
        else:
            nodes = on_head(lab, f"RAY_AUTH_MODE=token python -c '{NODES}'")
            here = next(line for line in nodes.splitlines() if line.startswith("NODES")).split()[1:]
        logs = "tail -n 40 /tmp/ray/session_latest/logs/monitor*"
        assert time.monotonic() < end, f"only {here} joined\n{on_head(lab, logs)}"
    assert here == [made.address(name) for name in (HEAD, *WORKERS)]
    assert "http://127.0.0.1:5000" in on_head(lab, "echo $MLFLOW_TRACKING_URI")
    doctor = on_head(lab, f"cd ~/fsg && PYTHONPATH=$PWD fsg doctor --cluster --storage {work}/shared")
    assert [line.split()[:2] for line in doctor.splitlines() if line.startswith(("ok", "BAD"))] == [
        ["ok", name] for name in ("address", "node", "node", "node", "versions", "storage", "tracking", "clocks")
    ], doctor
    on_head(
        lab, f"cd ~/fsg && PYTHONPATH=$PWD fsg ablate {work}/study.yaml --address auto --storage {work}/shared --quiet"
    )
    events = StudyFolder(work / "shared/own").ledger().read()
    assert sum(event["event"] == "finished" for event in events) == 2
    assert {event["node"] for event in events if event["event"] == "started"} <= set(here[1:]), (
        "the head takes no trials"
    )
    assert "RUNS of own: 5" in on_head(lab, f"python -c '{RUNS}'"), "one for the study, each arm, each trial"
    said = on_laptop(lab, "ray", "down", "--yes", f"{work}/on_premise.yaml")
    end = time.monotonic() + 60
    while left := [
        (name, line[:90]) for name in (HEAD, *WORKERS) for line in made.processes(name).values() if "/ray/core/" in line
    ]:
        assert time.monotonic() < end, f"Ray still runs: {left}\n{said}"
        time.sleep(1)


def test_an_mlflow_that_does_not_start_says_why(lab):
    """Its folder cannot be written."""
    made, work = lab
    spoil = "rm -rf ~/mlflow && touch ~/mlflow && bash ~/fsg/clusters/start_mlflow.sh 2>&1; echo exit $?; rm ~/mlflow"
    said = made.call(WORKERS[0], "alice", "bash", "-c", spoil, timeout=300, cwd=work / "home/alice")
    assert "start_mlflow.sh: MLflow does not answer at http://127.0.0.1:5000" in said and "exit 1" in said
    assert "mlflow" in said.splitlines()[-2]
