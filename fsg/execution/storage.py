"""A study's folder while the study runs: whether it is still there and takes writes, and what is left where it does not.

Not every write fails where a folder was moved or removed: a file that is open goes on to wherever it went, and a path that is
made anew begins a second study beside the first. So what the path names is held against what was opened, before each event.
Proof: ``tests/execution/test_storage.py``, ``tests/cli/test_folder_gone.py``.
"""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path

from fsg.errors import FsgError, StorageFailed, StudyError
from fsg.execution.disk_space import PauseInterrupted
from fsg.record.folder import StudyFolder
from fsg.record.mirror import mirror_of


def _numbers(*names: str) -> frozenset[int]:
    return frozenset(getattr(errno, name) for name in names if hasattr(errno, name))


# Errors of a disk, whatever it was asked for; and those that a name may have, which are the study's where the name is.
_OF_DISKS = _numbers(
    "EIO", "EROFS", "ENOSPC", "EDQUOT", "EFBIG", "EMFILE", "ENFILE", "ESTALE", "ENODEV", "ENXIO", "ENOTCONN", "EREMOTEIO",
    "EHOSTDOWN",
)  # fmt: skip
_OF_NAMES = _numbers("ENOENT", "ENOTDIR", "EISDIR", "EEXIST", "EACCES", "EPERM", "EBADF")


class StudyStorage:
    """Holds on to a study's folder while the context lasts, and to its ledger from the first event on.

    What comes of a folder that is gone, or of a disk that refuses, leaves the context as StorageFailed.
    """

    def __init__(self, folder: StudyFolder) -> None:
        self.folder = folder
        self._study = _whole_study(folder)
        copy = mirror_of(self._study)
        self._url = copy.url if copy is not None else None
        self._places = (folder.path.absolute(), folder.path.resolve())
        self._held = os.open(folder.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._known = _identity(os.fstat(self._held))
        self._ledger: tuple[int, int] | None = None

    def __enter__(self) -> StudyStorage:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.check()
            elif isinstance(error, Exception) and (explained := self.explained(error)) is not error:
                raise explained from None
        finally:
            self._clear_away()
            os.close(self._held)

    def check(self) -> None:
        """StorageFailed where the folder's path, or the ledger's, names another file than it did, or none."""
        if not _is_still(self.folder.path, self._known):
            raise StorageFailed(self._gone())
        if self._ledger is not None and not _is_still(self.folder.ledger_path, self._ledger):
            raise StorageFailed(
                f"{self.folder.ledger_path}: was removed or replaced while the study ran, which was stopped. The checkpoints "
                f"are in {self.folder.checkpoints}. Put the file back from a copy; or fsg resume {self._study.called} does "
                "again what is missing."
            )

    def recorded(self) -> None:
        """An event was written: the ledger is there, and from now on the same."""
        if self._ledger is None:
            with suppress(OSError):
                self._ledger = _identity(self.folder.ledger_path.stat())

    def explained(self, error: Exception) -> Exception:
        """The error to raise: StorageFailed where the storage is behind it, else the same."""
        if isinstance(error, PauseInterrupted):
            return error
        try:
            self.check()
        except StorageFailed as gone:
            return error if str(gone) == str(error) else gone
        if isinstance(error, StorageFailed):
            return error
        refused = self._refusal_behind(error)
        if refused is None:
            return error
        place = refused.filename or self.folder.path
        said = str(error) if isinstance(error, StudyError) else f"{place}: {refused.strerror}."
        return StorageFailed(
            f"{said}\nThe study was stopped, with all that came before recorded in {self.folder.path}. "
            f"Mend this, then go on with: fsg resume {self._study.called}"
        )

    def _gone(self) -> str:
        """What became of the folder, and how to go on."""
        now = self._moved_to()
        if now is not None:
            whole = StudyFolder(now.parents[1]) if self._study.path != self.folder.path else StudyFolder(now)
            return (
                f"{self.folder.path}: was moved to {now} while the study ran, which was stopped. "
                f"All that came before is recorded there; go on with: fsg resume {whole.called}"
            )
        left = (
            f"its copy is left: fsg resume {self._url}"
            if self._url
            else "what MLflow was sent is left: start the study's file to begin anew."
        )
        return (
            f"{self.folder.path}: was removed while the study ran, or moved to another disk, and the study was stopped. "
            f"If it was moved, go on with: fsg resume NEWPATH. If it was removed, {left}"
        )

    def _clear_away(self) -> None:
        """Remove Ray's next snapshot, where it alone was written since the folder went: it would hinder a move back."""
        path = self.folder.path
        with suppress(OSError):
            if not _is_still(path, self._known) and [each.name for each in path.iterdir()] == [self.folder.ray.name]:
                shutil.rmtree(path)
                if self._study.path != path:
                    path.parent.rmdir()
                    self._study.path.rmdir()

    def _moved_to(self) -> Path | None:
        """Where the folder is now, as the kernel knows it; None where it has no name any more."""
        with suppress(OSError):
            now = Path(f"/proc/self/fd/{self._held}").readlink()
            if _identity(now.stat()) == self._known:
                return now
        return None

    def _refusal_behind(self, error: Exception) -> OSError | None:
        """The refusal of the study's disk behind an error; None where there is none.

        What we raise explains itself, and only what was raised of a refusal is one. Ray wraps our errors in its own, and they
        may stand anywhere in the chain.
        """
        if isinstance(error, FsgError):
            link = error.__context__ if isinstance(error, StudyError) else None
            ours = isinstance(link, OSError) and link.errno in _OF_DISKS | _OF_NAMES and self._holds(link.filename)
            return link if ours and isinstance(link, OSError) else None
        for link in _chain(error):
            if isinstance(link, OSError) and (
                link.errno in _OF_DISKS or (link.errno in _OF_NAMES and self._holds(link.filename))
            ):
                return link
        return None

    def _holds(self, name: object) -> bool:
        """Whether a file is the study's; one without a name, as a write has it, counts as such."""
        if not isinstance(name, str | os.PathLike):
            return True
        path = Path(name).absolute()
        return any(path.is_relative_to(place) for place in self._places)


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from, each once."""
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and not any(link is known for known in links):
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _whole_study(folder: StudyFolder) -> StudyFolder:
    """The study that ``fsg resume`` takes: of an arm's own search, the one that it is for."""
    above = StudyFolder(folder.path.parent.parent)
    return above if folder.path.parent.name == "retune" and above.spec_path.is_file() else folder


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _is_still(path: Path, known: tuple[int, int]) -> bool:
    """Whether a path names what it did. So it is held to do where the disk does not answer: the next write tells why."""
    try:
        return _identity(path.stat()) == known
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR)
