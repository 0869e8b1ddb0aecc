"""Whether a study's specification is still what fsg wrote: its first line is a comment with the digest of all the rest.

YAML has no checksum, and a flipped digit in it makes a study that nobody asked for. A file without the line, of an earlier fsg
or written by hand, is taken as it is. Proof: ``tests/record/test_checksum.py``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from fsg.errors import ConfigError

_MARK = b"# sha256 of what follows: "


def with_checksum(text: bytes, table: bytes = b"") -> bytes:
    """The specification ``text`` under the line with its digest, which also covers the published table that it reads."""
    return _MARK + _digest(text, table) + b"\n" + text


def refuse_changed(path: Path, table: bytes = b"") -> None:
    """ConfigError if the specification at ``path``, or its table, is not what fsg wrote."""
    try:
        first, _, text = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    if first.startswith(_MARK) and first[len(_MARK) :] != _digest(text, table):
        what = f"it, or {path.with_name('published.csv').name}," if table else "it"
        raise ConfigError(
            f"{path}: {what} was damaged or changed since fsg wrote it, so nothing was read from it. Restore it from a copy; or "
            "move it away and start the file that the study began with again. A change belongs into that file."
        )


def has_checksum(path: Path) -> bool:
    """Whether the specification has a digest: fsg wrote it, and no earlier one than 0.2."""
    return path.read_bytes().startswith(_MARK)


def _digest(text: bytes, table: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(text).digest() + table).hexdigest().encode()
