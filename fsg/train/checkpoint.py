"""Checkpoints that are whole or absent: written beside, flushed, renamed, and read back only if their digest agrees.

A file is its own SHA-256 (32 bytes) followed by what torch.save wrote. It is loaded with ``weights_only``: a checkpoint cannot
run code.
"""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any, Literal

import torch

from fsg.errors import CheckpointCorrupt, StudyError
from fsg.files import previous_of, set_aside, write_atomically
from fsg.formats import FORMAT, FORMAT_KEY, format_of

_DIGEST_BYTES = 32
_BEST = "best_value"  # in a checkpoint
_FIRST_KEYS = {"config", "epoch", "model", "step", "order", "augmentation"}  # of a checkpoint of the first format


class CheckpointStore:
    """The checkpoints of one trial: the newest at ``path`` and the one before it, in case the newest is damaged.

    ``better``: which values are better, where the checkpoint with the best one is kept too, as ``best.pt``; of equals the
    earliest. The best value stands in every checkpoint: where ``best.pt`` was damaged, nothing less takes its place.
    """

    def __init__(self, path: Path, better: Literal["min", "max"] | None = None) -> None:
        self.path = path
        self.best = path.with_name(f"best{path.suffix}")
        self._sign = {"max": 1, "min": -1, None: 0}[better]
        self._best_value = -math.inf  # times the sign
        self.damaged: list[tuple[Path, str]] = []  # what was set aside, as what it is kept, and why
        self.previous = previous_of(path)

    def save(self, state: dict[str, Any], value: float | None = None) -> None:
        """Keep ``state`` as the newest checkpoint, what was the newest as the previous one, and the best by its ``value``."""
        if self._sign:
            better = value is not None and self._sign * value > self._best_value
            if better and value is not None:
                self._best_value = self._sign * value
            state = state | {_BEST: self._best_value}
            if better:  # before the newest: a kill in between has this epoch run again, and lead to the same
                save_checkpoint(state, self.best)
        if self.path.exists():
            self.path.replace(self.previous)
        save_checkpoint(state, self.path)

    def adopt(self, other: Path) -> None:
        """Make a copy of another trial's checkpoint the only one here. CheckpointCorrupt if that is damaged."""
        content = _whole(other)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, content)
        self.previous.unlink(missing_ok=True)  # what this trial was must not come back

    def load(self) -> dict[str, Any] | None:
        """The newest whole checkpoint, or None. A damaged one is set aside as ``*.damaged-<n>``, never deleted.

        NewerFormat for one that a newer fsg wrote, StudyError for one that is no trial's: neither is touched.
        """
        state = self._load(self.path)
        if state is None:
            state = self._load(self.previous)
        if self._sign:
            known = self._load(self.best) or state or {}
            self._best_value = known.get(_BEST, -math.inf)
        return state

    def prune(self) -> None:
        """The trial has finished: the checkpoint before the newest is not needed any more."""
        self.previous.unlink(missing_ok=True)

    def _load(self, path: Path) -> dict[str, Any] | None:
        if path.exists():
            try:
                return of_a_trial(_loaded(path, _whole(path)), path)
            except CheckpointCorrupt as error:
                self.damaged.append((set_aside(path, "damaged"), str(error)))
        return None


def save_checkpoint(state: dict[str, Any], path: str | Path) -> None:
    """Write ``state`` (tensors, numbers, strings, lists, dicts) with its format to ``path``, atomically."""
    path = Path(path)
    buffer = io.BytesIO()
    torch.save({FORMAT_KEY: FORMAT, **state} if isinstance(state, dict) else state, buffer)
    payload = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, hashlib.sha256(payload).digest() + payload)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. CheckpointCorrupt if it is not exactly what was written, or is not tensors and text."""
    try:
        return _loaded(Path(path), _whole(Path(path)))
    except OSError as error:
        raise CheckpointCorrupt(f"{path}: cannot be read ({error.strerror}).") from None


def _loaded(path: Path, content: bytes) -> dict[str, Any]:
    try:
        state = torch.load(io.BytesIO(content[_DIGEST_BYTES:]), map_location="cpu", weights_only=True)
    except Exception as error:  # its digest agrees, so somebody wrote it: torch refuses what could run code
        raise CheckpointCorrupt(
            f"{path}: is no checkpoint of ours ({type(error).__name__}); it was not loaded."
        ) from None
    if not isinstance(state, dict):
        raise CheckpointCorrupt(f"{path}: holds {type(state).__name__}, expected a checkpoint's dictionary.")
    return state


def of_a_trial(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """``state``, the content of ``path``, if it is a trial's, in a format that is known here.

    NewerFormat for a higher format; StudyError where it names none and is not as the first format was.
    """
    format_of(state, str(path))
    if FORMAT_KEY not in state and (missing := _FIRST_KEYS - state.keys()):
        raise StudyError(
            f"{path}: is no checkpoint of a trial: it names no format and has no {', '.join(sorted(missing))}. "
            "Nothing was changed; name another file."
        )
    return state


def _whole(path: Path) -> bytes:
    """The bytes of a checkpoint's file. CheckpointCorrupt if they do not match its digest, or there is none.

    OSError if they cannot be read now: nothing is known then, and nothing is set aside.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointCorrupt(f"{path}: is not there.") from None
    if hashlib.sha256(memoryview(content)[_DIGEST_BYTES:]).digest() != content[:_DIGEST_BYTES]:
        raise CheckpointCorrupt(
            f"{path}: its digest does not match its {len(content):,} bytes; it is damaged or cut short."
        )
    return content
