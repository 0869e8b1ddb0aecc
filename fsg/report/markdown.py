"""Tables as GitHub-flavoured markdown, with the cells of the terminal table."""

from __future__ import annotations

from collections.abc import Iterable

from fsg.report.cells import Cell, Grid
from fsg.report.columns import comparison_grid
from fsg.report.comparison import Comparison


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison of arms: title, table (best arm bold), notes, caption."""
    return grid_markdown(comparison_grid(comparison))


def grid_markdown(grid: Grid) -> str:
    """Any grid: title, table, notes, caption."""
    lines = [f"**{_escape(grid.title)}**", "", _row(map(_escape, grid.headers))]
    lines.append(_row([":--"] + ["--:"] * (len(grid.headers) - 1)))
    lines += [_row(map(_cell, row)) for row in grid.rows]
    lines += ["", *(f"- {_escape(note)}" for note in grid.notes), "", f"*{_escape(grid.caption)}*", ""]
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = _escape(cell.text)
    return f"**{text}**" if cell.best else text


def _escape(text: str) -> str:
    """Text as itself: a bar would end the cell, a star or underscore would turn it italic, a line break end the row."""
    for mark in "\\|*_<`":
        text = text.replace(mark, "\\" + mark)
    return " ".join(text.split())
