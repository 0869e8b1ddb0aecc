"""Room for a study on a disk that is really full: a small tmpfs."""

import os
import signal
import threading
import time

import pytest
from small_disks import fill, small_disk

from fsg.execution.disk_space import CHECKPOINTS, LEDGER_BYTES, DiskSpace, PauseInterrupted
from fsg.files import as_size
from fsg.record.folder import StudyFolder

DISK = LEDGER_BYTES + 8 * 2**20


@pytest.fixture
def folder(tmp_path):
    """A study's folder on a disk with 8 MiB more than the ledger's reserve."""
    with small_disk(tmp_path, DISK):
        yield StudyFolder(tmp_path)


@pytest.fixture
def said():
    return []


def test_where_there_is_room_nothing_is_said_and_nothing_is_left(folder, said):
    disk_space = DiskSpace(folder, said.append)
    assert disk_space.make_sure(2) < 0.5
    assert said == []
    assert list(folder.path.iterdir()) == []
    assert os.statvfs(folder.path).f_bavail == os.statvfs(folder.path).f_blocks


def test_a_study_without_room_waits_says_what_to_do_and_goes_on_by_itself(folder, said):
    filler = fill(folder.path)
    threading.Timer(0.5, filler.unlink).start()
    assert 0.5 < DiskSpace(folder, said.append).make_sure(1) < 10
    paused, again = said
    assert paused.startswith(
        f"paused: no room in {folder.path}: 16.8 MB are needed for checkpoints and the ledger, 0 B"
    )
    assert "Make space there" in paused
    assert again.startswith(f"there is room in {folder.path} again")


def test_more_trials_and_larger_checkpoints_need_more_room(folder, said):
    checkpoint = folder.checkpoints / "a" / "last.pt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(bytes(2**20))
    disk_space = DiskSpace(folder, said.append)
    disk_space.make_sure(1)
    assert said == []
    disk_space = DiskSpace(folder, said.append)
    alarm = threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT])
    alarm.start()
    with pytest.raises(PauseInterrupted):
        disk_space.make_sure(2)
    alarm.join()
    assert f"{as_size(LEDGER_BYTES + 2 * CHECKPOINTS * 2**20)} are needed" in said[0]
    assert disk_space.interrupted


def test_the_disk_is_asked_once_a_second_at_most(folder, said):
    disk_space = DiskSpace(folder, said.append)
    disk_space.make_sure(1)
    filler = fill(folder.path)
    assert disk_space.make_sure(1) == 0.0
    filler.unlink()
    assert said == []


def test_a_worker_that_was_refused_again_and_again_waits_longer_each_time(folder, said, monkeypatch):
    clock = [time.monotonic()]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    disk_space = DiskSpace(folder, said.append)
    waits = []
    for times in range(1, 9):
        disk_space.refused(times)
        waits.append(disk_space.make_sure(1))
    assert waits == pytest.approx([2, 4, 8, 16, 32, 60, 60, 60])
    assert said == []
