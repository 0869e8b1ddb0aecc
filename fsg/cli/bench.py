"""``fsg bench``: how fast it is here, as ratios."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fsg.bench.measure import Measurement


class What(StrEnum):
    """What can be measured."""

    slow_scan = "slow_scan"
    step = "step"
    fused = "fused"
    trial = "trial"
    export = "export"
    table = "table"
    faults = "faults"


def bench(
    subjects: Annotated[
        list[What] | None, typer.Argument(help="What to measure. Default: everything but faults, which take an hour.")
    ] = None,
    what: Annotated[list[What] | None, typer.Option(help="The same as an option; repeatable.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line; docs/json.md has its schema.")
    ] = False,
) -> None:
    """Measure this machine: each backend against the reference, FSG against STE, the pipeline against the bare trainer."""
    from fsg.report.schemas import MeasurementDocument

    held = True
    asked = [*(subjects or ()), *(what or ())] or [subject for subject in What if subject is not What.faults]
    for subject in dict.fromkeys(asked):
        for found in _measure(subject):
            held &= found.holds is not False
            typer.echo(MeasurementDocument(**found.as_json()).model_dump_json() if as_json else _line(found))
    raise typer.Exit(0 if held else 1)


def _measure(what: What) -> Iterable[Measurement]:
    subjects: dict[What, Callable[[], Iterable[Measurement]]]
    from fsg.bench import fused, pipeline, slow_scan, step
    from fsg.bench.faults import rounds

    subjects = {
        What.slow_scan: slow_scan.run,
        What.step: step.run,
        What.fused: fused.run,
        What.trial: pipeline.trial,
        What.export: pipeline.export,
        What.table: pipeline.table,
        What.faults: rounds.run,
    }
    return subjects[what]()


def _line(found: Measurement) -> str:
    verdict = {True: "holds", False: "MISSED", None: ""}[found.holds]
    spread = f" (IQR {found.spread:.3g})" if found.spread is not None else ""
    target = f"  target {found.target}  {verdict}" if found.target else ""
    return f"{found.what:<10} {found.case:<50} {found.value:>9.3g} {found.unit}{spread}{target}"
