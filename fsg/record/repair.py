"""A ledger that is not what was written: the damage is named, kept aside, and the study goes on without it.

A kill cannot do this: a line is acknowledged only when it is on disk, and a half-written last one never happened. What is
mended here is a disk's, a copy's or an editor's. Nothing that cannot be proved is used: a line counts with its crc or not at
all. What a lost line leaves behind depends on what it was:

- the end of a trial: the trial is taken up from its last checkpoint, which says the same again without training;
- that a trial was planned: the plan of an ablation says it again; of a sweep's trial nothing is known then, so its other
  lines are set aside too, and the search proposes another;
- the header: its copy, ``header.json``;
- an epoch: a gap in a curve, and no result.

Proof: ``tests/record/test_repair.py``.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsg.config import canonical_json
from fsg.files import keep_aside, write_atomically
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Event, parse_line, with_crc
from fsg.record.ledger_header import copy_of_header, keep_copy
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SweepSpec

_LINE_BEGINS = re.compile(rb'(?=\{"crc":")')


@dataclass
class _Mended:
    """The lines that count, in order, and what was taken out: (line number, bytes, why)."""

    lines: list[tuple[bytes, Event]] = field(default_factory=list)
    out: list[tuple[int, bytes, str]] = field(default_factory=list)


def repair(folder: StudyFolder, spec: AblationSpec | SweepSpec, known_bytes: int = 0) -> list[str]:
    """Make the ledger whole, if it is not; one sentence for each thing that was wrong. The study must be locked.

    NewerFormat, and nothing is touched, where a newer fsg wrote any of it.

    ``known_bytes`` is what the ledger is known to have held: one that is shorter was cut.
    """
    path = folder.ledger_path
    data = path.read_bytes() if path.exists() else b""
    *lines, tail = data.split(b"\n")
    mended = _read(path, lines)
    planned = _plan(spec)
    said = []
    if len(data) - len(tail) < known_bytes:
        detail = f"cut short: {known_bytes:,} bytes of whole lines were on disk, {len(data) - len(tail):,} are left"
        said.append(_sentence(path, None, None, detail, "what is missing is done again, from the checkpoints"))
        mended.lines.append(_event("damaged", file=path.name, line=None, aside=None, detail=detail))
    _restore_plans(mended, planned)
    if mended.out:
        aside = keep_aside(path, "damaged", b"\n".join(raw for _, raw, _ in mended.out) + b"\n")
        for number, raw, why in mended.out:
            said.append(_sentence(path, number, aside, why, _what_follows(raw, isinstance(spec, SweepSpec))))
            mended.lines.append(_event("damaged", file=path.name, line=number, aside=aside.name, detail=why))
    _restore_copy(path.parent, mended)
    if said and (header := copy_of_header(path.parent)) and not any(e["event"] == "study" for _, e in mended.lines):
        mended.lines.insert(0, (header, parse_line(header)))
    if said:
        write_atomically(path, b"".join(line + b"\n" for line, _ in mended.lines) + tail)
    return said


def _read(path: Path, lines: list[bytes]) -> _Mended:
    found = _Mended()
    for number, line in enumerate(lines, start=1):
        try:
            found.lines.append((line, parse_line(line, f"{path}:{number}")))
        except ValueError as error:
            # Where a newline was lost two whole events may stand in one line; each has its own crc.
            pieces = [_whole(piece) for piece in _LINE_BEGINS.split(line) if piece]
            whole = [piece for piece in pieces if piece is not None]
            found.lines += whole
            found.out.append(
                (number, line, str(error) + (f"; {len(whole)} whole events in it were kept" * bool(whole)))
            )
    return found


def _whole(piece: bytes) -> tuple[bytes, Event] | None:
    for candidate in (piece, piece[:-1]):
        try:
            return candidate, parse_line(candidate)
        except ValueError:
            continue
    return None


def _plan(spec: AblationSpec | SweepSpec) -> dict[str, dict[str, Any]]:
    """What the line "planned" of each trial would say, as far as the specification knows it."""
    if isinstance(spec, SweepSpec):
        return {}
    seeds = range(spec.seeds.max) if isinstance(spec.seeds, SequentialSeeds) else spec.seeds
    return {
        trial.key: {"arm": trial.arm, "seed": trial.seed, "config": trial.config.model_dump(mode="json")}
        for trial in spec.plan.trials(seeds)
    }


def _restore_plans(mended: _Mended, planned: dict[str, dict[str, Any]]) -> None:
    """Every trial with events has its "planned" before them, or its events are taken out too."""
    if not mended.out:
        return
    known: set[str] = set()
    lines, mended.lines = mended.lines, []
    for line, event in lines:
        key = event.get("key")
        if event["event"] == "planned":
            known.add(event["key"])
        elif key is not None and key not in known:
            if key not in planned:
                mended.out.append((0, line, f"its trial {key} has lost the line that planned it"))
                continue
            known.add(key)
            mended.lines.append(_event("planned", key=key, **planned[key]))
        mended.lines.append((line, event))


def _restore_copy(folder: Path, mended: _Mended) -> None:
    """A driver may have ended between the header and its copy."""
    header = next((line for line, event in mended.lines if event["event"] == "study"), None)
    if header is not None and copy_of_header(folder) is None:
        keep_copy(folder, header)


def _what_follows(raw: bytes, sweep: bool) -> str:
    """What the study does without a line, by what can still be read of it."""
    event, key = re.search(rb'"event":"(\w+)"', raw), re.search(rb'"key":"(\w+)"', raw)
    kind = event[1].decode() if event else "unreadable"
    trial = f" of trial {key[1].decode()}" if key else ""
    follows = {
        "study": "the header was restored from its copy",
        "planned": "the search proposes another in its place" if sweep else "the plan has it again",
        "finished": "it goes on from its last checkpoint, to the same result",
        "pruned": "it goes on from its last checkpoint, and is judged again",
        "failed": "it is tried again",
        "unreadable": "a trial that lost its end goes on from its last checkpoint",
    }.get(kind, "no result depends on it")
    return f"it seems to have been {kind}{trial}: {follows}" if event else follows


def _sentence(path: Path, line: int | None, aside: Path | None, why: str, follows: str) -> str:
    place = f"{path}:{line}" if line else str(path)
    kept = f" Set aside as {aside.name}." if aside else ""
    return f"{place}: damaged: {why}.{kept} {follows[0].upper()}{follows[1:]}."


def _event(name: str, **fields: Any) -> tuple[bytes, Event]:
    event = with_crc({"event": name, "time": time.time(), **fields})
    return canonical_json(event).encode(), event
