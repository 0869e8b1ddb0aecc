"""``fsg mcp``: studies for a program that asks, such as an agent, by the Model Context Protocol over stdin and stdout.

Proof: ``tests/cli/test_mcp_server.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fsg.cli.options import FOLDER
from fsg.errors import BackendUnavailable


def mcp(
    allow_run: Annotated[
        bool, typer.Option("--allow-run", help="Also offer to run an ablation's file, with the Python that it names.")
    ] = False,
    storage: Annotated[Path, typer.Option(**FOLDER, help="Folder that holds the studies.")] = Path("studies"),
) -> None:
    """Serve the studies to an agent by the Model Context Protocol, on stdin and stdout; it only reads."""
    try:
        from fsg.cli.mcp_server import make_server
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise BackendUnavailable(
            "the package mcp is not installed in version 2.3 or newer, which fsg mcp needs; run: pip install 'fsg[mcp]'"
        ) from None
    make_server(storage, allow_run).run("stdio")
