"""Where a study stands, from its folder alone: nothing is started, nothing written.

Proof: ``tests/record/test_record_status.py``.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args

from fsg.config import canonical_json
from fsg.errors import FsgError
from fsg.record.driver_lock import driver_of
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Status, StudyState, fold
from fsg.study.spec import AblationSpec, SweepSpec


def status_of(folder: StudyFolder) -> dict[str, Any]:
    """As plain data. ``running`` are trials a driver works on; without one that lives they are ``interrupted``.

    Times are in unix seconds, sizes in bytes. StudyError if the ledger is damaged.
    """
    folder.refuse_newer_spec()
    events = folder.events()
    state, driver = fold(events), driver_of(folder.path)
    alive = bool(driver and driver["alive"])
    counts = Counter(trial.status for trial in state.trials.values())
    trials = {status: counts[status] for status in get_args(Status)}
    if not alive:
        trials["interrupted"] = trials.pop("running")
    tried_again = [retry | {"key": t.key} for t in state.trials.values() for retry in t.retries]
    return {
        "study": folder.path.name,
        "path": str(folder.path),
        "trials": trials,
        "retried": len(tried_again),
        "retries": dict(Counter(retry["cause"] for retry in tried_again)),
        "reasons": [
            {"key": t.key, "arm": t.arm, "seed": t.seed, "status": t.status, "reason": t.reason}
            for t in state.trials.values()
            if t.reason and t.status in ("failed", "planned")
        ],
        "epochs": sum(len(trial.epochs) for trial in state.trials.values()),
        "events": len(events),
        "last_event": {"event": events[-1]["event"], "time": events[-1]["time"]} if events else None,
        "stopped": state.stopped,
        "driver": driver and {name: driver.get(name) for name in ("alive", "host", "pid", "since", "beat")},
        "mlflow": driver.get("mlflow") if driver else None,
        "set_aside": [str(path.relative_to(folder.path)) for path in set_aside(folder)],
        "disk": disk_use(folder.path),
    }


def overview_of(folder: StudyFolder) -> dict[str, Any]:
    """One line of a list of studies: its ``state``, ``done`` of ``trials``, ``size`` in bytes, the unix times at which it was
    ``begun`` and of its ``last_event``, whether a ``driver`` lives.

    ``problem`` says what is wrong with a study that cannot be read; its numbers are 0 then. ``state``: ``running``; ``ended``: no
    trial of those planned so far is left, though a rule that adds seeds may ask for more; ``interrupted``; ``not begun``;
    ``unreadable``.
    """
    driver = driver_of(folder.path)
    found = {
        "study": folder.path.name,
        "path": str(folder.path),
        "kind": "?",
        "question": "",
        "state": "unreadable",
        "done": 0,
        "trials": 0,
        "size": disk_use(folder.path)["total"],
        "begun": folder.spec_path.stat().st_mtime if folder.spec_path.exists() else None,
        "last_event": None,
        "driver": bool(driver and driver["alive"]),
        "problem": None,
    }
    try:
        spec, events = folder.spec(), folder.events()
    except FsgError as error:
        return found | {"problem": str(error)}
    state = fold(events)
    trials = state.trials.values()
    return found | {
        "kind": spec.kind,
        "state": "running" if found["driver"] else _state(spec, state),
        "question": spec.question,
        "done": sum(trial.over for trial in trials),
        "trials": max(planned_trials(spec), len(trials)),
        "begun": events[0]["time"] if events else found["begun"],
        "last_event": events[-1]["time"] if events else None,
    }


def _state(spec: AblationSpec | SweepSpec, state: StudyState) -> str:
    """Of a study that nobody drives."""
    trials = state.trials.values()
    if not trials:
        return "not begun"
    if isinstance(spec, AblationSpec):
        all_there = {trial.key for trial in spec.plan.trials()} <= state.trials.keys()
    else:
        configurations = {canonical_json(trial.config | {"seed": 0}) for trial in trials}
        all_there = state.stopped is not None or len(configurations) >= spec.search.trials
    return "ended" if all_there and all(trial.over for trial in trials) else "interrupted"


def planned_trials(spec: AblationSpec | SweepSpec) -> int:
    """How many trials a study will have, as far as its file says: more seeds may be added, fewer may be needed."""
    return len(spec.plan.trials()) if isinstance(spec, AblationSpec) else spec.search.trials * len(spec.seeds)


def set_aside(folder: StudyFolder) -> list[Path]:
    """What was found damaged or cut off in a study, and kept."""
    return sorted(path for path in folder.path.rglob("*") if ".damaged" in path.name or ".torn-" in path.name)


def disk_use(path: Path) -> dict[str, int]:
    """Bytes by part of the study, and ``total``. Files that vanish meanwhile count nothing."""
    found: Counter[str] = Counter()
    for file in path.rglob("*"):
        with suppress(OSError):
            if not file.is_dir():
                found[file.relative_to(path).parts[0]] += file.lstat().st_size
    return {"total": found.total(), **dict(sorted(found.items()))}
