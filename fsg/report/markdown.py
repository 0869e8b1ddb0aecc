"""Tables as GitHub-flavoured markdown, with the cells of the terminal table."""

from __future__ import annotations

import re
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
    lines += ["", *(f"- {_note(note)}" for note in grid.notes), "", f"*{_escape(grid.caption)}*", ""]
    return "\n".join(lines)


def one_line(text: str) -> str:
    """Any text as itself, on one line of markdown."""
    return _note(text)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = _escape(cell.text)
    return f"**{text}**" if cell.best and text else text


def _note(text: str) -> str:
    """An item of the list, which may begin as another list, a heading, a quote or a link's definition would."""
    return _BLOCK.sub(r"\g<number>\\\g<mark>", _escape(text))


def _escape(text: str) -> str:
    """Text as itself, on one line: no end of a cell, no emphasis, tag, code, strike, formula, entity or link."""
    return _LINK.sub(r"]\\", _MARKS.sub(r"\\\g<0>", " ".join(text.split())))


_MARKS = re.compile(r"[\\|*_<`~$&]")
_LINK = re.compile(r"\](?=\()")
_BLOCK = re.compile(r"^(?P<number>\d*)(?P<mark>(?<=\d)[.)]|(?<!\d)[#>+=\[-])")
