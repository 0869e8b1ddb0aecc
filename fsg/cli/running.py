"""The end of a command that runs a study: its exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fsg.cli.options import console_of
from fsg.errors import FsgError
from fsg.report.plain import say

if TYPE_CHECKING:
    from fsg.execution.engine import Resources
    from fsg.record.driver_lock import StudyLock
    from fsg.record.folder import StudyFolder
    from fsg.report.progress import Output
    from fsg.study.spec import AblationSpec, SweepSpec


def run(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    uri: str,
    resources: Resources,
    output: Output,
    lock: StudyLock,
    allow_failed: bool = False,
) -> None:
    """Run what is left of the study on Ray, then report. Exit with 130 if it was stopped.

    FsgError if trials failed, those of an arm's own search among them, which ``allow_failed`` makes a warning of.
    """
    from fsg.driver.run import run_and_report
    from fsg.ray_engine.engine import RayEngine

    outcome = run_and_report(folder, spec, uri, RayEngine(resources), output, lock)
    if not outcome.complete:
        raise typer.Exit(130)
    if outcome.failed and not allow_failed:
        raise FsgError(
            "\n".join([*outcome.failed, "Everything else stands in the report. With --allow-failed this exits with 0."])
        )
    for sentence in outcome.failed:
        say(console_of(hushed=output == "json"), sentence, "yellow")
