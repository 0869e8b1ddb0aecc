"""A study as one file, and its end: ``fsg archive`` and ``fsg rm``. Neither touches a study that a driver works on.

The file is a gzipped tar, which every machine opens without another program. It holds the study's folder under its name, less
what is of this machine alone: Ray's snapshots and who drove it. Unpacked into a storage it is that study again.
Proof: ``tests/record/test_archive.py``.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tarfile
from contextlib import suppress
from pathlib import Path

from fsg.errors import StudyError
from fsg.files import sync_folder
from fsg.record.driver_lock import FILE, StudyLock, driver_of
from fsg.record.folder import StudyFolder

SUFFIX = ".tar.gz"
_LEVEL = 1  # random floats shrink to 0.93 of their size, at level 9 to 0.926


def archive(folder: StudyFolder, out: Path) -> int:
    """Write the study into ``out``, whole or not at all, read it once more, and return how many files it holds.

    Nothing of the study is written. StudyError where it is being driven, ``out`` is there, or what is read back is not what was
    written.
    """
    _refuse_driven(folder)
    if out.exists():
        raise StudyError(f"{out}: is there already, and nothing was written; move it, or give --out.")
    source, before = folder.path.resolve(), _files(folder)
    partial = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            with tarfile.open(fileobj=file, mode="w:gz", compresslevel=_LEVEL) as tar:
                for name in before:
                    tar.add(source / name, f"{folder.path.name}/{name}", recursive=False)
            file.flush()
            os.fsync(file.fileno())
        _refuse_driven(folder)
        if _files(folder) != before:
            raise StudyError(f"{folder.path}: changed while it was read; nothing was kept. Try again.")
        if _contents(partial, folder.path.name) != before:
            raise StudyError(f"{out}: what was read back is not what was written; nothing was kept. Is the disk sound?")
        partial.rename(out)
    finally:
        with suppress(OSError):
            partial.unlink()
    sync_folder(out.absolute().parent)
    return len(before)


def remove(folder: StudyFolder) -> None:
    """Remove the study. Killed meanwhile, it is whole or has no name: ``fsg studies`` never lists a part of one.

    StudyError where it is being driven, or its folder is a link to elsewhere.
    """
    if folder.path.is_symlink():
        raise StudyError(
            f"{folder.path}: is a link to {folder.path.readlink()}; remove the study there, then the link."
        )
    with StudyLock(folder.path):
        gone = folder.path.with_name(f".{folder.path.name}.removed-{secrets.token_hex(4)}")
        folder.path.rename(gone)
        sync_folder(gone.parent)
    shutil.rmtree(gone)


def _refuse_driven(folder: StudyFolder) -> None:
    driver = driver_of(folder.path)
    if driver and driver["alive"]:
        raise StudyError(
            f"{folder.path}: is being driven by process {driver.get('pid')} on {driver.get('host')}. "
            f"Wait for it, or stop it with Ctrl-C or: kill {driver.get('pid', 'PID')}."
        )


def _files(folder: StudyFolder) -> dict[str, int]:
    """Name -> bytes of all that is kept, in order."""
    source = folder.path.resolve()
    found = (path for path in sorted(source.rglob("*")) if path.is_file() and not path.is_symlink())
    kept = ((path.relative_to(source), path) for path in found)
    return {str(name): path.stat().st_size for name, path in kept if name.parts[0] not in (folder.ray.name, FILE)}


def _contents(file: Path, name: str) -> dict[str, int]:
    """Name -> bytes of an archive's files, each read to its end, by which gzip checks it."""
    found = {}
    with tarfile.open(file, "r:gz") as tar:
        for member in tar:
            content = tar.extractfile(member)
            assert content is not None, "files alone were added"
            size = 0
            while part := content.read(2**20):
                size += len(part)
            found[member.name.removeprefix(f"{name}/")] = size
    return found
