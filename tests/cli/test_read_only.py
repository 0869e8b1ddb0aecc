"""A store that cannot be written: one message, and nothing is started."""

import subprocess

import pytest
from cli_texts import ABLATION
from small_disks import small_disk

from fsg.record.folder import StudyFolder
from fsg.study.spec import load_study


@pytest.fixture
def read_only(tmp_path, files):
    """A store with one study in it, on a disk that is mounted read-only."""
    files(ABLATION)
    store = tmp_path / "studies"
    store.mkdir()
    with small_disk(store, 2**20):
        StudyFolder.create_or_open(load_study(tmp_path / "study.yaml"), store)
        subprocess.run(["mount", "-o", "remount,ro", str(store)], check=True)
        yield store


@pytest.mark.parametrize("command", [("ablate", "study.yaml"), ("resume", "small")])
def test_a_study_on_a_read_only_disk_is_refused_with_one_message(command, read_only, fsg, nothing_starts, tmp_path):
    said = fsg(*command)
    assert said.code == 2
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"fsg: {read_only} cannot be written (Read-only file system). ")
    assert line.endswith("Nothing was started.")
    assert not (tmp_path / "mlflow.db").exists()


def test_a_study_on_a_read_only_disk_can_still_be_looked_at(read_only, fsg):
    said = fsg("status", "small")
    assert (said.code, said.err) == (0, "")
    assert "small: no trial planned yet" in said.out
