"""``fsg export``: a trained network as files for elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FOLDER
from fsg.cli.studies import complete_reference, no_study


def export(
    trial: Annotated[
        str | None,
        typer.Argument(
            metavar="STUDY#TRIAL",
            autocompletion=complete_reference,
            help="The finished trial: STUDY#best, STUDY#KEY; STUDY alone is its best.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(**FOLDER, help="The folder to make. Default: STUDY-KEY here.")] = None,
    storage: Annotated[Path, typer.Option(**FOLDER, help="Folder that holds the studies.")] = Path("studies"),
) -> None:
    """Write a trial's network as packed safetensors, ONNX, a torch.export program and a card, checked on the test split."""
    from fsg.driver.exporting import export_trial
    from fsg.export.card import size_lines, speed_lines
    from fsg.record.folder import BEST, find_study, parse_reference, select_trial

    if trial is None:
        raise no_study("export", str(storage))
    name, selector = parse_reference(trial)
    folder = find_study(name, storage)
    key = select_trial(folder.state(), selector or BEST, folder.spec().metric).key
    done = export_trial(folder, key, out or Path(f"{folder.path.name}-{key[:8]}"))
    measured = done.measured
    typer.echo(f"Trial {key} of {folder.called}: {done.accuracy:.2f} % on the test split.")
    for file, found in measured.agreements.items():
        typer.echo(f"  {file}: {found}")
    typer.echo("\n".join(["", *_plain(size_lines(measured)), "", *_plain(speed_lines(measured)), ""]))
    typer.echo(f"{measured.machine}. All multiply in float32: the bits save size, not time.")
    typer.echo(f'In {done.folder}; model_card.md says what it is. In Python: fsg.load_exported("{done.folder}")')


def _plain(lines: list[str]) -> list[str]:
    """A markdown table in columns of equal width."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|--")]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
