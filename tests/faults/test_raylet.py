"""A raylet that is killed, below a subreaper as systemd's user sessions and many containers have one."""

import ctypes
import subprocess

import psutil
import pytest
from tiny_studies import ABLATION, Study, outcome, start_driver

PR_SET_CHILD_SUBREAPER = 36


@pytest.fixture
def subreaper():
    """Orphans come to this process, so that a worker whose raylet died is not process 1's child."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def test_a_study_whose_raylet_is_killed_ends_by_itself_and_resumes_to_the_same_bits(tmp_path, twin, subreaper):
    driver = start_driver(tmp_path, stderr=subprocess.PIPE)
    for line in driver.stdout:
        if line.startswith("epoch "):  # by now its worker goes by its name; seen without at the trial's start
            break
    (raylet,) = [child for child in psutil.Process(driver.pid).children() if child.name() == "raylet"]
    workers = [child for child in raylet.children() if child.name().startswith("ray::FsgTrainab")]
    raylet.kill()
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 1, err
    assert "Ray has no host left" in err, err
    assert workers, "no worker was there when its raylet was killed"
    assert not psutil.wait_procs(workers, timeout=10)[1], "a worker outlived its raylet"

    study = Study(tmp_path, ABLATION)
    assert study.run()
    assert {place: outcome(record) for place, record in study.trials.items()} == {
        place: outcome(record) for place, record in twin[0].trials.items()
    }
