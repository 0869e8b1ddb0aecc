"""A study as one file that is the study again when unpacked; and its removal, whole or not at all."""

import shutil
import subprocess
import tarfile

import pytest

from fsg.errors import StudyError
from fsg.record import archive as module
from fsg.record.archive import archive, remove
from fsg.record.driver_lock import StudyLock
from fsg.record.folder import StudyFolder
from fsg.report.study_report import make_report


@pytest.fixture
def folder(finished, tmp_path):
    """A copy of the finished ablation."""
    path = tmp_path / "studies" / "small"
    shutil.copytree(finished.folder.path, path)
    (path / "ray").mkdir(exist_ok=True)
    (path / "ray" / "snapshot").write_text("of this machine")
    return StudyFolder(path)


def test_the_unpacked_study_has_the_same_report_and_checkpoints(folder, tmp_path):
    out = tmp_path / "small.tar.gz"
    before = make_report(folder.spec(), folder.state())
    count = archive(folder, out)
    there = tmp_path / "elsewhere"
    with tarfile.open(out) as tar:
        tar.extractall(there, filter="data")
    again = StudyFolder(there / "small")
    assert make_report(again.spec(), again.state()).markdown == before.markdown
    files = [path.relative_to(again.path) for path in again.path.rglob("*") if path.is_file()]
    assert len(files) == count and any(path.name == "best.pt" for path in files)
    assert all((again.path / path).read_bytes() == (folder.path / path).read_bytes() for path in files)
    assert not (again.path / "ray").exists() and not (again.path / "driver.json").exists()


def test_nothing_of_the_study_is_written(folder, tmp_path):
    seen = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")}
    archive(folder, tmp_path / "small.tar.gz")
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*")} == seen


def test_a_study_that_is_driven_is_neither_packed_nor_removed(folder, tmp_path):
    with StudyLock(folder.path):
        with pytest.raises(StudyError, match=r"is being driven by process \d+"):
            archive(folder, tmp_path / "small.tar.gz")
        with pytest.raises(StudyError, match="is being driven already"):
            remove(folder)
    assert folder.ledger_path.exists() and not (tmp_path / "small.tar.gz").exists()


def test_a_file_that_is_there_is_not_replaced(folder, tmp_path):
    out = tmp_path / "small.tar.gz"
    out.write_text("mine")
    with pytest.raises(StudyError, match="is there already, and nothing was written"):
        archive(folder, out)
    assert out.read_text() == "mine"


def test_what_changed_meanwhile_or_reads_back_otherwise_is_not_kept(folder, tmp_path, monkeypatch):
    out = tmp_path / "small.tar.gz"
    contents = module._contents
    monkeypatch.setattr(module, "_contents", lambda *place: contents(*place) | {"spec.yaml": 0})
    with pytest.raises(StudyError, match="what was read back is not what was written"):
        archive(folder, out)
    sizes = iter([{"spec.yaml": 1}, {"spec.yaml": 2}])
    monkeypatch.setattr(module, "_files", lambda _: next(sizes))
    with pytest.raises(StudyError, match="changed while it was read"):
        archive(folder, out)
    assert [path.name for path in tmp_path.iterdir()] == ["studies"]


def test_a_removal_that_is_killed_leaves_no_part_of_a_study_under_its_name(folder, monkeypatch):
    def killed(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        remove(folder)
    assert not folder.path.exists()
    (left,) = folder.path.parent.iterdir()
    assert left.name.startswith(".small.removed-") and (left / "ledger.jsonl").exists()


def test_a_link_to_a_study_is_not_followed(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder.path)
    with pytest.raises(StudyError, match="is a link to"):
        remove(StudyFolder(link))
    remove(folder)
    assert not folder.path.exists() and link.is_symlink()


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")
def test_tar_itself_unpacks_it(folder, tmp_path):
    archive(folder, tmp_path / "small.tar.gz")
    (tmp_path / "there").mkdir()
    subprocess.run(["tar", "xzf", tmp_path / "small.tar.gz", "-C", tmp_path / "there"], check=True)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["small"]
