"""``fsg power``: how many seeds an effect needs, from a study that has been run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FOLDER
from fsg.cli.studies import complete, no_study


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
) -> None:
    """Say how many paired seeds a comparison with the baseline needs."""
    from rich.table import Table

    from fsg.cli.options import console_of
    from fsg.errors import StudyError
    from fsg.record.folder import find_study
    from fsg.report.plain import add_row, say
    from fsg.report.study_report import make_report
    from fsg.stats.paired import matched
    from fsg.stats.power import detectable_effect, plan_from_pilot

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

    table = Table(
        title=f"Seeds that show a difference of {wanted:g} to {other} with a chance of {goal:.0%}", title_justify="left"
    )
    for name in ("arm", "pilot n", "sd of differences", "seeds", "cautious", "shown by the pilot's n"):
        table.add_column(name, justify="left" if name == "arm" else "right")
    for arm, row in rows.items():
        _, a, b = matched(row.values, rows[other].values)
        if arm == other or len(a) < 2:
            continue
        try:
            plan = plan_from_pilot(a - b, wanted, goal)
        except ValueError as error:
            add_row(table, arm, str(len(a)), "0", "-", "-", str(error))
            continue
        least = detectable_effect(len(a), plan.sd, goal)
        cells = [f"{plan.sd:.2f}", _count(plan.seeds), _count(plan.cautious), f"{least:.1f}"]
        add_row(table, arm, str(len(a)), *cells)
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
