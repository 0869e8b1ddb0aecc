"""``fsg upgrade``: a study of an older format in today's."""

from __future__ import annotations

from typing import Annotated

import typer

from fsg.cli.options import Storage, console_of
from fsg.cli.studies import Study, no_study


def upgrade(
    study: Study = None,
    write: Annotated[bool, typer.Option("--write", help="Do it; the original is kept beside it.")] = False,
    storage: Storage = "studies",
) -> None:
    """Show what a study of an older fsg would become in today's format. It reads and resumes without it, too."""
    from fsg.driver.session import driving
    from fsg.formats import FORMAT
    from fsg.record.folder import find_study
    from fsg.record.upgrade import apply, upgrade_of

    if study is None:
        raise no_study("upgrade", storage)
    folder = find_study(study, storage)
    found = upgrade_of(folder)
    if found is None:
        typer.echo(f"{folder.path}: has format {FORMAT}, the newest that this fsg knows: nothing to do.")
        return
    for sentence in found.sentences():
        typer.echo(sentence)
    if not write:
        typer.echo(f"Nothing was changed. To do it: fsg upgrade {folder.called} --write")
        return
    from fsg.search.journal import rekey

    with driving(folder.path, console_of()):
        kept = apply(found, rekey)
    typer.echo(f"Done. The original is kept as {kept}.")
    if found.keys:
        typer.echo(
            f"MLflow knows the trials by their old keys; to have them anew, delete the experiment and: fsg sync {folder.called}"
        )
