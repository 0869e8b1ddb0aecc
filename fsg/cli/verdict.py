"""``fsg verdict``: was that better? For people, scripts and agents, by its exit code.

Proof: ``tests/cli/test_verdict_command.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.options import FILE, Document, Storage, console_of
from fsg.cli.studies import complete, no_study

if TYPE_CHECKING:
    from collections.abc import Callable

    from fsg.report.verdict import Verdict


def verdict(
    study: Annotated[
        str | None, typer.Argument(help="Name or path of an ablation.", autocompletion=complete, show_default=False)
    ] = None,
    arm: Annotated[str | None, typer.Argument(help="The arm that is asked about.", show_default=False)] = None,
    against: Annotated[
        str | None,
        typer.Option(help="The arm that it is compared with. Default: the study's baseline, else its reference."),
    ] = None,
    log: Annotated[
        Path | None,
        typer.Option(
            **FILE,
            help="A log of all ideas that were tried, made where there is none: the arm is held to what is left of a false "
            "discovery rate of 5 %. Without STUDY: show the log.",
        ),
    ] = None,
    storage: Storage = "studies",
    as_json: Document = False,
) -> None:
    """Say whether an arm is better: exit code 0 better, 3 worse, 4 equivalent, 5 not yet known.

    It holds at every look: ask as often as you like, stop when it is known.
    """
    from fsg.driver.locate import open_study
    from fsg.errors import StudyError
    from fsg.report import verdict as report
    from fsg.report.plain import say
    from fsg.report.schemas import VerdictDocument, printed

    if study is None:
        if log is None:
            raise no_study("verdict", storage)
        _show(log, as_json)
        return
    folder = open_study(study, storage)
    spec, state = folder.spec(), folder.state()
    if arm is None:
        arms = f" It has: {', '.join(spec.plan.arms)}." if spec.kind == "ablation" else ""
        raise StudyError(f"verdict needs an arm of {folder.path.name}.{arms}")
    if log is None:
        found = report.verdict(spec, state, arm, against)
    else:
        found = _logged(log, lambda level: report.verdict(spec, state, arm, against, level))
    if as_json:
        typer.echo(printed(VerdictDocument.of(found)))
    else:
        say(console_of(), " ".join(found.sentences[:2]))
        for sentence in found.sentences[2:]:
            say(console_of(), sentence)
    raise typer.Exit(found.exit_code)


def _logged(path: Path, judge: Callable[[float], Verdict]) -> Verdict:
    """The verdict at the level that the log leaves to this idea, once the look stands in it."""
    from fsg.record.ideas import IdeaLog
    from fsg.report.ideas import look_of, standings
    from fsg.stats.online import FALSE_DISCOVERY_RATE

    log = IdeaLog(path, FALSE_DISCOVERY_RATE)
    found = judge(FALSE_DISCOVERY_RATE)  # its p follows from the seeds alone
    look = look_of(found)
    if look is None:
        log.read()  # refuses a file that is none
        return found
    return judge(log.add(look, lambda rate, looks: standings(rate, looks)[look.idea].level))


def _show(path: Path, as_json: bool) -> None:
    from fsg.errors import StudyError
    from fsg.record.ideas import IdeaLog
    from fsg.report.ideas import ideas_grid
    from fsg.report.schemas import IdeasDocument, printed
    from fsg.report.terminal import TerminalTable
    from fsg.stats.online import FALSE_DISCOVERY_RATE

    if not path.is_file():
        raise StudyError(
            f"{path}: there is no log of ideas yet; the first verdict begins it: fsg verdict STUDY ARM --log {path}"
        )
    rate, looks = IdeaLog(path, FALSE_DISCOVERY_RATE).read()
    if as_json:
        typer.echo(printed(IdeasDocument.of(rate, looks)))
    else:
        console_of().print(TerminalTable(ideas_grid(rate, looks)))
