"""Tables on a terminal: within 120 columns on one line per arm; on a narrow one, ± goes to a second line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fsg.report.cells import Cell, Grid
from fsg.report.columns import comparison_grid
from fsg.report.comparison import Comparison
from fsg.report.exercised import REFUSED

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
        """Title, table, notes, caption: on one line per row, else on two, else without the last columns.

        Columns that the grid keeps are never left out: they go on below, each part with the names of its rows.
        """
        from rich.text import Text

        def fits(table: Table) -> bool:
            return console.measure(table, options=options.update(max_width=10_000)).maximum <= options.max_width

        grid, shown = self.grid, len(self.grid.headers)
        tables = [_table(grid, range(shown), two_lines=False)]
        if not fits(tables[0]):
            while shown > grid.kept and not fits(_table(grid, range(shown))):
                shown -= 1
            tables = list(_parts(grid, range(1, shown), fits))
        yield Text(grid.title, style="bold")
        yield from tables
        if shown < len(grid.headers):
            yield Text(f"Left out, for want of width: {', '.join(grid.headers[shown:])}.", style="yellow")
        for note in grid.notes:
            loud = note.startswith(("MISSING", "NOT PAIRED")) or f"was {REFUSED}" in note
            yield Text(note, style="bold yellow" if loud else "dim")
        yield Text(grid.caption, style="dim italic")


def render_comparison(comparison: Comparison) -> TerminalTable:
    """The comparison of arms as a rich renderable: ``Console().print(render_comparison(c))``."""
    return TerminalTable(comparison_grid(comparison))


def _parts(grid: Grid, places: Sequence[int], fits: Callable[[Table], bool]) -> Iterator[Table]:
    """The columns at ``places``, as few tables as hold them, each behind the first column."""
    part = [0]
    for place in places:
        if len(part) > 1 and not fits(_table(grid, [*part, place])):
            yield _table(grid, part)
            part = [0]
        part.append(place)
    yield _table(grid, part)


def _table(grid: Grid, places: Sequence[int], two_lines: bool = True) -> Table:
    """The columns of a grid at ``places``."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1 if two_lines else 2, 0, 0))
    widths = {}
    for place in places:
        words = grid.headers[place].split()
        header = ("\n" if two_lines else " ").join(words)
        table.add_column(Text(header), justify="left" if place == 0 else "right", no_wrap=True)
        column = [row[place] for row in grid.rows]
        spread, mark = (max((len(text) for text in texts), default=0)
                        for texts in ([c.spread for c in column], [c.mark for c in column]))  # fmt: skip
        widths[place] = (spread, mark)
    for row in grid.rows:
        table.add_row(*(_text(row[place], widths[place], place, two_lines) for place in places))
    return table


def _text(cell: Cell, width: tuple[int, int], place: int, two_lines: bool) -> Text:
    """A cell; spread and mark are padded to the widths of their column, so that ± stands under ±."""
    from rich.text import Text

    spread, mark = width
    own = cell.value in ("reference", "baseline")
    text = Text(" ".join(cell.value.split()), style="bold" if cell.best else "dim" if own else _COLOURS[cell.verdict])
    if two_lines:
        text.append(f" {cell.mark:<{mark}}" if mark and not own else "")
        text.append(f"\n± {cell.spread}{' ' * (mark + 1 if mark else 0)}" if cell.spread else "")
    elif not own:
        text.append(f" ± {cell.spread:>{spread}}" if cell.spread else " " * (spread + 3 if spread else 0))
        text.append(f" {cell.mark:<{mark}}" if mark else "")
    if cell.best and place == 0:
        text.append(" ★", style="bold green")
    return text
