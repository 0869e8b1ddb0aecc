"""Files that are whole or absent, whenever the writer is killed; how large they are; and paths as a user gives them."""

from __future__ import annotations

import errno
import os
import secrets
from contextlib import suppress
from pathlib import Path


def user_path(path: str | Path) -> Path:
    """A path that a user gave, in a file or on the command line: ``~`` and ``~name`` are home folders."""
    with suppress(RuntimeError):  # a user whom this machine does not know: the name of a file then
        return Path(path).expanduser()
    return Path(path)


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    with suppress(OSError):
        return path.stat().st_size
    return 0


def as_size(count: float) -> str:
    """Bytes as a person reads them: ``123 B``, ``1.5 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def previous_of(path: Path) -> Path:
    """Where the version of a file before the newest is kept: ``last.previous.pt`` for ``last.pt``."""
    return path.with_suffix(f".previous{path.suffix}")


def is_full(error: OSError) -> bool:
    """Whether a disk, or a quota, has no room left."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def write_atomically(path: str | Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: written beside, flushed, renamed.

    OSError where the disk refuses, with the path in it; then ``path`` is as it was, or whole and new.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")
    try:
        with partial.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        size = f" for {len(data):,} bytes" if is_full(error) else ""
        raise OSError(error.errno, (error.strerror or str(error)) + size, str(path)) from None  # a write names no file
    sync_folder(path.parent)


def keep_aside(path: str | Path, why: str, data: bytes) -> Path:
    """Keep ``data`` beside ``path`` as ``<name>.<why>-<n>``, on disk when this returns; nothing is replaced."""
    path = Path(path)
    aside = free_name(path, why)
    write_atomically(aside, data)
    return aside


def set_aside(path: str | Path, why: str) -> Path:
    """Rename ``path`` to ``<name>.<why>-<n>``; nothing is replaced."""
    path = Path(path)
    aside = path.rename(free_name(path, why))
    sync_folder(path.parent)
    return aside


def free_name(path: Path, why: str) -> Path:
    """``<name>.<why>-<n>`` beside ``path``, with the first n from 1 on that is not there yet."""
    number = 1
    while (aside := path.with_name(f"{path.name}.{why}-{number}")).exists():
        number += 1
    return aside


def sync_folder(path: Path) -> None:
    """Have the names in a folder on disk: a new file's bytes are safe only once its name is."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        os.close(descriptor)
