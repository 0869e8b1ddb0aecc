"""A report as one self-contained page: tables and drawings inside the file, nothing fetched, nothing run."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path

from fsg.report.cells import Cell, Grid

_STYLE = """
:root { color-scheme: light; --ink: #1f2933; --faint: #e4e7eb; --good: #18794e; --bad: #b42318; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1000px; margin: 2.5rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0; }
th, td { padding: .25rem .7rem; text-align: right; border-bottom: 1px solid var(--faint); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { border-bottom: 2px solid var(--ink); font-weight: 600; }
td.best { font-weight: 700; } td.better { color: var(--good); } td.worse { color: var(--bad); }
td .spread { color: #7b8794; } .notes { color: #52606d; font-size: .86rem; padding-left: 1.1rem; }
.missing { color: var(--bad); font-weight: 600; } .caption { color: #7b8794; font-size: .82rem; }
img { max-width: 100%; } .scroll { overflow-x: auto; }
"""


def html_page(
    title: str,
    question: str,
    grids: Iterable[Grid],
    drawings: Iterable[tuple[str, Path]],
    details: Iterable[Grid] = (),
) -> str:
    """The page: each grid under its title, each drawing (name, SVG or PNG file) embedded, then what stands behind them."""
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(question)}</p>"]
    body += [_grid(grid) for grid in grids]
    for name, path in drawings:
        kind = "svg+xml" if path.suffix == ".svg" else "png"
        data = base64.b64encode(path.read_bytes()).decode()
        body.append(f'<h2>{escape(name)}</h2><img alt="{escape(name)}" src="data:image/{kind};base64,{data}">')
    body += [_grid(grid) for grid in details]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{_STYLE}</style></head><body>{"".join(body)}</body></html>\n'


def _grid(grid: Grid) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in grid.headers)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in grid.rows)
    notes = "".join(
        f"<li{' class=missing' if note.startswith(('MISSING', 'NOT PAIRED')) else ''}>{escape(note)}</li>"
        for note in grid.notes
    )
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    return f'<h2>{escape(grid.title)}</h2>{table}<ul class="notes">{notes}</ul><p class="caption">{escape(grid.caption)}</p>'


def _cell(cell: Cell) -> str:
    classes = " ".join(filter(None, [cell.verdict, "best" if cell.best else ""]))
    spread = f' <span class="spread">± {escape(cell.spread)}</span>' if cell.spread else ""
    mark = f" <b>{escape(cell.mark)}</b>" if cell.mark else ""
    return f"<td{f' class={classes!r}' if classes else ''}>{escape(cell.value)}{spread}{mark}</td>"
