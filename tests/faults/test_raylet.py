"""A raylet that is killed, below a subreaper as systemd's user sessions and many containers have one."""

import ctypes
import subprocess
from pathlib import Path

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


def training(raylet, folder):
    """Its workers that train: they hold a file of their study open, whatever Ray calls them at that moment."""
    return [w for w in raylet.children() if any(Path(file.path).is_relative_to(folder) for file in w.open_files())]


def test_a_study_whose_raylet_is_killed_ends_by_itself_and_resumes_to_the_same_bits(tmp_path, twin, subreaper):
    driver = start_driver(tmp_path, stderr=subprocess.PIPE)
    for line in driver.stdout:
        if line.startswith("epoch "):
            (raylet,) = [child for child in psutil.Process(driver.pid).children() if child.name() == "raylet"]
            if workers := training(raylet, tmp_path):
                break
    raylet.kill()
    _, err = driver.communicate(timeout=240)
    assert driver.returncode == 1, err
    assert "Ray has no host left" in err, err
    assert not psutil.wait_procs(workers, timeout=10)[1], "a worker outlived its raylet"

    study = Study(tmp_path, ABLATION)
    assert study.run()
    assert {place: outcome(record) for place, record in study.trials.items()} == {
        place: outcome(record) for place, record in twin[0].trials.items()
    }
