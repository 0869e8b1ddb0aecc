"""Machines that come when trials wait and go when none does, by Ray's own fake provider; and an autoscaler that has died.

The types of machines are those of ray_cluster.yaml, with processors in place of GPUs.
"""

import re
from pathlib import Path

import pytest
import yaml
from machines import missing
from ray_lab import lab

from fsg.record.folder import StudyFolder

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

ROOT = Path(__file__).parents[3]
STUDY = {
    "name": "scaled", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste", "ema"],
    "analysis": {"interval": None},
    "base": {"gradient": "ste", "epochs": 2, "device": "cpu", "data": {"name": "digits", "batch_size": 256}},
}  # fmt: skip
# By its module: as "fake_multinode" it needs a file that Ray 2.60's wheel has not, and this is what stands in it. A head
# must say by its environment that it is the provider's.
HEAD = "f" * 51 + "00000"
FAKE = {
    "type": "external", "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
    "launch_multiple": True, "head_node_id": HEAD, "disable_node_updaters": True, "disable_launch_config_check": True,
}  # fmt: skip
AS_HEAD = {"RAY_FAKE_CLUSTER": "1", "RAY_CLOUD_INSTANCE_ID": HEAD, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD}


@pytest.fixture
def head():
    with lab(["head"]) as made:
        (made.work / "shared/study.yaml").write_text(yaml.safe_dump(STUDY))
        yield made


def scaling(head, provider, at_least=0):
    """The head runs, with that provider and the types of ray_cluster.yaml, as `ray up` would have left it."""
    shipped = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())
    common = {"resources": {"CPU": 1}, "node_config": {}, "min_workers": at_least, "max_workers": 2}
    types = {
        name: common | {"priority": kind["priority"]}
        for name, kind in shipped["available_node_types"].items()
        if name != "head"
    }
    types["ray.head.default"] = {"resources": {}, "node_config": {}, "min_workers": 0, "max_workers": 0}
    config = shipped | {
        "max_workers": 2, "idle_timeout_minutes": 0.3, "provider": provider, "available_node_types": types,
        "head_node_type": "ray.head.default", "auth": {}, "file_mounts": {},
    }  # fmt: skip
    path = head.made.work / "home/alice/ray_bootstrap_config.yaml"
    path.write_text(yaml.safe_dump(config))
    path.chmod(0o644)
    role = ["--head", "--port=6379", f"--node-ip-address={head.address('head')}", f"--autoscaling-config={path}"]
    known = {"RAY_enable_autoscaler_v2": "1"} | (AS_HEAD if provider is FAKE else {})
    head.pod("head", *role, "--include-dashboard=false", cpus=0, block=False, **known)


def study(head, *options):
    where = ["--address", f"{head.address('head')}:6379", "--storage", str(head.work / "shared/studies")]
    return head.run("head", "fsg", "ablate", "study.yaml", *where, *options)


def raylets(head):
    return sum("raylet --raylet_socket_name" in line for line in head.made.processes("head").values())


def test_machines_come_for_trials_and_go_when_idle_the_cheap_ones_first(head):
    scaling(head, FAKE)
    assert raylets(head) == 1
    driver = study(head)
    assert driver.wait(400) == 0, head.log("head").read_text()[-3000:]
    state = StudyFolder(head.work / "shared/studies/scaled").state()
    assert [trial.status for trial in state.trials.values()] == ["finished"] * 2
    logs = head.made.call("head", "alice", "bash", "-c", "cat /tmp/ray/session_latest/logs/monitor*")
    assert "gpu_worker_spot" in logs and "Launching" in logs and "1 x gpu_worker_on_demand" not in logs
    head.until(lambda: raylets(head) == 1, "the machines stayed")


def test_an_autoscaler_that_died_is_named_and_the_wait_for_it_ends(head):
    """As Google Cloud's head did without google-api-python-client."""
    provider = {"type": "gcp", "project_id": "none", "region": "us-central1", "availability_zone": "us-central1-a"}
    scaling(head, provider, at_least=1)
    where = ["--address", f"{head.address('head')}:6379", "--storage", str(head.work / "shared/studies")]
    assert head.run("head", "fsg", "doctor", "--cluster", *where).wait(300) == 1
    assert re.search(
        r"BAD +2 of 2 machines have not joined. Its autoscaler has not reported", head.log("head").read_text()
    )
    driver = study(head, "--wait-for-cluster", "100", "--quiet")
    assert driver.wait(600) == 1
    said = head.log("head").read_text()
    assert re.search(r"fsg: waiting for machines since \d+ s: trials that wait: \d for 1 CPU; that run: 0;", said)
    assert "Its autoscaler has not reported" in said and "or it has died. " in said
    assert "The Ray GCP VM launcher requires the Google API Client" in said.split("or it has died. ")[1]
    assert "fsg: gave up after 1" in said and "go on with fsg resume" in said
