"""The gradient norms of an earlier run that ``schedule: {name: refined, from: STUDY#ARM}`` is made of, read when a study begins.

They then stand in the study's own specification and in each trial: nothing later asks the earlier study.
Proof: ``tests/train/test_refined.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from fsg.errors import ConfigError, StudyError
from fsg.nearest import did_you_mean
from fsg.record.folder import StudyFolder, find_study
from fsg.record.ledger import finite
from fsg.yaml_source import places

if TYPE_CHECKING:
    from fsg.study.spec import AblationSpec, SweepSpec

METRICS = {"l2": "grad_norm", "l1": "grad_norm_l1"}
Read = Callable[[str, str], tuple[float, ...]]


def with_norms(spec: AblationSpec | SweepSpec, storage: str | Path) -> AblationSpec | SweepSpec:
    """The study with the norms of each ``refined`` schedule in it: those it began with, or those of the run that it names.

    ConfigError, with file and line, for a study or arm that is not there, or has recorded no norms.
    """
    known: dict[tuple[str, str], tuple[float, ...]] = {}
    own = StudyFolder(Path(storage) / spec.name)
    if own.spec_path.is_file():
        _walk(own.spec().resolved(), lambda section: known.setdefault(_key(section), tuple(section.get("norms") or ())))

    def read(reference: str, norm: str) -> tuple[float, ...]:
        try:
            return known.get((reference, norm)) or recorded(reference, norm, storage)
        except StudyError as error:
            raise _refused(spec, reference, str(error)) from None

    def fill(section: dict[str, Any]) -> None:
        if not section.get("norms"):
            reference, norm = _key(section)
            section["norms"] = list(read(reference, norm))

    data = spec.resolved()
    if not _walk(data, fill):
        return spec
    found = type(spec).model_validate(data).in_format(spec.format)
    found._source = spec.source
    return found


def _refused(spec: AblationSpec | SweepSpec, reference: str, problem: str) -> ConfigError:
    """With the place where the file names this run."""
    own = spec.source.data if spec.source else {}
    here = (place for place, value in places(own) if str(value) == reference and str(place[-1]).endswith("from"))
    return spec.refuse(next(here, ()), problem)


def recorded(reference: str, norm: str, storage: str | Path) -> tuple[float, ...]:
    """The norm of each epoch, mean over the finished trials of an arm. ``reference``: STUDY#ARM."""
    study, _, arm = reference.partition("#")
    try:
        state = find_study(study, storage).state()
    except StudyError as error:
        raise StudyError(f'schedule.from names "{reference}", and there is {error}') from None
    arms = list(dict.fromkeys(record.arm for record in state.trials.values()))
    if arm not in arms:
        raise StudyError(
            f'schedule.from names "{reference}", but study {study} has no arm "{arm}".{did_you_mean(arm, arms)} '
            f"It has: {', '.join(arms)}."
        )
    trials = [record for record in state.trials.values() if record.arm == arm and record.status == "finished"]
    if not trials:
        raise StudyError(f'schedule.from names "{reference}", of which no trial has finished; run that study first.')
    name = METRICS[norm]
    rows = [[finite(epoch.get(name)) for epoch in record.epochs] for record in trials]
    if not all(value > 0 for row in rows for value in row):
        raise StudyError(
            f'schedule.from names "{reference}", whose trials recorded no {name} in each epoch: they ran under an older fsg, or '
            "with gradient.update: reference. Run that arm again."
        )
    return tuple(mean(column) for column in zip(*rows, strict=False))


def _key(section: Mapping[str, Any]) -> tuple[str, str]:
    return str(section["from"]), str(section.get("norm", "l2"))


def _walk(tree: Any, visit: Callable[[dict[str, Any]], Any]) -> bool:
    """Visit each section of a refined schedule in plain data; whether there is one."""
    found = False
    if isinstance(tree, dict):
        if tree.get("name") == "refined" and "from" in tree:
            visit(tree)
            found = True
        for inner in tree.values():
            found = _walk(inner, visit) or found
    elif isinstance(tree, list):
        for inner in tree:
            found = _walk(inner, visit) or found
    return found
