"""``fsg schema``: the JSON Schema of study files, by which an editor completes, explains and checks them.

Proof: ``tests/cli/test_schema_command.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FILE, Plugin
from fsg.files import write_atomically


def schema(
    plugin: Plugin = [],
    out: Annotated[
        Path | None, typer.Option(**FILE, help="Write it there; otherwise it is printed.", show_default=False)
    ] = None,
) -> None:
    """Print the JSON Schema of study files, for editors; parts of --plugin files and installed packages included."""
    text = schema_text(plugin)
    if out is None:
        typer.echo(text, nl=False)
        return
    write_atomically(out, text.encode())
    typer.echo(f"Written: {out}\nLine of a study beside it, for the editor: {modeline(out.name)}")


def schema_text(plugins: Iterable[str | Path] = ()) -> str:
    """The schema as a file, with the parts that these plug-ins register."""
    from fsg.plugins import load_installed, load_plugin
    from fsg.study.schema import study_schema

    load_installed()
    for each in plugins:
        load_plugin(each)
    return json.dumps(study_schema(), indent=1, ensure_ascii=False) + "\n"


def modeline(schema: str) -> str:
    """The comment by which the YAML language server, of VS Code and others, finds the schema of a file."""
    return f"# yaml-language-server: $schema={schema}"
