"""Where a study lives: ``<storage>/<name>/`` with its specification, ledger, checkpoints, search state and reports.

``name``, a path, ``name#best`` and ``name#KEY`` all refer to a study or a trial in it. Files are replaced whole or not
at all. Proof: ``tests/record/test_folder.py``.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fsg.config import canonical_json
from fsg.errors import ConfigError, StudyError, UnknownName
from fsg.files import user_path, write_atomically
from fsg.formats import newer
from fsg.plugins import FOLDER, activate, text_of
from fsg.record.checksum import has_checksum, refuse_changed, with_checksum
from fsg.record.driver_lock import driver_of, ledger_bytes
from fsg.record.ledger import Event, Ledger, StudyState, TrialRecord, fold, refuse_newer, whole_bytes
from fsg.study.extension import extends
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SweepSpec, load_study, to_yaml
from fsg.yaml_source import did_you_mean

DEFAULT_STORAGE = Path("studies")
BEST = "best"


class Metric(Protocol):
    """What trials are ranked by."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def mode(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The folder of one study. Only ``create_or_open`` writes."""

    path: Path

    @property
    def called(self) -> str:
        """The study as a command takes it from this working directory, quoted for a shell: its name if that is enough."""
        usual = self.path.parent.resolve() == DEFAULT_STORAGE.resolve()
        return shlex.quote(self.path.name if usual else str(self.path))

    @property
    def spec_path(self) -> Path:
        """The study as resolved when it began, or was last extended; earlier ones are ``spec.<n>.yaml``."""
        return self.path / "spec.yaml"

    @property
    def published_path(self) -> Path:
        """The study's own copy of the published table, if it names one."""
        return self.path / "published.csv"

    @property
    def ledger_path(self) -> Path:
        """What happened."""
        return self.path / "ledger.jsonl"

    @property
    def checkpoints(self) -> Path:
        """One folder a trial."""
        return self.path / "checkpoints"

    @property
    def search(self) -> Path:
        """The searcher's memory."""
        return self.path / "search"

    @property
    def reports(self) -> Path:
        """Tables and plots."""
        return self.path / "reports"

    @property
    def ray(self) -> Path:
        """Ray Tune's own snapshots; can be lost."""
        return self.path / "ray"

    @classmethod
    def create_or_open(
        cls, spec: AblationSpec | SweepSpec, storage: str | Path = DEFAULT_STORAGE, accept_changes: bool = False
    ) -> StudyFolder:
        """The folder of ``spec``, made if it is not there. Trials found in its ledger belong to this very study.

        A study that only has more arms or seeds, or is read otherwise, goes on: its specification is replaced, the old
        one kept as ``spec.<n>.yaml``. StudyError if the folder holds another study of this name (with what differs), a
        ledger that did not begin as ``spec`` where there is no specification, or cannot be written. With ``accept_changes`` an
        ablation goes on though its trials changed: those that it no longer has are recorded as superseded, and no table shows
        them.
        """
        folder = cls(user_path(storage) / spec.name)
        began = folder._began()
        activate(spec.base.plugins)  # of which the study may have begun with other contents
        if began is not None:
            spec = spec.in_format(began.format)
            changed, accepted = folder._changed(began, spec, accept_changes)
        else:
            changed, accepted = True, False
            if folder.ledger_path.exists():
                spec = spec.in_format(folder.state().format)
            if folder.ledger_path.exists() and not folder._began_as(spec):
                raise StudyError(
                    f"{folder.path}: has a ledger but no spec.yaml, so what its trials were is unknown. "
                    f"Put spec.yaml back, start the very file that it began with, or move the folder away to begin anew."
                )
        try:
            for part in (folder.checkpoints, folder.search, folder.reports, folder.ray):
                part.mkdir(parents=True, exist_ok=True)
            if accepted:
                folder._supersede(spec)
            if changed:
                folder._write(spec)
        except OSError as error:
            raise StudyError(f"{folder.path}: cannot be written ({error}). Choose another --storage.") from None
        return folder

    def spec(self) -> AblationSpec | SweepSpec:
        """The study as it began. ConfigError if its file is damaged, or was changed by hand.

        NewerFormat where fsg wrote it, and it is whole, but names what this version does not know.
        """
        refuse_changed(self.spec_path, self._own_table())
        try:
            return load_study(self.spec_path, recorded=True)
        except UnknownName as error:
            if has_checksum(self.spec_path):
                raise newer(str(self.spec_path), str(error).removeprefix(f"{self.spec_path}:")) from None
            raise

    def refuse_newer(self) -> None:
        """NewerFormat if a newer fsg wrote any of the study; before anything of it is locked, mended or written."""
        self.refuse_newer_spec()
        refuse_newer(self.ledger_path)

    def refuse_newer_spec(self) -> None:
        """NewerFormat if a newer fsg wrote the specification; that it is damaged is said by whoever reads it."""
        if self.spec_path.exists():
            with suppress(ConfigError):
                self.spec()

    def ledger(self) -> Ledger:
        """The study's ledger; keep one for all appends."""
        return Ledger(self.ledger_path)

    def events(self) -> list[Event]:
        """Every event so far. StudyError if the ledger is damaged, or shorter than its last driver left it."""
        return list(self._each())

    def state(self) -> StudyState:
        """What ``events`` add up to, one of them in memory at a time."""
        return fold(self._each())

    def _each(self) -> Iterator[Event]:
        known, ledger = ledger_bytes(driver_of(self.path)), self.ledger()
        if (left := whole_bytes(ledger.path)) < known:
            raise StudyError(
                f"{ledger.path}: cut short: {known:,} bytes of whole lines were on disk, {left:,} are left. Nothing was changed. "
                "fsg resume does again what is missing, from the checkpoints; or restore the file from a copy."
            )
        return ledger.each()

    def _began_as(self, spec: AblationSpec | SweepSpec) -> bool:
        """Whether the ledger's header says that the study began as ``spec``."""
        header = self.state().header
        return header is not None and header["spec_digest"] == spec.digest()

    def _supersede(self, spec: AblationSpec | SweepSpec) -> None:
        """Record which trials are no longer of this study."""
        if not isinstance(spec, AblationSpec):
            return
        seeds = range(spec.seeds.max) if isinstance(spec.seeds, SequentialSeeds) else spec.seeds
        keys = {trial.key for trial in spec.plan.trials(seeds)}
        ledger = self.ledger()
        for key in self.state().trials:
            if key not in keys:
                ledger.append("superseded", key=key, reason="the specification changed, and this was accepted")
        ledger.close()

    def _began(self) -> AblationSpec | SweepSpec | None:
        """The study's own specification; None where it has none. StudyError if it is damaged."""
        try:
            return self.spec() if self.spec_path.exists() else None
        except ConfigError as error:
            raise StudyError(f"{error}\nThe study in {self.path} cannot go on without its spec.yaml.") from None

    def _changed(
        self, began: AblationSpec | SweepSpec, spec: AblationSpec | SweepSpec, accept: bool
    ) -> tuple[bool, bool]:
        """Whether ``spec`` says more, or reads otherwise, than the study began; and whether it is another that was accepted.

        StudyError if it is another study and was not, or cannot be, accepted.
        """
        if extends(began, spec):
            same = _written(began) == _written(spec)
            return not same, False
        acceptable = all(isinstance(one, AblationSpec) and one.retune is None for one in (began, spec))
        if accept and acceptable:
            return True, True
        changes = differences(began.identity(), spec.identity()) or ["the order of its components, so arm names"]
        listed = "\n".join(f"  {change}" for change in changes)
        if acceptable:
            way = ", or go on with --accept-changes: trials that it no longer names are set aside, the others count"
        elif isinstance(spec, SweepSpec):
            way = f"; it can begin from this one's best, with start_from: [{{study: {spec.name}, best: 5}}]"
        else:
            way = ""
        raise StudyError(
            f"{self.path}: the study changed since it began, so its trials would not belong together:\n{listed}\n"
            f"Undo the change, or give the study another name{way}. More arms or seeds can be added."
        )

    def _write(self, spec: AblationSpec | SweepSpec) -> None:
        """Make ``spec`` the study's own, with its published table, after copying the one it replaces."""
        if isinstance(spec, AblationSpec) and spec.published is not None:
            if (table := _table(spec)) is not None:
                write_atomically(self.published_path, table)
            spec = spec.model_copy(update={"published": self.published_path.name})
        self._keep_plugins(spec)
        if self.spec_path.exists():
            number = 1
            while (old := self.path / f"spec.{number}.yaml").exists():
                number += 1
            write_atomically(old, self.spec_path.read_bytes())
        write_atomically(self.spec_path, with_checksum(to_yaml(spec), self._own_table()))

    def _keep_plugins(self, spec: AblationSpec | SweepSpec) -> None:
        """A copy of each plug-in, which its trials cannot be read without."""
        for ref in spec.base.plugins:
            kept = self.path / FOLDER / ref.kept_as
            if not kept.exists():
                kept.parent.mkdir(exist_ok=True)
                write_atomically(kept, text_of(ref).encode())

    def _own_table(self) -> bytes:
        return self.published_path.read_bytes() if self.published_path.exists() else b""


def _written(spec: AblationSpec | SweepSpec) -> tuple[dict[str, Any], bytes | None]:
    """What a study's folder holds of it, less its device, and of its table the content, wherever that lies."""
    said = {key: value for key, value in spec.resolved().items() if key != "published"}
    return said | {"base": said["base"] | {"device": None}}, _table(spec)


def _table(spec: AblationSpec | SweepSpec) -> bytes | None:
    published = spec.published if isinstance(spec, AblationSpec) else None
    return Path(published).read_bytes() if published is not None else None


def in_study(checkpoint: str | Path) -> str:
    """The place of a trial's checkpoint as seen from its study, wherever that lies: ``checkpoints/KEY/last.pt``."""
    return "/".join(Path(checkpoint).parts[-3:])


def studies_in(storage: str | Path) -> list[StudyFolder]:
    """The studies of a storage, by name; none where there is no such folder."""
    return [StudyFolder(found.parent) for found in sorted(user_path(storage).glob("*/spec.yaml"))]


def find_study(name_or_path: str | Path, storage: str | Path = DEFAULT_STORAGE) -> StudyFolder:
    """The study of that name in ``storage``, or at that path. StudyError with the nearest name where there is none."""
    text, storage = str(name_or_path), user_path(storage)
    for path in (user_path(text), storage / text):
        with suppress(OSError, ValueError):  # a name too long for a file, or with a character that no file has
            if (path / "spec.yaml").is_file():
                return StudyFolder(path.resolve() if path.name in ("", "..") else path)
    raise _no_study(text, storage)


def named_study(name: str, storage: str | Path = DEFAULT_STORAGE) -> StudyFolder:
    """The study of that name in ``storage``, never one at a path elsewhere. StudyError as ``find_study``."""
    found = next((folder for folder in studies_in(storage) if folder.path.name == name), None)
    if found is None:
        raise _no_study(name, user_path(storage))
    return found


def _no_study(text: str, storage: Path) -> StudyError:
    names = [folder.path.name for folder in studies_in(storage)]
    known = f"Studies in {storage}: {', '.join(names)}." if names else f"There are no studies in {storage}."
    return StudyError(f'no study "{text}".{did_you_mean(Path(text).name, names)} {known}')


def parse_reference(text: str) -> tuple[str, str | None]:
    """``name#best`` -> ("name", "best"); ``name`` -> ("name", None). StudyError where either side is empty."""
    name, mark, selector = text.rpartition("#") if "#" in text else (text, "", "")
    if not name or (mark and not selector):
        raise StudyError(f'"{text}" names no study or trial; expected NAME, NAME#best or NAME#KEY.')
    return name, selector or None


def best_trial(state: StudyState, metric: Metric) -> TrialRecord | None:
    """A trial of the best configuration, that of its first seed; None where nothing has finished.

    The best by the mean of ``metric`` over the finished seeds, among those with the most: one lucky seed is no winner.
    """
    sign = 1 if metric.mode == "max" else -1
    found: dict[str, list[tuple[float, TrialRecord]]] = {}
    for trial in state.trials.values():
        value = trial.final_value(metric.name)
        if not math.isnan(value):
            found.setdefault(canonical_json(trial.config | {"seed": 0}), []).append((sign * value, trial))
    if not found:
        return None
    most = max(map(len, found.values()))
    whole = [seeds for seeds in found.values() if len(seeds) == most]
    best = max(whole, key=lambda seeds: sum(value for value, _ in seeds))
    return min((trial for _, trial in best), key=lambda trial: trial.seed)


def select_trial(state: StudyState, selector: str, metric: Metric) -> TrialRecord:
    """The trial that ``best``, a key, or the unambiguous start of one selects. StudyError for none or several."""
    if selector == BEST:
        best = best_trial(state, metric)
        if best is None:
            raise StudyError(f'no trial is "best" yet: none of {len(state.trials)} has finished with a {metric.name}.')
        return best
    found = [trial for key, trial in state.trials.items() if key.startswith(selector)]
    if len(found) == 1:
        return found[0]
    if found:
        raise StudyError(
            f'"{selector}" begins {len(found)} keys: {", ".join(t.key for t in found[:5])}. Give more digits.'
        )
    hint = did_you_mean(selector, [BEST, *state.trials])
    raise StudyError(f'no trial "{selector}" among {len(state.trials)}.{hint} Use best, or a key.')


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between two trees, one line for each leaf: ``base.epochs: was 15, is 20``."""
    lines = []
    for key in dict.fromkeys([*old, *new]):
        path = f"{prefix}{key}"
        if key not in new:
            lines.append(f"{path}: was {old[key]!r}, is gone")
        elif key not in old:
            lines.append(f"{path}: is new: {new[key]!r}")
        elif path.startswith("base.plugins.") and old[key] != new[key]:
            lines.append(f"the plug-in {key}: its content changed (SHA-256 was {old[key]}..., is {new[key]}...)")
        elif isinstance(old[key], Mapping) and isinstance(new[key], Mapping):
            lines += differences(old[key], new[key], f"{path}.")
        elif old[key] != new[key]:
            lines.append(f"{path}: was {old[key]!r}, is {new[key]!r}")
    return lines
