"""A checkpoint on a disk that is really full: a small tmpfs."""

import errno
import subprocess

import pytest
import torch

from fsg.train.checkpoint import CheckpointStore


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 256 kB."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "fsg-test", str(tmp_path)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_disk_refuses_a_checkpoint_whole_and_the_one_before_counts_until_there_is_space(small_disk):
    store = CheckpointStore(small_disk / "trial" / "last.pt")
    store.save({"epoch": 1, "weights": torch.ones(4_000)})
    filler = small_disk / "filler"
    with pytest.raises(OSError) as caught, filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(OSError) as caught:
        store.save({"epoch": 2, "weights": torch.ones(8_000)})
    assert caught.value.errno == errno.ENOSPC
    assert not list(small_disk.rglob("*.partial"))
    assert store.load()["epoch"] == 1 and store.damaged == []
    filler.unlink()
    store.save({"epoch": 2, "weights": torch.ones(8_000)})
    assert store.load()["epoch"] == 2
