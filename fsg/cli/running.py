"""The end of a command that runs a study: its exit code."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import typer

from fsg.cli.options import console_of, say_aside
from fsg.errors import FsgError
from fsg.report.plain import say

if TYPE_CHECKING:
    from fsg.driver.notify import Ending
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
    notify: str | None = None,
) -> None:
    """Run what is left of the study on Ray, then report, and tell ``notify`` how it ended. Exit with 130 if it was stopped.

    FsgError if trials failed, those of an arm's own search among them, which ``allow_failed`` makes a warning of.
    """
    from fsg.driver.run import run_and_report
    from fsg.ray_engine.engine import RayEngine

    begun = time.monotonic()
    try:
        outcome = run_and_report(folder, spec, uri, RayEngine(resources), output, lock)
    except BaseException as error:
        _tell(notify, folder, "error", begun, (str(error) or type(error).__name__,))
        raise
    ending: Ending = "failed" if outcome.failed else "complete" if outcome.complete else "interrupted"
    _tell(notify, folder, ending, begun, outcome.failed)
    if not outcome.complete:
        raise typer.Exit(130)
    if outcome.failed and not allow_failed:
        raise FsgError(
            "\n".join([*outcome.failed, "Everything else stands in the report. With --allow-failed this exits with 0."])
        )
    for sentence in outcome.failed:
        say(console_of(hushed=output == "json"), sentence, "yellow")


def _tell(target: str | None, folder: StudyFolder, ending: Ending, begun: float, reasons: tuple[str, ...]) -> None:
    from fsg.driver.notify import notice_of, notify

    if target is not None and (problem := notify(target, notice_of(folder, ending, time.monotonic() - begun, reasons))):
        say_aside(problem)
