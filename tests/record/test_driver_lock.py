"""Proof of fsg/record/driver_lock.py: one driver a study, and a dead one is no obstacle."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fsg.errors import StudyError
from fsg.record.driver_lock import FILE, StudyLock, driver_of

HOLDER = """
import sys, time
from fsg.record.driver_lock import StudyLock
with StudyLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holding(folder):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def rewrite(folder, **changes):
    path = folder / FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.fixture
def no_locks(monkeypatch):
    """A file system that keeps no locks."""

    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def test_a_second_driver_is_refused_with_who_holds_it_and_since_when(tmp_path):
    first = holding(tmp_path)
    try:
        with pytest.raises(StudyError) as caught, StudyLock(tmp_path):
            pass
        message = str(caught.value)
        assert message.startswith(f"{tmp_path}: is being driven already: process {first.pid} on {os.uname().nodename}")
        assert f"since {time.strftime('%Y-%m-%d')}" in message and f"kill {first.pid}" in message
        assert caught.value.exit_code == 2
        assert driver_of(tmp_path)["alive"]
    finally:
        first.kill()
        first.wait()


def test_the_lock_of_a_killed_driver_is_taken_over_with_a_message(tmp_path):
    first = holding(tmp_path)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not driver_of(tmp_path)["alive"]
    with StudyLock(tmp_path) as lock:
        assert f"process {first.pid} on " in lock.taken_over and "taken over" in lock.taken_over
        assert driver_of(tmp_path)["pid"] == os.getpid()


def test_a_driver_that_is_stopped_still_holds_its_study(tmp_path):
    first = holding(tmp_path)
    try:
        first.send_signal(signal.SIGSTOP)
        with pytest.raises(StudyError, match="is being driven already"), StudyLock(tmp_path):
            pass
    finally:
        first.kill()
        first.wait()


@pytest.fixture
def other():
    """A process that has nothing to do with any study, begun now."""
    process = subprocess.Popen(["sleep", "60"])
    time.sleep(0.05)  # the kernel tells when a process began to a hundredth of a second
    yield process
    process.kill()
    process.wait()


def test_another_process_with_a_dead_drivers_number_is_no_driver(tmp_path, other):
    first = holding(tmp_path)
    first.kill()
    first.wait()
    rewrite(tmp_path, pid=other.pid)
    assert not driver_of(tmp_path)["alive"]
    rewrite(tmp_path, pid=os.getppid())
    assert not driver_of(tmp_path)["alive"]


@pytest.mark.parametrize(("hours", "alive"), [(1, False), (-1, True)])
def test_of_an_older_driver_the_time_of_its_lock_decides(tmp_path, other, hours, alive):
    first = holding(tmp_path)
    first.kill()
    first.wait()
    rewrite(tmp_path, pid=other.pid, started=None, since=time.time() - 3600 * hours)
    assert driver_of(tmp_path)["alive"] is alive


def test_without_locks_another_process_with_its_number_holds_nothing(tmp_path, no_locks, other):
    with StudyLock(tmp_path, beat=0.05):
        pass
    rewrite(tmp_path, released=False, pid=other.pid)
    with StudyLock(tmp_path, beat=0.05) as lock:
        assert lock.taken_over


def test_a_lock_that_was_let_go_is_taken_without_a_word(tmp_path):
    with StudyLock(tmp_path):
        pass
    assert not driver_of(tmp_path)["alive"]
    with StudyLock(tmp_path) as lock:
        assert lock.taken_over is None


def test_nobody_ever_drove_a_folder_without_a_lock(tmp_path):
    assert driver_of(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"\xff\x00")
    assert driver_of(tmp_path) is None
    with StudyLock(tmp_path) as lock:
        assert lock.taken_over is None


def test_a_driver_on_another_machine_counts_until_it_has_been_silent_long_enough(tmp_path):
    """The lock can be had: a share that keeps locks on each machine alone."""
    with StudyLock(tmp_path):
        pass
    rewrite(tmp_path, machine="another", host="far", pid=7, released=False)
    with pytest.raises(StudyError, match="process 7 on far"), StudyLock(tmp_path):
        pass
    old = time.time() - 40
    os.utime(tmp_path / FILE, (old, old))
    with StudyLock(tmp_path) as lock:
        assert "process 7 on far" in lock.taken_over


@pytest.mark.parametrize("hours", [1, -1])
def test_whether_a_driver_on_another_machine_lives_is_asked_by_the_shares_clock(tmp_path, monkeypatch, hours):
    """Ours may be off: `fsg ui` would close the runs of a study that is being driven."""
    with StudyLock(tmp_path):
        pass
    rewrite(tmp_path, machine="another", released=False)
    kernel = time.time
    monkeypatch.setattr("time.time", lambda: kernel() + 3600 * hours)
    assert driver_of(tmp_path)["alive"]
    old = kernel() - 40
    os.utime(tmp_path / FILE, (old, old))
    assert not driver_of(tmp_path)["alive"]
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


# Containers: one kernel and boot, process numbers of their own -----------------------------------------------------------
CONTAINER = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
ASKER = "import sys; from fsg.record.driver_lock import driver_of; print(driver_of(sys.argv[1])['alive'])"


@pytest.fixture
def contained(tmp_path):
    """A driver in a container, which holds the study in ``tmp_path``."""
    tried = subprocess.run([*CONTAINER, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no container can be made here: {tried.stderr.strip()}")
    command = [*CONTAINER, sys.executable, "-c", HOLDER, str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_a_driver_in_a_container_lives_for_those_outside_and_in_another(tmp_path, contained):
    assert driver_of(tmp_path)["alive"]
    beside = subprocess.run([*CONTAINER, sys.executable, "-c", ASKER, str(tmp_path)], capture_output=True, text=True)
    assert beside.stdout == "True\n", beside.stderr


def test_a_container_that_ended_is_followed_at_once_on_its_machine(tmp_path, contained):
    contained.kill()
    assert contained.stdout.read() == ""  # to its end: all that was in it has ended
    with StudyLock(tmp_path) as lock:
        assert "taken over" in lock.taken_over


def test_without_locks_a_driver_in_a_container_counts_until_it_has_been_silent(tmp_path, contained, no_locks):
    with pytest.raises(StudyError, match="is being driven already"), StudyLock(tmp_path):
        pass


def test_without_locks_the_process_decides(tmp_path, no_locks):
    refused = pytest.raises(StudyError, match=f"process {os.getpid()}")
    with StudyLock(tmp_path, beat=0.05), refused, StudyLock(tmp_path, beat=0.05):
        pass
    rewrite(tmp_path, released=False, pid=2**22 + 1)
    with StudyLock(tmp_path, beat=0.05) as lock:
        assert lock.taken_over


def test_without_locks_the_last_of_two_to_write_has_it(tmp_path, no_locks, monkeypatch):
    first = StudyLock(tmp_path, beat=0.2)
    monkeypatch.setattr(
        "fsg.record.driver_lock._parsed", lambda text: {"token": "another's"} if text.strip(b"\0") else {}
    )
    monkeypatch.setattr("fsg.record.driver_lock._lives", lambda pid: False)
    with pytest.raises(StudyError, match="is being driven already"), first:
        pass


def test_every_beat_says_what_the_driver_has_to_say(tmp_path):
    with StudyLock(tmp_path, beat=0.02) as lock:
        lock.notes = lambda: {"mlflow": "12 events behind"}
        deadline = time.monotonic() + 5
        while driver_of(tmp_path).get("mlflow") != "12 events behind":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_driver_whose_study_was_taken_over_is_interrupted(tmp_path):
    with pytest.raises(KeyboardInterrupt), StudyLock(tmp_path, beat=0.05):
        rewrite(tmp_path, token="another's")
        for _ in range(600):  # on a busy machine a beat of 50 ms may take seconds
            time.sleep(0.1)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match="cannot be written"), StudyLock(tmp_path / "file"):
        pass


def test_a_lock_whose_file_takes_no_writes_is_refused_with_its_path(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(StudyError, match=r"driver\.json: cannot be written .*Input/output error"), StudyLock(tmp_path):
        pass
