"""Text on a terminal as it was written: rich would take [this] for markup and :this: for an emoji.

Everything of fsg that rich prints goes through here, so nobody has to think of escaping a question, a path or a unit.
Proof: ``tests/report/test_as_written.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def plain_console(**options: Any) -> Console:
    """A console that prints strings as they are; ``options`` are rich's."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, **options)


def say(console: Console, text: str, style: str = "") -> None:
    """Print ``text`` as it is, on any console; long lines are left to the terminal to wrap."""
    from rich.text import Text

    console.print(Text(text, style=style), soft_wrap=True)


def add_row(table: Table, *cells: str) -> None:
    """A row of a rich table whose cells are shown as they are, on any console."""
    from rich.text import Text

    table.add_row(*map(Text, cells))
