"""A checkpoint on a disk that is really full: a small tmpfs."""

import errno

import pytest
import torch
from small_disks import fill, small_disk

from fsg.train.checkpoint import CheckpointStore


@pytest.fixture
def folder(tmp_path):
    """A folder on a disk of 256 kB."""
    with small_disk(tmp_path, 2**18):
        yield tmp_path


def test_a_full_disk_refuses_a_checkpoint_whole_and_the_one_before_counts_until_there_is_space(folder):
    store = CheckpointStore(folder / "trial" / "last.pt")
    store.save({"epoch": 1, "weights": torch.ones(4_000)})
    filler = fill(folder)
    with pytest.raises(OSError, match=r"No space left on device for [\d,]+ bytes: '.*last\.pt'") as caught:
        store.save({"epoch": 2, "weights": torch.ones(8_000)})
    assert caught.value.errno == errno.ENOSPC
    assert not list(folder.rglob("*.partial"))
    assert store.load()["epoch"] == 1 and store.damaged == []
    filler.unlink()
    store.save({"epoch": 2, "weights": torch.ones(8_000)})
    assert store.load()["epoch"] == 2
