"""``fsg power``: how many seeds an effect needs, from a study that has been run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fsg.cli.options import FOLDER, Document
from fsg.cli.studies import complete, no_study

if TYPE_CHECKING:
    from fsg.report.schemas import PowerPart
    from fsg.stats.paired import Vector


def power(
    study: Annotated[
        str | None,
        typer.Argument(
            help="Name or path of a finished study; its differences are the pilot.", autocompletion=complete
        ),
    ] = None,
    effect: Annotated[
        float | None,
        typer.Option(
            help="Difference that would matter, in the metric's unit. Default: the study's smallest effect of interest."
        ),
    ] = None,
    goal: Annotated[float, typer.Option(min=0.01, max=0.999, help="Wanted chance of showing it.")] = 0.8,
    storage: Annotated[Path, typer.Option(**FOLDER, help="Folder that holds the studies.")] = Path("studies"),
    as_json: Document = False,
) -> None:
    """Say how many paired seeds a comparison with the baseline needs."""
    from fsg.errors import StudyError
    from fsg.record.folder import find_study
    from fsg.report.schemas import PowerDocument, printed
    from fsg.report.study_report import make_report
    from fsg.stats.paired import matched

    if study is None:
        raise no_study("power", str(storage))
    folder = find_study(study, storage)
    comparison = make_report(folder.spec(), folder.state()).comparison
    if comparison is None:
        raise StudyError(f"{folder.path}: a sweep compares no arms; give an ablation.")
    wanted = effect if effect is not None else comparison.smallest_effect
    if wanted is None or wanted <= 0:
        raise StudyError("no effect to plan for: give --effect, or analysis.smallest_effect_of_interest in the study.")
    other = comparison.baseline or comparison.reference
    rows = {row.arm: row for row in comparison.rows}
    if other is None:
        raise StudyError(f"{folder.path}: the study names neither a baseline nor a reference to differ from.")

    parts = [
        _part(arm, a - b, wanted, goal)
        for arm, row in rows.items()
        for _, a, b in [matched(row.values, rows[other].values)]
        if arm != other and len(a) > 1
    ]
    if as_json:
        document = PowerDocument(study=folder.path.name, against=other, effect=wanted, goal=goal, arms=parts)
        typer.echo(printed(document))
    else:
        _show(parts, f"Seeds that show a difference of {wanted:g} to {other} with a chance of {goal:.0%}")


def _part(arm: str, differences: Vector, effect: float, goal: float) -> PowerPart:
    from fsg.report.schemas import PowerPart
    from fsg.stats.power import detectable_effect, plan_from_pilot

    n = len(differences)
    try:
        plan = plan_from_pilot(differences, effect, goal)
    except ValueError as error:
        return PowerPart(arm=arm, pilot_seeds=n, sd=None, seeds=None, cautious=None, shown=None, problem=str(error))
    shown = detectable_effect(n, plan.sd, goal)
    return PowerPart(
        arm=arm, pilot_seeds=n, sd=plan.sd, seeds=plan.seeds, cautious=plan.cautious, shown=shown, problem=None
    )


def _show(parts: list[PowerPart], title: str) -> None:
    from rich.table import Table

    from fsg.cli.options import console_of
    from fsg.report.plain import add_row, say

    table = Table(title=title, title_justify="left")
    for name in ("arm", "pilot n", "sd of differences", "seeds", "cautious", "shown by the pilot's n"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for part in parts:
        if part.problem is not None:
            add_row(table, part.arm, str(part.pilot_seeds), "0", "-", "-", part.problem)
            continue
        cells = [f"{part.sd:.2f}", _count(part.seeds), _count(part.cautious), f"{part.shown:.1f}"]
        add_row(table, part.arm, str(part.pilot_seeds), *cells)
    console = console_of()
    console.print(table)
    say(
        console,
        "Paired t test at 0.05, before any correction over arms. cautious: for the upper end of what the pilot leaves of sd. "
        "Exact tests need at least 6 seeds to reach p < 0.05.",
        "dim",
    )


def _count(seeds: int | None) -> str:
    return "> 100,000" if seeds is None else f"{seeds:,}"
