"""A machine that is told to go, as Kubernetes tells `ray start --block` by SIGTERM: its trial saves and goes on elsewhere."""

import os
import signal

import pytest
import yaml
from machines import missing
from ray_lab import lab

from fsg.record.folder import StudyFolder

pytestmark = [pytest.mark.long, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

STUDY = {
    "name": "drained", "seeds": [0], "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste", "ema"],
    "analysis": {"interval": None},
    "base": {"gradient": "ste", "epochs": 120, "device": "cpu", "data": {"name": "digits", "batch_size": 64}},
}  # fmt: skip


@pytest.fixture
def pods():
    with lab(["head", "first", "second"]) as made:
        (made.work / "shared/study.yaml").write_text(yaml.safe_dump(STUDY))
        yield made


def test_a_trial_on_a_machine_that_is_drained_saves_and_goes_on_on_another(pods):
    address = f"{pods.made.address('head')}:6379"
    pods.pod("head", "--head", f"--node-ip-address={pods.made.address('head')}", "--include-dashboard=false", cpus=0)
    pods.pod("first", f"--address={address}")
    pods.run(
        "head",
        "fsg",
        "ablate",
        "study.yaml",
        "--address",
        address,
        "--storage",
        str(pods.work / "shared/studies"),
        "--quiet",
    )
    ledger = StudyFolder(pods.work / "shared/studies/drained").ledger()

    def events(kind):
        return [event for event in ledger.read() if event["event"] == kind] if ledger.path.exists() else []

    pods.until(lambda: events("epoch"), "nothing was trained")
    (started,) = [pid for pid, line in pods.made.processes("first").items() if "ray start --block" in line]
    os.kill(started, signal.SIGTERM)
    pods.until(lambda: events("retried"), "the trial heard nothing")
    (retried,) = events("retried")
    assert retried["cause"] == "preempted", retried
    pods.pod("second", f"--address={address}")
    pods.until(lambda: len(events("finished")) == 2, "they did not go on")
    of_it = [event for event in events("started") if event["key"] == retried["key"]]
    assert [event["node"] for event in of_it] == [pods.made.address("first"), pods.made.address("second")]
    epochs = [event["metrics"]["epoch"] for event in events("epoch") if event["key"] == retried["key"]]
    assert list(dict.fromkeys(epochs)) == list(range(1, STUDY["base"]["epochs"] + 1)), "an epoch was lost"
    assert len(epochs) <= STUDY["base"]["epochs"] + 1, (
        "more was trained anew than the checkpoint's epoch, which is reported again"
    )
