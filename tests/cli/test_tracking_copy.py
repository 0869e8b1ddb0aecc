"""The copy in MLflow beside a driver at work, and after one that was killed."""

import signal
import socket
import subprocess
import sys

import psutil
import pytest
from command_line import python_environment
from listening import LOOPBACK, open_to

from fsg.record.driver_lock import StudyLock
from fsg.tracking import TrackingServer
from fsg.tracking.store import open_client

pytestmark = pytest.mark.usefixtures("with_store")
DRIVER_THAT_IS_KILLED = """
import os, sys
from fsg.record.driver_lock import StudyLock
from fsg.tracking import TrackingServer
with StudyLock(sys.argv[1]):
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def statuses(tmp_path):
    """What the store says of the study's runs, as a set."""

    def ask():
        client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
        experiment = client.get_experiment_by_name("small")
        return {run.info.status for run in client.search_runs([experiment.experiment_id])}

    return ask


def test_sync_beside_a_driver_at_work_leaves_its_runs_running(half_done, fsg, statuses):
    with StudyLock(half_done.path):
        said = fsg("sync", "small")
    assert said.code == 0, said.err
    assert statuses() == {"RUNNING"}
    assert fsg("sync", "small").code == 0
    assert "RUNNING" not in statuses(), "nobody works on it any more"


def test_a_study_whose_experiment_was_renamed_is_synced_and_opened_there(half_done, fsg, tmp_path, monkeypatch):
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    with StudyLock(half_done.path):
        assert fsg("sync", "small").code == 0
    experiment = client.get_experiment_by_name("small").experiment_id
    client.rename_experiment(experiment, "as in the paper")
    assert fsg("sync", "small").code == 0
    assert {each.name for each in client.search_experiments()} == {"Default", "as in the paper"}
    runs = client.search_runs([experiment])
    assert len(runs) == 3 and "RUNNING" not in {run.info.status for run in runs}
    monkeypatch.setattr("fsg.tracking.serve", lambda uri, port: TrackingServer("http://here"))
    assert f"MLflow: http://here/#/experiments/{experiment}/runs?" in fsg("ui", "small").out


@pytest.mark.server
def test_the_ui_of_a_study_whose_driver_was_killed_shows_no_run_as_running_and_listens_on_loopback_alone(
    half_done, fsg, statuses, tmp_path
):
    with StudyLock(half_done.path):
        assert fsg("sync", "small").code == 0
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER_THAT_IS_KILLED, str(half_done.path)], env=python_environment()
    )
    assert killed.returncode == -signal.SIGKILL
    assert statuses() == {"RUNNING"}
    ui = subprocess.Popen(
        [sys.executable, "-c", "from fsg.cli import main; main()", "ui", "small"], stdout=subprocess.PIPE,
        text=True, cwd=tmp_path, env=python_environment(),
    )  # fmt: skip
    try:
        assert ui.stdout.readline().startswith("MLflow: http://127.0.0.1:")
        assert "RUNNING" not in statuses()
        seen = open_to(ui.pid)
        assert {address for _, address, _ in seen} == {"127.0.0.1"}, seen
        (port,) = {port for _, _, port in seen}
        ours = {a.address for of in psutil.net_if_addrs().values() for a in of if a.family == socket.AF_INET}
        for address in ours - LOOPBACK:
            with socket.socket() as other:
                other.settimeout(2)
                assert other.connect_ex((address, port)) != 0, address
    finally:
        ui.send_signal(signal.SIGINT)
        ui.communicate(timeout=30)
    assert ui.returncode == 0
