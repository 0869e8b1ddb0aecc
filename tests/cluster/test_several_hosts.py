"""Three hosts: what the doctor says of them, and a study while one is cut off, one dies and one has a bad link.

The hosts are network namespaces (hosts.py) with a raylet each and one core each; all is started on the head, as on a
real cluster. What the study leaves is held against trials trained without interruption. Seen on 2 cores: about two minutes.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import yaml
from hosts import Hosts, missing

from fsg.bench.faults import promises
from fsg.config import canonical_json
from fsg.record.folder import StudyFolder

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

TRIALS = 24
SPEC = {
    "name": "hosts",
    "base": {"gradient": "ste", "epochs": 12, "device": "cpu", "data": {"name": "digits", "batch_size": 64}},
    "seeds": [0, 1, 2, 3, 4, 5],
    "metric": {"name": "val_accuracy", "mode": "max"},
    "arms": {"slow_rate": {"optimizer": {"lr": 0.003}}, "fast_rate": {"optimizer": {"lr": 0.02}}},
    "baselines": ["ste", "ema"],
}
# A host that does not answer for four seconds is given up; a minute, as Ray has it, is long for a test.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_memory_monitor_refresh_ms": "0",
    "RAY_raylet_start_wait_time_s": "120",  # 30 is short for a busy machine
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
QUIET_SERVER = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
TOKENS = {"wrong": {"RAY_AUTH_TOKEN": "f" * 64}, "none": {}}
SERVER_PORT = 5000
PATIENCE = 400  # seconds for the whole study


class Cluster:
    """Ray on every host, with one token; a study started on the head."""

    def __init__(self, hosts: Hosts, work: Path) -> None:
        self.hosts, self.work = hosts, work
        outside = {
            name: value for name, value in os.environ.items() if not name.startswith("RAY_")
        }  # of this process's Ray
        self.env = outside | ENVIRONMENT | {"RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
        self.address = f"{hosts.address(0)}:6379"
        self.server = f"http://{hosts.address(0)}:{SERVER_PORT}"
        self.folder = StudyFolder(work / "studies" / "hosts")
        (work / "hosts.yaml").write_text(yaml.safe_dump(SPEC, sort_keys=False))

    def join(self, host: int) -> None:
        """Start Ray on a host: the head on the first."""
        common = ["--num-cpus=1", "--object-store-memory=100000000", "--disable-usage-stats"]
        where = f"--node-ip-address={self.hosts.address(host)}"
        if host == 0:
            head = ["--head", "--port=6379", "--include-dashboard=false", f"--temp-dir={self.work / 'ray'}"]
            self.hosts.call(host, "ray", "start", *head, where, *common, env=self.env)
        else:
            self.hosts.call(host, "ray", "start", f"--address={self.address}", where, *common, env=self.env)

    def serve(self) -> None:
        """A tracking server on the head."""
        here = self.hosts.address(0)
        where = [
            "--host",
            here,
            "--port",
            str(SERVER_PORT),
            "--allowed-hosts",
            f"{here}:{SERVER_PORT}",
            "--workers",
            "1",
        ]
        store = ["--backend-store-uri", f"sqlite:///{self.work / 'server.db'}"]
        self.hosts.start(
            0, "mlflow", "server", *where, *store, env=self.env | QUIET_SERVER, log=self.work / "server.log"
        )

    def examine(self) -> tuple[int, str]:
        """What the doctor exits with and says of every host, the server and a storage of its own."""
        folder, log = str(self.work / "examined"), self.work / "doctor.log"
        log.unlink(missing_ok=True)
        where = ["--address", self.address, "--storage", folder, "--tracking-uri", self.server]
        doctor = self.hosts.start(0, "fsg", "doctor", "--cluster", *where, env=self.env, log=log)
        return doctor.wait(PATIENCE), log.read_text()

    def fsg(self, *arguments: str, storage: str = "studies") -> list[str]:
        """A command line that joins the cluster."""
        store = f"sqlite:///{self.work / 'mlflow.db'}"
        return [
            "fsg",
            *arguments,
            "--address",
            self.address,
            "--storage",
            str(self.work / storage),
            "--tracking-uri",
            store,
        ]

    def start_refused(self, token: str) -> subprocess.Popen:
        """The study, in a storage of its own, by somebody on the second host who has that one of TOKENS."""
        env = {name: value for name, value in self.env.items() if name != "RAY_AUTH_TOKEN"} | {"HOME": str(self.work)}
        command = self.fsg("ablate", str(self.work / "hosts.yaml"), storage=token)
        return self.hosts.start(1, *command, env=env | TOKENS[token], log=self.work / f"{token}.log")

    def events(self) -> list[dict]:
        """Of the ledger so far."""
        return self.folder.ledger().read()

    def wait_for(self, driver, what: str, count: int, since: float) -> None:
        """Until the ledger has so many events of that kind."""
        while sum(event["event"] == what for event in self.events()) < count:
            assert driver.poll() is None, f"the driver ended:\n{self.said()}"
            assert time.monotonic() - since < PATIENCE, f"no progress:\n{self.said()}"
            time.sleep(0.2)

    def said(self) -> str:
        """The driver's last words."""
        return (self.work / "driver.log").read_text(errors="replace")[-4000:]


@pytest.fixture(scope="module")
def story():
    """The whole course of events, once: the cluster as it was left, and what was noted on the way."""
    work = Path(tempfile.mkdtemp(prefix="fsg-hosts-", dir="/tmp"))  # a short path: Ray's sockets lie in it
    try:
        with Hosts(3) as hosts:
            cluster, noted = Cluster(hosts, work), {}
            cluster.serve()
            for host in range(3):  # not side by side: they share a folder, and take one another's sockets
                cluster.join(host)
            hosts.call(0, "bash", "-c", f"until : < /dev/tcp/{hosts.address(0)}/{SERVER_PORT}; do sleep 0.2; done")
            noted["fine"] = cluster.examine()
            hosts.hide(1, work / "examined")
            hosts.close(2, SERVER_PORT)
            noted["ill"] = cluster.examine()
            began = time.monotonic()
            driver = hosts.start(
                0, *cluster.fsg("ablate", str(work / "hosts.yaml")), env=cluster.env, log=work / "driver.log"
            )
            cluster.wait_for(driver, "finished", 9, began)
            noted["quiet"] = cluster.events()
            hosts.cut_off(1)
            cluster.wait_for(driver, "retried", 1, began)  # it has been given up
            hosts.plug_in(1)
            hosts.kill(1)  # Ray's processes there end by themselves by now: a supervisor starts them anew
            cluster.join(1)
            noted["link"] = hosts.worsen(1, mbit=5, loss_percent=2)
            cluster.wait_for(driver, "finished", 14, began)
            hosts.kill(2)
            refused = {name: cluster.start_refused(name) for name in TOKENS}
            noted["exit"] = driver.wait(PATIENCE)
            noted |= {name: (client.wait(120), (work / f"{name}.log").read_text()) for name, client in refused.items()}
            yield cluster, noted
    finally:
        shutil.rmtree(work, ignore_errors=True)


def test_the_doctor_finds_all_three_hosts_fine(story):
    cluster, noted = story
    code, said = noted["fine"]
    assert code == 0, said
    lines = [line.split() for line in said.splitlines()]
    assert [words[:2] for words in lines] == [
        ["ok", name] for name in ("address", "node", "node", "node", "versions", "storage", "tracking", "clocks")
    ]
    assert [
        all(cluster.hosts.address(host) in line for line in said.splitlines()[1 + host : 2 + host]) for host in range(3)
    ]
    assert f"{cluster.server}, and it takes our login" in said


def test_the_doctor_names_the_host_with_other_storage_and_lets_be_the_one_that_cannot_reach_the_server(story):
    """No trial writes to the tracking server; their driver does."""
    cluster, noted = story
    code, said = noted["ill"]
    assert code == 1, said
    of = {host: [line for line in said.splitlines() if cluster.hosts.address(host) + ")" in line] for host in range(3)}
    assert [line.split()[:2] for line in of[0] + of[2]] == [["ok", "node"]] * 2, said
    examined = cluster.work / "examined"
    assert [line.split()[0] for line in of[1]] == ["BAD"] * 2, said
    assert f"{examined} is another folder than the driver's. Mount the same storage at the same path." in of[1][1]
    assert list(examined.iterdir()) == [], "a probe was left"


def test_the_study_is_completed_by_what_is_left_of_the_cluster(story):
    cluster, noted = story
    assert noted["exit"] == 0, cluster.said()
    assert Counter(t.status for t in cluster.folder.state().trials.values()) == {"finished": TRIALS}


def test_every_promise_holds_after_a_cut_a_death_and_a_bad_link(story):
    cluster, _ = story
    configs = {canonical_json(trial.config): trial.config for trial in cluster.folder.state().trials.values()}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        twins = dict(zip(configs, pool.map(promises.uninterrupted, configs.values()), strict=True))
    broken = promises.of_the_ledger(cluster.events(), lambda config: twins[canonical_json(config)], planned=TRIALS)
    assert broken == []


def test_what_was_interrupted_was_tried_again_for_the_reason_that_was(story):
    cluster, _ = story
    attempts = Counter(event["key"] for event in cluster.events() if event["event"] == "started")
    assert max(attempts.values()) > 1, "no trial was interrupted: nothing was shown"


def test_trials_spread_over_the_hosts_within_half_more_than_even(story):
    cluster, noted = story
    nodes = Counter(event["node"] for event in noted["quiet"] if event["event"] == "started")
    assert set(nodes) == {cluster.hosts.address(host) for host in range(3)}
    assert max(nodes.values()) <= 1.5 * sum(nodes.values()) / 3, nodes


@pytest.mark.parametrize("token", TOKENS)
def test_a_client_without_the_token_is_refused_in_one_message(story, token):
    cluster, noted = story
    code, said = noted[token]
    assert code == 2
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1 and "token" in lines[0], said
    assert not (cluster.work / token).exists(), "something was written"


def test_one_run_in_mlflow_for_each_trial_and_none_left_running(story):
    cluster, _ = story
    from fsg.tracking.contents import contents

    held = contents(f"sqlite:///{cluster.work / 'mlflow.db'}", cluster.folder.state().header["study_id"])
    runs = {identity: copies for identity, copies in held.items() if identity[0] == "seed"}
    assert len(runs) == TRIALS and all(len(copies) == 1 for copies in runs.values())
    assert {copy.status for copies in held.values() for copy in copies} == {"FINISHED"}
