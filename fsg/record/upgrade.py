"""A study of an older format in today's: what would change, and the change itself, with the original kept beside it.

Nobody needs it to go on: a study is read and resumed in the format that it began in. Format 2 has no path of a machine in a
trial's key, in the ledger or in a checkpoint's name, so a study in it can be moved whole.
Proof: ``tests/recorded_studies/test_upgrading.py``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsg.config import canonical_json, parse_trial
from fsg.errors import StudyError
from fsg.files import sync_folder, write_atomically
from fsg.formats import FORMAT
from fsg.record.checksum import with_checksum
from fsg.record.folder import StudyFolder, in_study
from fsg.record.ledger import Event, with_crc
from fsg.record.ledger_header import COPY
from fsg.record.mirror import NOTE
from fsg.study.plan import trial_key
from fsg.study.spec import to_yaml

Rekey = Callable[[Path, dict[str, str]], None]  # rewrites a search's journal: its path, old key -> new key


@dataclass(frozen=True)
class Upgrade:
    """What a study in ``folder`` would become: ``keys`` are those that change, ``paths`` how many lines lose a machine's path."""

    folder: StudyFolder
    format: int
    lines: int
    keys: dict[str, str] = field(default_factory=dict)
    paths: int = 0
    inner: tuple[Upgrade, ...] = ()

    def sentences(self) -> list[str]:
        """The changes, a line each."""
        found = [
            f"{self.folder.path}: from format {self.format} to {FORMAT}, {self.lines:,} lines of the ledger written anew"
        ]
        if self.paths:
            found.append(
                f"{self.paths:,} lines name a checkpoint by its place in the study, no longer by its place on a machine"
            )
        if self.keys:
            found.append(f"{len(self.keys):,} trials get another key, for where their data lay was part of it")
        return [*found, *(sentence for one in self.inner for sentence in one.sentences())]


def upgrade_of(folder: StudyFolder) -> Upgrade | None:
    """What would change; None where the study has today's format. StudyError if anything in it is damaged."""
    spec, events = folder.spec(), folder.events()
    if spec.format == FORMAT:
        return None
    keys = {}
    for event in events:
        if event["event"] == "planned":
            config = parse_trial(event["config"], format=spec.format).in_format(FORMAT)
            key = trial_key(spec.name, event["arm"], event["seed"], config.model_copy(update={"seed": event["seed"]}))
            if key != event["key"]:
                keys[event["key"]] = key
    paths = sum(relative(event) != event for event in events)
    inner = (upgrade_of(StudyFolder(path.parent)) for path in sorted(folder.path.glob("retune/*/spec.yaml")))
    return Upgrade(folder, spec.format, len(events), keys, paths, tuple(one for one in inner if one))


def apply(upgrade: Upgrade, rekey: Rekey) -> Path:
    """Write the study in today's format; returns where the original is kept. A kill leaves one of the two whole in its place."""
    place = upgrade.folder.path
    kept, fresh = place.with_name(f"{place.name}.format-{upgrade.format}"), place.with_name(f".{place.name}.upgrading")
    if kept.exists():
        raise StudyError(f"{kept}: is there already, from an earlier upgrade; move it away first. Nothing was changed.")
    if upgrade.keys and getattr(getattr(upgrade.folder.spec(), "search", None), "storage", None):
        raise StudyError(
            f"{place}: its search is kept in a database, whose keys cannot be changed from here. It goes on in its own format."
        )
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(place, fresh, copy_function=_linked, ignore=shutil.ignore_patterns("driver.json", NOTE, "ray"))
    for one in _all(upgrade):
        _rewrite(one, fresh / one.folder.path.relative_to(place), rekey)
    sync_folder(fresh)
    place.rename(kept)
    fresh.rename(place)
    sync_folder(place.parent)
    return kept


def relative(event: Event) -> Event:
    """The event with the place of a checkpoint as seen from the study's folder."""
    path = event.get("path")
    return event | {"path": in_study(path)} if event["event"] == "checkpoint" and path else event


def _all(upgrade: Upgrade) -> Iterator[Upgrade]:
    yield upgrade
    for one in upgrade.inner:
        yield from _all(one)


def _rewrite(upgrade: Upgrade, fresh: Path, rekey: Rekey) -> None:
    """Everything of one study's folder in the copy ``fresh``."""
    folder, keys = upgrade.folder, upgrade.keys
    table = folder.published_path.read_bytes() if folder.published_path.exists() else b""
    spec = folder.spec().in_format(FORMAT)
    if getattr(spec, "published", None):
        spec = spec.model_copy(update={"published": folder.published_path.name})
    write_atomically(fresh / "spec.yaml", with_checksum(to_yaml(spec), table))
    lines = [canonical_json(_upgraded(event, keys)).encode() for event in folder.events()]
    write_atomically(fresh / folder.ledger_path.name, b"".join(line + b"\n" for line in lines))
    if lines:
        write_atomically(fresh / COPY, lines[0])
    for old, new in keys.items():
        if (checkpoints := fresh / "checkpoints" / old).exists():
            checkpoints.rename(checkpoints.with_name(new))
    if (journal := fresh / "search" / "optuna.journal").exists():
        rekey(journal, keys)


def _upgraded(event: Event, keys: dict[str, str]) -> Event:
    """The event in today's format, with the keys that its trials have now."""
    changed: dict[str, Any] = {name: value for name, value in relative(event).items() if name != "crc"}
    if event["event"] == "study":
        changed["format"] = FORMAT
    for name in ("key", "donor"):
        if name in changed:
            changed[name] = keys.get(changed[name], changed[name])
    if event["event"] == "checkpoint":
        changed["path"] = f"checkpoints/{changed['key']}/{Path(changed['path']).name}"
    return with_crc(json.loads(canonical_json(changed)))


def _linked(source: str, target: str) -> str:
    """A checkpoint, which is only ever replaced whole, as a link to the same bytes; anything else as a copy."""
    if source.endswith(".pt"):
        try:
            os.link(source, target)
            return target
        except OSError:
            pass  # a file system without links
    return shutil.copy2(source, target)
