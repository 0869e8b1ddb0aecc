"""Tables as LaTeX for a paper, with the cells of the terminal table. Needs ``booktabs`` and ``threeparttable``."""

from __future__ import annotations

import re

from fsg.report.cells import MINUS, NONE, Cell, Grid

_ESCAPES = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    mark: "\\" + mark for mark in "&%$#_{}"
}
_APART = "\0"  # between two marks that a font would join
_SYMBOLS = {
    "±": r"$\pm$",
    MINUS: "$-$",
    NONE: "--",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "·": r"$\cdot$",
    "…": r"\dots{}",
    "<": "$<$",
    ">": "$>$",
    "|": "$|$",
    "★": r"$\star$",
    "▲": r"$\triangle$",
    _APART: "{}",
}
_JOINED = re.compile(r"[-–]{2,}|`{2,}|'{2,}|,{2,}|[?!]`+")  # longer dashes, curly and low quotes, Spanish marks
_OPTIONS = ("[", "*")  # at the start of a row or an \item they would be its option


def grid_latex(grid: Grid, label: str = "tab:comparison") -> str:
    """Any grid as a ``table`` environment: caption with the provenance, best arm bold, notes below."""
    columns = "l" + "r" * (len(grid.headers) - 1)
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{threeparttable}",
        rf"\caption{{{_escape(grid.title)}. {_escape(grid.caption)}.}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(map(_escape, grid.headers)) + r" \\",
        r"\midrule",
        *(" & ".join(map(_cell, row)) + r" \\" for row in grid.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\begin{tablenotes}\footnotesize",
        *(rf"\item {_escape(note)}" for note in grid.notes),
        r"\end{tablenotes}",
        r"\end{threeparttable}",
        r"\end{table}",
        "",
    ]
    return "\n".join(lines)


def _cell(cell: Cell) -> str:
    text = _escape(cell.value)
    if cell.spread:
        text += rf" $\pm$ {_escape(cell.spread)}"
    if cell.mark:
        text += "".join(r"$^{\ast}$" if mark == "*" else _escape(mark) for mark in cell.mark)
    return rf"\textbf{{{text}}}" if cell.best else text


def _escape(text: str) -> str:
    """Text as itself, on one line: what LaTeX commands with, and what its fonts would join to something else."""
    apart = _JOINED.sub(lambda joined: _APART.join(joined[0]), " ".join(text.split()))
    found = "".join(_ESCAPES.get(mark) or _SYMBOLS.get(mark, mark) for mark in apart)
    return "{}" + found if found[:1] in _OPTIONS else found
