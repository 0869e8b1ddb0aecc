"""Ray's own processes are killed, below a subreaper as systemd's user sessions and many containers have one."""

import ctypes

import psutil
import pytest
from tiny_studies import ABLATION, Study, outcome, start_driver, worker_of

PR_SET_CHILD_SUBREAPER = 36

pytestmark = pytest.mark.long


@pytest.fixture
def subreaper():
    """Orphans come to this process, so that a worker whose raylet died is not process 1's child."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.parametrize(("process", "name"), [("raylet", "raylet"), ("gcs_server", "GCS")])
def test_a_study_whose_ray_is_killed_says_so_ends_and_resumes_to_the_same_bits(
    tmp_path, twin, subreaper, process, name
):
    with (tmp_path / "err").open("w") as file:  # no pipe: Ray's agent for environments holds it open for a minute
        driver = start_driver(tmp_path, stderr=file)
    study, worker = Study(tmp_path, ABLATION), None
    for line in driver.stdout:
        event, _, key = line.strip().partition(" ")  # Ray may say something, too
        if event == "epoch" and (worker := worker_of(study.folder.checkpoints / key, driver.pid)):
            break
    assert worker is not None, "nobody was seen to train"
    (victim,) = [child for child in psutil.Process(driver.pid).children() if child.name() == process]
    victim.kill()
    returncode, err = driver.wait(timeout=45), (tmp_path / "err").read_text()  # Ray left alone takes 60 s, or for ever
    assert returncode == 1, err
    assert f"Ray's {name} on this machine was killed" in err, err
    assert not psutil.wait_procs([worker], timeout=10)[1], "a worker outlived its Ray"

    assert study.run()
    assert {place: outcome(record) for place, record in study.trials.items()} == {
        place: outcome(record) for place, record in twin[0].trials.items()
    }
