"""``fsg status``: where a study stands, without touching it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from fsg.cli.options import Document, Storage
from fsg.cli.studies import Study, show
from fsg.files import as_size


def status(
    study: Study = None,
    storage: Storage = "studies",
    as_json: Document = False,
) -> None:
    """Say where a study stands: its trials, its driver, its copy in MLflow, its disk. Without a name: all studies."""
    if study is None:
        show(storage, as_json)
        return
    from fsg.record.folder import find_study
    from fsg.record.status import status_of

    found = status_of(find_study(study, storage))
    if as_json:
        from fsg.report.schemas import StatusDocument, printed

        typer.echo(printed(StatusDocument.model_validate(found)))
    else:
        typer.echo("\n".join(lines(found, time.time())))


def lines(found: dict[str, Any], now: float) -> list[str]:
    """The same for reading."""
    from fsg.record.folder import StudyFolder

    trials = ", ".join(f"{count} {name}" for name, count in found["trials"].items() if count)
    total = sum(found["trials"].values())
    shown = [f"{found['study']}: {total} trials: {trials}" if total else f"{found['study']}: no trial planned yet"]
    shown.append(f"epochs: {found['epochs']} recorded")
    if found["last_event"]:
        shown[-1] += f"; last event: {found['last_event']['event']}, {ago(now - found['last_event']['time'])}"
    driver = found["driver"]
    if driver and driver["alive"]:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(driver["since"]))
        shown.append(f"driver: process {driver['pid']} on {driver['host']}, since {since}")
    else:
        shown.append(f"driver: none; go on with: fsg resume {StudyFolder(Path(found['path'])).called}")
    if found["mlflow"]:
        shown.append(found["mlflow"] if driver and driver["alive"] else f"{found['mlflow']} when the last driver ended")
    if found["retried"]:
        causes = ", ".join(f"{count} {cause}" for cause, count in sorted(found["retries"].items()))
        shown.append(f"retried: {found['retried']} ({causes})")
    if found["stopped"]:
        shown.append(f"stopped: {found['stopped']}")
    shown += [f"  {one['status']} {one['arm']}/{one['seed']} {one['key']}: {one['reason']}" for one in found["reasons"]]
    if found["set_aside"]:
        shown.append(f"set aside, being damaged or cut off: {', '.join(found['set_aside'])}")
    parts = ", ".join(f"{name} {as_size(n)}" for name, n in found["disk"].items() if name != "total" and n >= 1e5)
    shown.append(f"disk: {as_size(found['disk']['total'])}" + (f" ({parts})" if parts else ""))
    return shown


def ago(seconds: float) -> str:
    """``12 s ago``, ``3 min ago``, ``5 h ago``, ``2 d ago``."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"
