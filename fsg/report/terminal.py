"""Tables on a terminal: within 120 columns on one line per arm; on a narrow one, ± goes to a second line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsg.report.cells import Cell, Grid, comparison_grid
from fsg.report.comparison import Comparison

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table
    from rich.text import Text

_COLOURS = {"better": "green", "worse": "red", "": ""}


@dataclass(frozen=True)
class TerminalTable:
    """What ``rich`` prints of a grid, laid out for the width it is given."""

    grid: Grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Title, table, notes, caption: on one line per row, else on two, else without the last columns."""
        from rich.text import Text

        def fits(table: Table) -> bool:
            return console.measure(table, options=options.update(max_width=10_000)).maximum <= options.max_width

        shown = len(self.grid.headers)
        table = _table(self.grid, two_lines=False)
        if not fits(table):
            table = _table(self.grid, two_lines=True)
        while shown > 2 and not fits(table):
            shown -= 1
            table = _table(self.grid, two_lines=True, columns=shown)
        yield Text(self.grid.title, style="bold")
        yield table
        if shown < len(self.grid.headers):
            yield Text(f"Left out, for want of width: {', '.join(self.grid.headers[shown:])}.", style="yellow")
        for note in self.grid.notes:
            yield Text(note, style="bold yellow" if note.startswith(("MISSING", "NOT PAIRED")) else "dim")
        yield Text(self.grid.caption, style="dim italic")


def render_comparison(comparison: Comparison) -> TerminalTable:
    """The comparison of arms as a rich renderable: ``Console().print(render_comparison(c))``."""
    return TerminalTable(comparison_grid(comparison))


def _table(grid: Grid, two_lines: bool, columns: int | None = None) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1 if two_lines else 2, 0, 0))
    for place, header in enumerate(grid.headers[:columns]):
        shown = header.replace(" ", "\n") if two_lines else header
        table.add_column(shown, justify="left" if place == 0 else "right", no_wrap=True)
    widths = [
        (
            max((len(row[i].spread) for row in grid.rows), default=0),
            max((len(row[i].mark) for row in grid.rows), default=0),
        )
        for i in range(len(grid.headers))
    ]
    for row in grid.rows:
        cells = zip(row[:columns], widths, strict=False)
        table.add_row(*(_text(cell, width, place, two_lines) for place, (cell, width) in enumerate(cells)))
    return table


def _text(cell: Cell, width: tuple[int, int], place: int, two_lines: bool) -> Text:
    """A cell; spread and mark are padded to the widths of their column, so that ± stands under ±."""
    from rich.text import Text

    spread, mark = width
    own = cell.value in ("reference", "baseline")
    text = Text(cell.value, style="bold" if cell.best else "dim" if own else _COLOURS[cell.verdict])
    if two_lines:
        text.append(f" {cell.mark:<{mark}}" if mark and not own else "")
        text.append(f"\n± {cell.spread}{' ' * (mark + 1 if mark else 0)}" if cell.spread else "")
    elif not own:
        text.append(f" ± {cell.spread:>{spread}}" if cell.spread else " " * (spread + 3 if spread else 0))
        text.append(f" {cell.mark:<{mark}}" if mark else "")
    if cell.best and place == 0:
        text.append(" ★", style="bold green")
    return text
