"""A study's folder that is moved, removed or made read-only while the study runs: one message, exit 1, and how to go on."""

import errno
import shutil
import subprocess
import threading
import time

import pytest
from cli_texts import ABLATION
from small_disks import small_disk

from fsg.record.folder import StudyFolder

LONG = ("epochs: 2", "epochs: 2000")


@pytest.fixture
def interrupted_by(tmp_path, fsg, files, with_store):
    """Runs the small study, and ``act(folder)`` once a trial of it has had two epochs; what the command said."""

    def run(act):
        files(ABLATION, LONG)
        study = StudyFolder(tmp_path / "studies" / "small")

        def wait_and_act():
            while not any(len(trial.epochs) > 1 for trial in study.state().trials.values()):
                time.sleep(0.05)
            act(study.path)

        threading.Thread(target=wait_and_act, daemon=True).start()
        return fsg("ablate", "study.yaml")

    return run


def one_message(said):
    assert said.code == 1
    assert "Traceback" not in said.out + said.err
    assert said.err.count("fsg: ") == 1 and said.err.startswith("fsg: ")
    return said.err


@pytest.mark.long
def test_a_folder_that_was_moved_is_named_where_it_is_and_nothing_is_left_in_its_place(
    interrupted_by, shared_ray, tmp_path
):
    moved = tmp_path / "elsewhere" / "small"
    moved.parent.mkdir()
    message = one_message(interrupted_by(lambda path: path.rename(moved)))
    assert f"studies/small: was moved to {moved} while the study ran" in message
    assert message.endswith(f"go on with: fsg resume {moved}\n")
    assert {trial.status for trial in StudyFolder(moved).state().trials.values()} <= {"running", "planned"}
    assert not (tmp_path / "studies" / "small").exists(), "half a study was begun where it was"


def test_a_folder_that_was_removed_is_said_to_be_and_its_copy_in_mlflow_is_left(interrupted_by, local_engine, tmp_path):
    message = one_message(interrupted_by(lambda path: shutil.rmtree(path, ignore_errors=True)))
    assert "studies/small: was removed while the study ran" in message
    assert "what MLflow was sent is left" in message
    assert not list((tmp_path / "studies").rglob("ledger.jsonl"))


def test_a_ledger_that_takes_no_writes_stops_the_study_and_it_can_be_gone_on_with(
    interrupted_by, local_engine, monkeypatch, tmp_path
):
    """As where the kernel makes a faulty disk read-only, files that are open among it."""

    def refuse(descriptor, data):
        raise OSError(errno.EROFS, "Read-only file system")

    message = one_message(interrupted_by(lambda path: monkeypatch.setattr("fsg.record.ledger._write_all", refuse)))
    assert "ledger.jsonl: cannot be written ([Errno 30] Read-only file system)" in message
    assert message.endswith("go on with: fsg resume small\n")
    assert StudyFolder(tmp_path / "studies" / "small").state().trials, "what came before is not there"


@pytest.mark.long
def test_checkpoints_on_a_disk_that_is_read_only_stop_the_study(interrupted_by, shared_ray, tmp_path):
    covered = []
    probe = tmp_path / "probe"
    probe.mkdir()
    with small_disk(probe, 2**20):  # skips the test where nothing can be mounted
        pass

    def cover(path):
        """By a disk that has the trials' folders and takes no writes."""
        names = [folder.name for folder in (path / "checkpoints").iterdir()]
        disk = path / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "fsg-test", str(disk)], check=True)
        for name in names:
            (disk / name).mkdir()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        subprocess.run(["mount", "--bind", str(disk), str(path / "checkpoints")], check=True)
        subprocess.run(["umount", "-l", str(disk)], check=True)
        covered.append(path / "checkpoints")

    try:
        message = one_message(interrupted_by(cover))
    finally:
        for path in covered:
            subprocess.run(["umount", "-l", str(path)], check=True)
    assert "Read-only file system" in message and "fsg resume" in message
