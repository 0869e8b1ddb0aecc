"""Images that travel as one archive: unpacked once a machine, under a lock, onto its own disk.

A shared file system hands out one large file far sooner than ten thousand small ones. Beside the archive may lie its SHA-256, as
``sha256sum`` writes it; then it is checked before anything is unpacked. Proof: ``tests/data/test_unpack.py``.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tarfile
import zipfile
from pathlib import Path

from fsg.errors import DataError
from fsg.files import user_path

CACHE = "FSG_CACHE"  # environment: a folder on the machine's own disk


def unpacked(archive: Path) -> Path:
    """The folder of what ``archive`` (.tar, .tar.gz, .tar.xz, .zip) holds, under $FSG_CACHE or ~/.cache/fsg.

    Another size or time of the archive is another folder. DataError where its digest differs, it is damaged or no archive,
    holds a path that leads out of it, or the disk is full.
    """
    state = archive.stat()
    name = hashlib.sha256(f"{archive.resolve()}|{state.st_size}|{state.st_mtime_ns}".encode()).hexdigest()[:16]
    cache = user_path(os.environ.get(CACHE) or "~/.cache/fsg")
    folder, partial = cache / name, cache / f"{name}.partial"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                _check(archive)
                shutil.rmtree(partial, ignore_errors=True)  # what a killed process left
                _extract(archive, partial)
                partial.rename(folder)
    except DataError:
        raise
    except (
        Exception
    ) as error:  # damage, a password, a method of compression: zipfile, tarfile and zlib each raise their own
        why = str(error) or type(error).__name__
        raise DataError(f"{archive}: cannot be unpacked into {cache} ({why}). ${CACHE} names another folder.") from None
    return folder


def _check(archive: Path) -> None:
    noted = archive.with_name(f"{archive.name}.sha256")
    if not noted.is_file():
        return
    expected = (noted.read_text().split() or [""])[0].lower()
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise DataError(
            f"{archive}: its SHA-256 is {found}, but {noted.name} says {expected or 'nothing'}. Copy it again."
        )


def _extract(archive: Path, folder: Path) -> None:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)  # drops what leads out of the folder
    else:
        with tarfile.open(archive) as packed:
            packed.extractall(folder, filter="data")  # refuses what leads out of the folder, devices and links
