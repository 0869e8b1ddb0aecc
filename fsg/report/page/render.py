"""Writes the page: the answer, tables with real table semantics, a place for each chart, and all data inside the file.

Without a script everything but the charts can still be read. A content policy forbids the page every request.
Proof: ``tests/report/test_page.py``, ``tests/report/test_as_written.py``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from fsg.report.answer import Answer
from fsg.report.cells import MINUS, NONE, Cell, Grid
from fsg.report.exercised import REFUSED
from fsg.report.page.charts import Chart

_HERE = Path(__file__).parent
MOST_IMAGES = 1_000_000  # bytes of drawings that are embedded, half of what the page may have
_NUMBER = re.compile(r"[<+]?(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?:[ /(%].*)?")
_URGENT = ("MISSING", "NOT PAIRED", "NOT COMPARABLE")  # notes that nobody should have to unfold
_ENDS = ("reference", "baseline", REFUSED, NONE, "")  # cells of a column of numbers that hold none


def html_page(
    title: str,
    question: str,
    grids: Iterable[Grid],
    *,
    answers: Sequence[Answer] = (),
    more: Sequence[str] = (),
    charts: Sequence[Chart] = (),
    images: Iterable[tuple[str, Path]] = (),
    details: Iterable[Grid] = (),
    files: Mapping[str, str] | None = None,
) -> str:
    """The page as text. ``answers`` come first, ``more`` sentences below them; ``images`` (name, SVG or PNG) are embedded.

    ``grids`` are open, ``details`` behind a fold; ``files`` (name, text) can be downloaded from it.
    """
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return Template((_HERE / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(title),
        question=escape(question or title),
        style=(_HERE / "page.css").read_text(encoding="utf-8"),
        policy=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        answers="".join(map(_answer, answers)) + "".join(f'<p class="more">{escape(text)}</p>' for text in more),
        tables="".join(f"<section>{_grid(grid, level=2)}</section>" for grid in grids),
        charts="".join(_place(number, chart) for number, chart in enumerate(charts)),
        images="".join(_images(images)),
        behind=_behind(details),
        files="".join(_download(name, text) for name, text in (files or {}).items()),
        data=json.dumps(charts, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c"),
        script=script,
    )


def _behind(details: Iterable[Grid]) -> str:
    folds = "".join(f"<details><summary>{escape(grid.title)}</summary>{_grid(grid)}</details>" for grid in details)
    return f'<section class="behind"><h2>What stands behind it</h2>{folds}</section>' if folds else ""


def _answer(answer: Answer) -> str:
    name, sentence = (
        answer.finding.replace(" ", "-"),
        escape(answer.sentence).replace(" ± ", "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"),
    )
    return f'<p class="answer {name}"><b class="finding">{escape(answer.finding)}</b> {sentence}</p>'


def _place(number: int, chart: Chart) -> str:
    """Where the script draws a chart, under a heading that is there without it."""
    name = escape(chart["id"])
    head = f'<h2 id="{name}-title">{escape(chart["title"])}</h2><p class="about">{escape(chart["about"])}</p>'
    return (
        f'<section id="{name}">{head}<figure data-chart="{number}" aria-labelledby="{name}-title"></figure></section>'
    )


def _images(images: Iterable[tuple[str, Path]]) -> Iterable[str]:
    room = MOST_IMAGES
    for name, path in images:
        data = path.read_bytes()
        room -= len(data)
        if room < 0:
            note = f"Too large for this page: {path.name} beside it."
            yield f'<section><h2>{escape(name)}</h2><p class="about">{escape(note)}</p></section>'
            continue
        kind = "svg+xml" if path.suffix == ".svg" else "png"
        source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
        yield f'<section><h2>{escape(name)}</h2><img alt="{escape(name)}" src="{source}"></section>'


def _download(name: str, text: str) -> str:
    data = base64.b64encode(text.encode()).decode()
    return f'<a class="button" download="{escape(name)}" href="data:text/plain;base64,{data}">{escape(name)}</a>'


# Tables ---------------------------------------------------------------------------------------------------------------
def _grid(grid: Grid, level: int = 0) -> str:
    """A table, its notes and its caption; under its title as a heading where ``level`` is given."""
    numeric = [place > 0 and _is_numeric([row[place] for row in grid.rows]) for place in range(len(grid.headers))]
    head = "".join(f'<th scope="col">{escape(header)}</th>' for header in grid.headers)
    rows = "".join(f"<tr>{''.join(map(_cell, row, range(len(row)), numeric))}</tr>" for row in grid.rows)
    urgent = [note for note in grid.notes if note.startswith(_URGENT)]
    calm = [note for note in grid.notes if not note.startswith(_URGENT)]
    notes = _notes(urgent, "missing")
    if calm:
        notes += f'<details class="read"><summary>How to read this table</summary>{_notes(calm, "calm")}</details>'
    title = escape(grid.title)
    table = f'<table aria-label="{title}"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'
    heading = f"<h{level}>{title}</h{level}>" if level else ""
    region = f'<div class="scroll" role="region" aria-label="{title}" tabindex="0">{table}</div>'
    return f'{heading}{region}{notes}<p class="caption">{escape(grid.caption)}</p>'


def _notes(notes: Sequence[str], kind: str) -> str:
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes {kind}">{items}</ul>' if notes else ""


def _cell(cell: Cell, place: int, numeric: bool) -> str:
    classes = " ".join(filter(None, [cell.verdict, "best" if cell.best else ""]))
    spread = f' <span class="spread">± {escape(cell.spread)}</span>' if cell.spread else ""
    mark = f" <b>{escape(cell.mark)}</b>" if cell.mark else ""
    value = _value(cell) if numeric else None
    attributes = (f' class="{classes}"' if classes else "") + (f' data-value="{value}"' if value is not None else "")
    if place == 0:
        return f'<th scope="row"{attributes}>{escape(cell.value)}{spread}{mark}</th>'
    return f"<td{attributes}>{escape(cell.value)}{spread}{mark}</td>"


def _is_numeric(column: Sequence[Cell]) -> bool:
    return all(_value(cell) is not None or cell.value in _ENDS for cell in column)


def _value(cell: Cell) -> str | None:
    """The number that a column is sorted by: the cell's first."""
    found = _NUMBER.fullmatch(cell.value.replace(MINUS, "-"))
    return found[1] if found else None
