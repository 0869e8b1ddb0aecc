"""``fsg studies``; and what is said where a command was given no study: which there are.

Proof: ``tests/cli/test_studies.py``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from fsg.cli.options import Document, Storage
from fsg.errors import StudyError
from fsg.files import as_size, user_path
from fsg.remote import is_url

_COLUMNS = ("study", "kind", "state", "done", "size", "age", "last event", "question")
_QUESTION = 60  # letters


def studies(
    storage: Storage = "studies",
    as_json: Document = False,
) -> None:
    """List the studies of a storage: the state, size and age of each, how far it is, and what it asks."""
    show(storage, as_json)


def show(storage: str, as_json: bool) -> None:
    """Print the studies of a storage."""
    found = overviews(storage)
    if as_json:
        from fsg.report.schemas import OverviewPart, StudiesDocument, printed

        parts = [OverviewPart.model_validate(one) for one in found]
        typer.echo(printed(StudiesDocument(storage=storage, studies=parts)))
    else:
        typer.echo("\n".join(table(found, time.time())) if found else nothing_in(storage))


def overviews(storage: str) -> list[dict[str, Any]]:
    """What ``fsg studies`` knows of each study, by name. StudyError for a storage that is no folder of this machine."""
    from fsg.record.folder import studies_in
    from fsg.record.status import overview_of

    if is_url(storage):
        raise StudyError(
            f"{storage} is no folder of this machine; name a study there, as in: fsg compare {storage}/NAME"
        )
    return [overview_of(folder) for folder in studies_in(storage)]


def table(found: Sequence[dict[str, Any]], now: float) -> list[str]:
    """A heading, and a line a study."""
    from fsg.cli.status import ago

    rows = [_COLUMNS]
    for one in found:
        done = "?" if one["problem"] else f"{one['done']}/{one['trials']}"
        last = ago(now - one["last_event"]) if one["last_event"] else "never"
        age = ago(now - one["begun"]).removesuffix(" ago") if one["begun"] else "?"
        question = one["problem"] or one["question"]
        short = question if len(question) <= _QUESTION else f"{question[: _QUESTION - 3]}..."
        sizes = (done, as_size(one["size"]), age, last)
        rows.append((one["study"], one["kind"], one["state"], *sizes, " ".join(short.split())))
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def nothing_in(storage: str) -> str:
    """What to do where there is no study."""
    return f"There are no studies in {storage}. Begin one with: fsg ablate FILE, or fsg sweep FILE"


def no_study(command: str, storage: str) -> StudyError:
    """The refusal of a command that needs a study: which there are, and what to type."""
    found = overviews(storage)
    if not found:
        return StudyError(f"{command} needs a study. {nothing_in(storage)}")
    where = "" if storage == "studies" else f" --storage {storage}"
    lines = "\n".join(f"  {line}" for line in table(found, time.time()))
    return StudyError(
        f"{command} needs the name of a study, as in: fsg {command} {found[0]['study']}{where}\n"
        f"Studies in {storage}:\n{lines}"
    )


def complete(context: typer.Context, incomplete: str) -> list[str]:
    """The names of studies that begin as what was typed: for the shell."""
    storage = str(context.params.get("storage") or "studies")
    folders = [] if is_url(storage) else sorted(path.parent.name for path in user_path(storage).glob("*/spec.yaml"))
    return [name for name in folders if name.startswith(incomplete)]


def complete_reference(context: typer.Context, incomplete: str) -> list[str]:
    """The same for NAME#best."""
    return [f"{name}#best" for name in complete(context, incomplete.partition("#")[0])]


Study = Annotated[
    str | None,
    typer.Argument(help="Name or path of a study.", autocompletion=complete, show_default=False),
]
