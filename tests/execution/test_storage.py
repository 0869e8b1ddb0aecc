"""A study's folder that is moved, removed or refuses writes while the study runs: one message, with how to go on."""

import errno
import shutil

import pytest
from ray.tune.error import TuneError

from fsg.errors import BackendUnavailable, DataError, StorageFailed, StudyError
from fsg.execution.disk_space import DiskSpace, PauseInterrupted
from fsg.execution.storage import StudyStorage, _chain
from fsg.files import write_atomically
from fsg.record.folder import StudyFolder
from fsg.record.mirror import remember


@pytest.fixture
def folder(tmp_path):
    made = StudyFolder(tmp_path / "studies" / "small")
    made.checkpoints.mkdir(parents=True)
    return made


def begun(folder):
    ledger = folder.ledger()
    ledger.append("planned", key="k", arm="a", seed=0, config={})
    ledger.close()
    return folder


def test_a_folder_that_stays_is_not_complained_of(folder):
    with StudyStorage(folder) as storage:
        storage.check()
        storage.recorded()  # of nothing yet
        begun(folder)
        storage.recorded()
        storage.check()
    assert folder.ledger().read(), "and nothing was taken away"


def test_a_folder_that_was_moved_is_named_where_it_is_now(folder, tmp_path):
    now = tmp_path / "elsewhere"
    with pytest.raises(StorageFailed) as failed, StudyStorage(begun(folder)) as storage:
        folder.path.rename(now)
        folder.path.mkdir()  # as somebody who writes to the old path would make it
        storage.check()
    assert str(failed.value).startswith(f"{folder.path}: was moved to {now} while the study ran")
    assert str(failed.value).endswith(f"fsg resume {now}") and failed.value.exit_code == 1


@pytest.mark.parametrize("other", [None, "spec.yaml"], ids=["ray alone", "a study"])
@pytest.mark.parametrize("inner", ["", "retune/arm"], ids=["study", "arm"])
def test_a_snapshot_of_ray_where_the_folder_was_is_cleared_away_and_nothing_else(folder, tmp_path, inner, other):
    folder.spec_path.touch()
    place = StudyFolder(folder.path / inner)
    place.path.mkdir(parents=True, exist_ok=True)
    with pytest.raises(StorageFailed, match="was moved"), StudyStorage(place):
        folder.path.rename(tmp_path / "elsewhere")
        (place.ray / "tune").mkdir(parents=True)
        if other:
            (place.path / other).touch()
    assert folder.path.exists() is (other is not None)
    assert (tmp_path / "elsewhere" / "spec.yaml").exists()


def test_a_folder_above_that_was_moved_is_followed_too(folder, tmp_path):
    with pytest.raises(StorageFailed, match=r"was moved to .*/other/small "), StudyStorage(folder) as storage:
        folder.path.parent.rename(tmp_path / "other")
        storage.check()


def test_a_folder_that_was_removed_is_said_to_be(folder):
    said = r"was removed while the study ran, or moved to another disk"
    with pytest.raises(StorageFailed, match=said), StudyStorage(folder) as storage:
        shutil.rmtree(folder.path)
        storage.check()


@pytest.mark.parametrize("again", [False, True], ids=["gone", "replaced"])
def test_a_ledger_that_is_not_the_one_that_was_written_stops_the_study(folder, again):
    said = r"ledger\.jsonl: was removed or replaced .* does again what is missing"
    with pytest.raises(StorageFailed, match=said), StudyStorage(begun(folder)) as storage:
        storage.recorded()
        folder.ledger_path.rename(folder.path / "kept.jsonl")
        if again:
            begun(folder)
        storage.check()


def test_a_ledger_that_is_mended_before_the_first_event_is_the_one_that_counts(folder):
    with StudyStorage(begun(folder)) as storage:
        write_atomically(folder.ledger_path, b"")
        storage.check()
    assert folder.ledger().read() == []


def test_what_is_left_of_a_removed_study_is_its_copy_where_it_has_one(folder):
    remember(folder, "s3://bucket/small")
    left = r"If it was removed, its copy is left: fsg resume s3://bucket/small$"
    with pytest.raises(StorageFailed, match=left), StudyStorage(folder) as storage:
        shutil.rmtree(folder.path)
        storage.check()


def test_of_the_search_of_an_arm_the_whole_study_is_what_is_gone_on_with(folder, tmp_path):
    folder.spec_path.touch()
    search = StudyFolder(folder.path / "retune" / "arm")
    search.path.mkdir(parents=True)
    with pytest.raises(StorageFailed, match=f"go on with: fsg resume {folder.path}$"), StudyStorage(search):
        raise OSError(errno.EIO, "Input/output error")
    with pytest.raises(StorageFailed, match=f"fsg resume {tmp_path / 'moved'}$"), StudyStorage(search):
        folder.path.rename(tmp_path / "moved")


def test_a_disk_that_does_not_answer_is_not_taken_for_a_folder_that_is_gone(folder, monkeypatch):
    def stat(path, **_):
        raise OSError(errno.EIO, "Input/output error")

    with StudyStorage(folder) as storage:
        monkeypatch.setattr("pathlib.Path.stat", stat)
        storage.check()
        monkeypatch.undo()
    assert folder.path.is_dir()


def test_room_hears_of_a_folder_that_is_gone(folder):
    with pytest.raises(StorageFailed), StudyStorage(folder) as storage:
        shutil.rmtree(folder.path)
        DiskSpace(folder, check=storage.check).make_sure(1)


def test_whatever_comes_of_a_folder_that_is_gone_is_explained_by_that(folder):
    with pytest.raises(StorageFailed, match="was removed"), StudyStorage(folder):
        shutil.rmtree(folder.path)
        raise KeyError("49306c2a5ec1")


def wrapped(error):
    """As Ray's loop hands on what our code raised in it."""
    try:
        try:
            raise error
        except Exception:
            raise TuneError("Traceback (most recent call last): ...") from None
    except TuneError as found:
        return found


def refused_by_ledger(error):
    """As the ledger says it."""
    try:
        try:
            raise error
        except OSError as why:
            raise StudyError(f"ledger.jsonl: cannot be written ({why}).") from None
    except StudyError as found:
        return found


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/s/x.pt"), "/s/x.pt: Read-only file system."),
        (wrapped(OSError(errno.EIO, "Input/output error", "/s/x.pt")), "/s/x.pt: Input/output error."),
        (wrapped(OSError(errno.EMFILE, "Too many open files")), "{folder}: Too many open files."),
        (
            refused_by_ledger(OSError(errno.EIO, "Input/output error")),
            "ledger.jsonl: cannot be written ([Errno 5] Input/output error).",
        ),
    ],
)
def test_a_refusal_of_the_disk_is_one_message_that_says_how_to_go_on(folder, error, first):
    with pytest.raises(StorageFailed) as failed, StudyStorage(folder):
        raise error
    assert str(failed.value) == (
        f"{first.format(folder=folder.path)}\nThe study was stopped, with all that came before recorded in {folder.path}. "
        f"Mend this, then go on with: fsg resume {folder.path}"
    )


def raised_beside(kind):
    """An error of ours with the refusal of a disk in its past, which it was raised to explain."""
    try:
        try:
            raise OSError(errno.EACCES, "Permission denied", "/tmp/ray")
        except OSError:
            raise kind("its own message") from None
    except kind as found:
        return found


@pytest.mark.parametrize(
    "error",
    [
        KeyError("k"), ConnectionRefusedError(errno.ECONNREFUSED, "refused"), wrapped(ValueError("boom")),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/elsewhere/table.csv"),
        raised_beside(BackendUnavailable), raised_beside(DataError), raised_beside(PauseInterrupted), StudyError("other"),
    ],
)  # fmt: skip
def test_other_errors_stay_what_they_are(folder, error):
    with pytest.raises(type(error)) as found, StudyStorage(folder):
        raise error
    assert found.value is error


def test_a_chain_of_errors_that_closes_on_itself_is_followed_once():
    first, second = ValueError(1), ValueError(2)
    first.__context__, second.__context__ = second, first
    assert _chain(first) == [first, second]
