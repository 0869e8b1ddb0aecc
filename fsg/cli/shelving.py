"""``fsg rm`` and ``fsg archive``: studies that are done with.

Proof: ``tests/cli/test_shelving.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FILE, Storage
from fsg.cli.studies import Study, complete, no_study
from fsg.errors import StudyError
from fsg.files import as_size


def rm(
    studies: Annotated[
        list[str] | None, typer.Argument(metavar="STUDY...", help="Names or paths.", autocompletion=complete)
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    storage: Storage = "studies",
) -> None:
    """Remove studies: ledger, checkpoints, reports. Asks first; refuses one that is being driven."""
    from fsg.record.archive import remove
    from fsg.record.folder import find_study
    from fsg.record.mirror import mirror_of
    from fsg.record.status import disk_use, overview_of

    if not studies:
        raise no_study("rm", storage)
    folders = [find_study(study, storage) for study in studies]
    for folder in folders:
        found, size = overview_of(folder), as_size(disk_use(folder.path)["total"])
        typer.echo(f"{folder.path}: {found['kind']}, {found['done']} of {found['trials']} trials done, {size}")
    if not yes:
        if not sys.stdin.isatty():
            raise StudyError("nothing was removed: nobody is there to be asked. With --yes it is done.")
        if not typer.confirm("Remove for good?"):
            raise StudyError("nothing was removed.")
    for folder in folders:
        mirror = mirror_of(folder)
        remove(folder)
        typer.echo(f"Removed: {folder.path}. What MLflow shows of it stays there.")
        if mirror is not None:
            typer.echo(f"Its copy stays, too: {mirror.url}")


def archive(
    study: Study = None,
    out: Annotated[
        Path | None, typer.Option(**FILE, help="The file; STUDY.tar.gz here if left out.", show_default=False)
    ] = None,
    storage: Storage = "studies",
) -> None:
    """Put a study into one file, checked by reading it back. Refuses one that is being driven; the study stays."""
    from fsg.record.archive import SUFFIX, archive
    from fsg.record.folder import find_study

    if study is None:
        raise no_study("archive", storage)
    folder = find_study(study, storage)
    out = out if out is not None else Path(f"{folder.path.name}{SUFFIX}")
    count = archive(folder, out)
    typer.echo(
        f"Written: {out}, {count} files, {as_size(out.stat().st_size)}\n"
        f"To have it back: tar xzf {out} -C studies, then fsg compare {folder.path.name}\n"
        f"To free the place that it takes here: fsg rm {folder.called}"
    )
