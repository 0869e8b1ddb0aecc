"""Three hosts, one of which is cut off and comes back, one dies for good, and the link of the first gets bad, in one study.

The hosts are network namespaces (hosts.py) with a raylet each and one core each; the study is started on the head, as on a
real cluster. What it leaves is held against trials trained without interruption. Seen on 2 cores: about two minutes.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml
from hosts import Hosts, missing

from fsg.bench.faults import promises
from fsg.study.folder import StudyFolder

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

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
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "4",
}
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

    def events(self) -> list[dict]:
        """Of the ledger so far."""
        return self.folder.ledger().read()

    def wait_for(self, driver, finished: int, since: float) -> None:
        """Until so many trials have finished."""
        while sum(event["event"] == "finished" for event in self.events()) < finished:
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
            try:
                for host in range(3):
                    cluster.join(host)
            except (AssertionError, subprocess.TimeoutExpired) as error:
                pytest.skip(f"Ray does not come up on hosts made of namespaces here: {str(error)[-300:]}")
            began = time.monotonic()
            driver = hosts.start(
                0, *cluster.fsg("ablate", str(work / "hosts.yaml")), env=cluster.env, log=work / "driver.log"
            )
            cluster.wait_for(driver, 9, began)
            noted["quiet"] = cluster.events()
            hosts.cut_off(1)
            cluster.wait_for(driver, 12, began)
            hosts.plug_in(1)
            hosts.kill(1)  # Ray's processes there have been given up by the head: a supervisor starts them anew
            cluster.join(1)
            noted["link"] = hosts.worsen(1, mbit=5, loss_percent=2)
            cluster.wait_for(driver, 15, began)
            hosts.kill(2)
            noted["exit"] = driver.wait(PATIENCE)
            for name, token in (("wrong", "f" * 64), ("none", None)):
                env = {k: v for k, v in cluster.env.items() if k != "RAY_AUTH_TOKEN"} | {"HOME": str(work)}
                env |= {"RAY_AUTH_TOKEN": token} if token else {}
                refused = hosts.start(
                    1, *cluster.fsg("ablate", str(work / "hosts.yaml"), storage=name), env=env, log=work / f"{name}.log"
                )
                noted[name] = refused.wait(120), (work / f"{name}.log").read_text()
            yield cluster, noted
    finally:
        shutil.rmtree(work, ignore_errors=True)


def test_the_study_is_completed_by_what_is_left_of_the_cluster(story):
    cluster, noted = story
    assert noted["exit"] == 0, cluster.said()
    assert Counter(t.status for t in cluster.folder.state().trials.values()) == {"finished": TRIALS}


def test_every_promise_holds_after_a_cut_a_death_and_a_bad_link(story):
    cluster, _ = story
    assert promises.of_the_ledger(cluster.events(), planned=TRIALS) == []


def test_what_was_interrupted_was_tried_again_for_the_reason_that_was(story):
    cluster, _ = story
    attempts = Counter(event["key"] for event in cluster.events() if event["event"] == "started")
    assert max(attempts.values()) > 1, "no trial was interrupted: nothing was shown"


def test_trials_spread_over_the_hosts_within_half_more_than_even(story):
    cluster, noted = story
    nodes = Counter(event["node"] for event in noted["quiet"] if event["event"] == "started")
    assert set(nodes) == {cluster.hosts.address(host) for host in range(3)}
    assert max(nodes.values()) <= 1.5 * sum(nodes.values()) / 3, nodes


@pytest.mark.parametrize("token", ["wrong", "none"])
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
