"""The best checkpoint beside the last: by value, of equals the earliest, whatever interrupts."""

import errno
import math
from pathlib import Path

import pytest

from fsg.formats import FORMAT
from fsg.train.checkpoint import CheckpointStore, load_checkpoint


def run(path, values, better="max", first=1):
    """A trial's attempt: a store that takes up what is there, and saves one epoch for each value."""
    store = CheckpointStore(path / "last.pt", better)
    store.load()
    for epoch, value in enumerate(values, start=first):
        store.save({"epoch": epoch}, value)
    return store


def best(path):
    return load_checkpoint(path / "best.pt")["epoch"]


@pytest.mark.parametrize(
    ("better", "values", "epoch"),
    [
        ("max", [1.0, 3.0, 2.0], 2),
        ("min", [1.0, 3.0, 2.0], 1),
        ("max", [3.0, 3.0, 3.0], 1),
        ("max", [math.nan, -math.inf, None, -5.0, math.nan], 4),
    ],
)
def test_it_is_the_earliest_of_the_best_values(tmp_path, better, values, epoch):
    run(tmp_path, values, better)
    assert best(tmp_path) == epoch
    assert load_checkpoint(tmp_path / "last.pt")["epoch"] == len(values)


def test_it_survives_a_resume(tmp_path):
    run(tmp_path, [5.0, 9.0, 6.0])
    run(tmp_path, [8.0, 9.0], first=4)
    assert best(tmp_path) == 2
    run(tmp_path, [9.5], first=6)
    assert best(tmp_path) == 6


def test_a_kill_between_best_and_last_is_made_good_by_the_epoch_that_runs_again(tmp_path):
    run(tmp_path, [5.0])
    last = (tmp_path / "last.pt").read_bytes()
    run(tmp_path, [9.0], first=2)
    (tmp_path / "last.pt").write_bytes(last)
    run(tmp_path, [9.0, 8.0], first=2)
    assert best(tmp_path) == 2


def test_nothing_less_takes_the_place_of_a_best_one_that_was_damaged(tmp_path):
    run(tmp_path, [5.0, 9.0])
    (tmp_path / "best.pt").write_bytes(b"x")
    store = run(tmp_path, [7.0], first=3)
    assert [aside.name for aside, _ in store.damaged] == ["best.pt.damaged-1"]
    assert not store.best.exists()
    run(tmp_path, [9.1], first=4)
    assert best(tmp_path) == 4


def test_without_being_asked_for_there_is_none(tmp_path):
    CheckpointStore(tmp_path / "last.pt").save({"epoch": 1}, 3.0)
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]
    assert load_checkpoint(tmp_path / "last.pt") == {"format": FORMAT, "epoch": 1}


def test_a_checkpoint_that_cannot_be_read_now_is_no_damage(tmp_path, monkeypatch):
    run(tmp_path, [5.0, 9.0])

    def refuse(path):
        raise OSError(errno.EMFILE, "Too many open files", str(path))

    with monkeypatch.context() as patch, pytest.raises(OSError, match="Too many open files"):
        patch.setattr(Path, "read_bytes", refuse)
        CheckpointStore(tmp_path / "last.pt", "max").load()
    assert CheckpointStore(tmp_path / "last.pt", "max").load()["epoch"] == 2
    assert not list(tmp_path.glob("*.damaged-*"))
