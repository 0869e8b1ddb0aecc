"""Text of a user is printed as it was written, by every rendering: questions, names, units, reasons, paths, whatever is in them.

Each rendering is read back by a reader of its language, and what it shows is what was given. Control characters are left out:
YAML refuses them; signs without a width of their own too, such as combining marks: rich leaves a lone one out of a cell.
``FSG_FUZZ=100`` looks longer.
"""

import ast
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fuzzing import looking
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from matplotlib.text import Text as Drawn
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

import fsg
from fsg.execution.engine import Resources
from fsg.record.ledger import StudyState
from fsg.report.cells import Cell, Grid
from fsg.report.csv import _text
from fsg.report.diagnostics import draw_diagnostics
from fsg.report.dry_run import describe_plan
from fsg.report.figures import cost_and_quality, dose_response, forest, learning_curves, save
from fsg.report.latex import grid_latex
from fsg.report.markdown import grid_markdown
from fsg.report.page import html_page
from fsg.report.plain import add_row, plain_console, say
from fsg.report.progress import Display, Progress
from fsg.report.search_figures import all_curves, pareto_pairs
from fsg.report.study_report import StudyReport, make_report
from fsg.report.terminal import TerminalTable
from fsg.report.top import top_configurations
from tests.report.handmade import Metric, arms, state, trial
from tests.report.test_study_report import study

NASTY = [
    "[/0, 2]", "[red]", "[/]", "[link=x]y[/link]", "[", "]", "\\[", "\\", ":smile:", ":warning:", "|", "||", "\\|", "*", "**b**",
    "_i_", "`c`", "~~s~~", "<b>", "</td>", "<script>", "&amp;", "&", "$x$", "$", "$\\frac$", "%", "#", "{", "}", "^", "~", "--",
    "---", "``", "''", "?`", "[a](b)", "![a](b)", "[a]: b", "1.", "2)", "-", "+", ">", "=", "https://a.b/c_d_e", "a@b.c", "★",
    "▲", "–", "−", "±", "≈", "×", "…", "·", "'", '"', "é", "漢", "😀", "x", " ", "  ", "\n", "\t",
]  # fmt: skip
TEXT = st.lists(
    st.sampled_from(NASTY) | st.characters(exclude_categories=["C", "Z"]).filter(cell_len),
    max_size=8,
).map("".join)
WORDS = TEXT.filter(lambda text: text.strip())
LINE = WORDS.map(lambda text: " ".join(text.split()))


def one_line(text):
    return " ".join(text.split())


@st.composite
def grids(draw):
    """A table whose every text is nasty: (grid, its headers, rows, notes, as one line each)."""
    headers = draw(st.lists(WORDS, min_size=1, max_size=3))
    cell = st.builds(
        Cell, TEXT, spread=st.just("") | LINE, mark=st.sampled_from(["", "*", "≈", "▲"]), best=st.booleans()
    )
    rows = draw(st.lists(st.tuples(*(cell for _ in headers)), max_size=2))
    return Grid(
        draw(WORDS), tuple(headers), tuple(rows), tuple(draw(st.lists(WORDS, max_size=2))), draw(WORDS), kept=99
    )


def printed(*renderables, width=4000):
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(*renderables)
    return console.file.getvalue()


def without_space(text):
    return "".join(text.split())


# Terminal -------------------------------------------------------------------------------------------------------------
@given(grid=grids())
@looking(30)
def test_a_table_on_a_terminal_shows_every_text_as_it_is(grid):
    shown = without_space(printed(TerminalTable(grid)))
    for text in (grid.title, *grid.headers, *grid.notes, grid.caption):
        assert without_space(text) in shown
    for row in grid.rows:
        for cell in row:
            assert without_space(cell.value) in shown and without_space(cell.spread) in shown


@given(text=LINE)
@looking(30)
def test_a_line_is_said_as_it_is_on_any_console(text):
    for made in (Console, plain_console):
        console = made(width=4000, file=io.StringIO())
        say(console, text, "yellow")
        table = Table("a")
        add_row(table, text)
        console.print(table)
        shown = without_space(console.file.getvalue())
        assert shown.startswith(without_space(text)) and shown.count(without_space(text)) >= 2
    console = plain_console(width=4000, file=io.StringIO())
    console.print(text, Table(text, title=text))
    assert without_space(console.file.getvalue()).count(without_space(text)) >= 3


@given(reason=LINE, arm=LINE)
@looking(30)
def test_the_display_says_reasons_and_names_as_they_are(reason, arm):
    progress = Progress("small", trials=2, epochs=1, metric="val_accuracy", mode="max")
    for key in ("a", "b"):
        progress.see({"event": "planned", "key": key, "arm": f"{arm}{key}", "seed": 0})
    console = Console(width=4000, file=io.StringIO())
    display = Display(progress, console, lambda: reason)
    for event in ("started", "retried", "started", "epoch", "finished"):
        metrics = {"epoch": 1, "val_accuracy": 90.0}
        display.see({"event": event, "key": "a", "reason": reason, "metrics": metrics, "cause": "lost", "epoch": 1})
    display.see({"event": "damaged", "detail": f"detail {reason}"})
    display.see({"event": "stopped", "reason": f"stop {reason}"})
    display.see({"event": "started", "key": "b"})
    console.print(display._render())
    shown = without_space(console.file.getvalue())
    for text in (f"{arm}a/0: {reason}", f"detail {reason}", f"stop {reason}", f"{arm}b/0", reason):
        assert without_space(text) in shown


def test_a_dry_run_shows_questions_and_choices_as_they_are():
    spec = study(
        base={"model": "digits_cnn", "data": "digits", "gradient": "ste"}, seeds=[0], arms={"a": {}, "b": {"epochs": 1}},
        analysis={"interval": None}, name="st.x",
    )  # fmt: skip
    text = "[/0, 2] :smile:"
    assert text in printed(describe_plan(spec.model_copy(update={"name": text}), Resources()))


def test_every_console_of_the_product_is_a_plain_one():
    """rich reads strings as markup unless its console is told not to: one place makes them, and nothing prints past it."""
    for path in sorted(Path(fsg.__file__).parent.rglob("*.py")):
        names = {
            name.name: node.module
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("rich")
            for name in node.names
        }
        calls = [node.func.id for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]  # fmt: skip
        assert path.name == "plain.py" or "Console" not in calls, path
        assert "print" not in names and "print_json" not in names, path


# Markdown -------------------------------------------------------------------------------------------------------------
def read_markdown(text):
    """What a reader of GitHub's markdown sees: (paragraphs, table's cells by row, list's items)."""
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    paragraphs, rows, items, inside = [], [], [], []
    for token in parser.parse(text):
        inside += [token.type] if token.nesting == 1 else []
        if token.nesting == -1:
            inside.pop()
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("html_block", "code_block", "fence", "hr", "heading_open", "blockquote_open"):
            raise AssertionError(f"{token.type}: {token.content}")
        if token.type == "inline":
            kinds = {child.type for child in token.children} - {
                "text",
                "strong_open",
                "strong_close",
                "em_open",
                "em_close",
            }
            assert kinds <= {"text_special"}, kinds
            shown = "".join(child.content for child in token.children)
            (rows[-1] if rows and "tr_open" in inside else items if "list_item_open" in inside else paragraphs).append(
                shown
            )
    return paragraphs, rows, items


@given(grid=grids())
@looking(80)
def test_markdown_shows_every_text_as_it_is(grid):
    paragraphs, rows, items = read_markdown(grid_markdown(grid))
    assert paragraphs == [one_line(grid.title), one_line(grid.caption)]
    assert rows == [[one_line(h) for h in grid.headers], *([one_line(cell.text) for cell in row] for row in grid.rows)]
    assert items == [one_line(note) for note in grid.notes]


# LaTeX ----------------------------------------------------------------------------------------------------------------
COMMANDS = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\dots{}": "…", r"\&": "&", r"\%": "%",
    r"\$": "$", r"\#": "#", r"\_": "_", r"\{": "{", r"\}": "}", "{}": "", r"$\pm$": "±", "$-$": "−", r"$\times$": "×",
    r"$\approx$": "≈", r"$\cdot$": "·", "$<$": "<", "$>$": ">", "$|$": "|", r"$\star$": "★", r"$\triangle$": "▲", "--": "–",
}  # fmt: skip
READ = re.compile("|".join(re.escape(text) for text in sorted(COMMANDS, key=len, reverse=True)) + "|.", re.S)
JOINED = re.compile(r"---|``|''|,,|[?!]`")  # what TeX's fonts set as one other sign


def read_latex(text):
    assert not JOINED.search(text), text
    pieces = READ.findall(text)
    assert not {piece for piece in pieces if piece not in COMMANDS} & set("\\{}&%$#_~^"), text
    return "".join(COMMANDS.get(piece, piece) for piece in pieces)


@given(grid=grids())
@looking(80)
def test_latex_shows_every_text_as_it_is(grid):
    text = grid_latex(grid)
    title, caption = one_line(grid.title), one_line(grid.caption)
    (said,) = re.findall(r"(?m)^\\caption\{(.*)\}$", text)
    assert read_latex(said) == f"{title}. {caption}."
    head, body = text.partition("\\toprule\n")[2].split("\\midrule\n")
    lines = body.partition("\\bottomrule")[0].splitlines()
    assert len(lines) == len(grid.rows)
    for line, row in zip([head.strip(), *lines], [[Cell(h) for h in grid.headers], *grid.rows], strict=True):
        assert not line.startswith(("[", "*")), "it would be an option of the row before"
        cells = re.split(r"(?<!\\) & ", line.removesuffix(r" \\"))
        assert len(cells) == len(row)
        for found, cell in zip(cells, row, strict=True):
            found = re.sub(r"^\\textbf\{(.*)\}$", r"\1", found) if cell.best else found
            if cell.mark:
                mark = r"$^{\ast}$" if cell.mark == "*" else r"$\approx$" if cell.mark == "≈" else r"$\triangle$"
                assert found.endswith(mark)
                found = found.removesuffix(mark)
            spread = f" ± {one_line(cell.spread)}" if cell.spread else ""
            assert read_latex(found) == one_line(cell.value) + spread
    notes = re.findall(r"(?m)^\\item (.*)$", text)
    assert [read_latex(note) for note in notes] == [one_line(note) for note in grid.notes]
    assert not any(note.startswith("[") for note in notes), "it would be the item's label"


# HTML -----------------------------------------------------------------------------------------------------------------
TAGS = set(
    re.findall(
        r"\w+",
        "html head meta title style script noscript body header main footer section h1 h2 p div button table thead tbody tr "
        "th td span b ul li details summary a figure",
    )
)


class Page(HTMLParser):
    """Tags of a page, and its text by tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.shown, self._open = set(), {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self._open += [] if tag in ("meta", "img") else [tag]
        self.shown.setdefault(tag, []).append("")

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        for tag in self._open:
            self.shown[tag][-1] += data


def _rows(names, others, width):
    """The cells in the order of the table: a row's name, then its others."""
    for place, name in enumerate(names):
        yield from (name, *others[place * (width - 1) : (place + 1) * (width - 1)])


@given(grid=grids(), title=WORDS, question=TEXT)
@looking(30)
def test_a_page_shows_every_text_as_it_is(grid, title, question):
    page = Page(html_page(title, question, [grid]))
    assert page.tags <= TAGS
    assert page.shown["h1"] == [question or title] and page.shown["title"] == [title]
    assert page.shown["p"][0] == grid.caption
    assert page.shown["h2"][0] == grid.title and page.shown["th"][: len(grid.headers)] == list(grid.headers)
    assert page.shown.get("li", []) == list(grid.notes)
    cells = [cell for row in grid.rows for cell in row]
    names = page.shown["th"][len(grid.headers) :]
    found_in_order = list(_rows(names, page.shown.get("td", []), len(grid.headers)))
    for found, cell in zip(found_in_order, cells, strict=True):
        assert found == cell.value + (f" ± {cell.spread}" if cell.spread else "") + (
            f" {cell.mark}" if cell.mark else ""
        )


# CSV and MLflow -------------------------------------------------------------------------------------------------------
@given(name=WORDS, value=TEXT)
@looking(30)
def test_csv_gives_back_every_text(name, value):
    assert list(csv.DictReader(io.StringIO(_text([{name: value}]), newline=""))) == [{name: value}]


@given(grid=grids())
@looking(30)
def test_mlflow_gets_the_cells_as_they_are_and_the_markdown_as_its_note(grid):
    report = StudyReport("s", "q", (grid,), {}, StudyState())
    assert report.rows == [dict(zip(grid.headers, (c.text for c in row), strict=True)) for row in grid.rows]
    assert read_markdown(report.markdown)[2] == [one_line(note) for note in grid.notes]


# Figures --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("text", ["a$b$", "$\\frac$", "$x", "\\$5$", "[/x]", "a_b^c", "100 %", "{"])
def test_figures_show_every_text_as_it_is(text, tmp_path):
    """Between two dollars matplotlib would set a formula, or end with a traceback where it is none."""
    known = arms(**{f"full{text}": (91.0, 92.0), text: (89.0, 90.0)})
    header = {"name": text, "versions": {}}
    spec = study(
        arms={"full": {}}, baselines=["ste"], seeds=[0, 1], metric={"name": "val_accuracy", "mode": "max", "unit": text}
    )
    from fsg.report.comparison import compare

    comparison = compare(
        StudyState(header, known.trials), metric=spec.metric, reference=f"full{text}", baseline=text, device=text
    )
    events = [
        {"event": "layers", "key": key, "epoch": 1, "layers": {text: {"gain": 1.0, "flip_ratio": 0.1}}}
        for key in known.trials
    ]
    doses = {f"full{text}": f"1{text}", text: f"2{text}"}
    points = [trial("-", 0, 90.0 + i, key=f"k{i}{text}", config={"data": {"root": f"{i}{text}"}}) for i in range(2)]
    top = top_configurations(
        StudyState(header, state(*points).trials),
        Metric(unit=text),
        objectives=[Metric("step_ms", "min", text)],
        device=text,
    )
    drawn = [
        forest(comparison, text), learning_curves(comparison, known, "val_accuracy", unit=text), cost_and_quality(comparison),
        dose_response(comparison, text, doses), draw_diagnostics(known, events, text, text),
        all_curves(top, points), pareto_pairs(top),
    ]  # fmt: skip
    for number, figure in enumerate(drawn):
        save(figure, tmp_path / f"{number}.png")
        texts = [found for found in figure.findobj(Drawn) if text in found.get_text()]
        assert texts and not any(found.get_parse_math() for found in texts)


@pytest.mark.parametrize(("low", "high"), [(1.8, 2.5), (0.02, 3.0)], ids=["within a power of ten", "over several"])
def test_a_loss_on_a_logarithmic_axis_has_numbers_beside_it_and_no_formulas(low, high):
    from fsg.report.comparison import compare
    from fsg.report.figures import learning_curves

    curve = {seed: [high, (low * high) ** 0.5, low + seed / 1000] for seed in (0, 1)}
    known = arms(full=(91.0, 92.0), ste=(89.0, 90.0))
    for record in known.trials.values():
        record.epochs = [{"epoch": k + 1, "train_loss": loss} for k, loss in enumerate(curve[record.seed])]
    comparison = compare(known, metric=Metric(), reference="full", baseline="ste")
    (axes,) = learning_curves(comparison, known, "train_loss").axes
    axes.figure.draw_without_rendering()
    labels = [label.get_text() for label in (*axes.get_yticklabels(), *axes.get_yticklabels(minor=True))]
    assert sum(map(bool, labels)) >= 2
    assert all(float(label) > 0 for label in labels if label)


def test_a_report_of_a_study_with_nasty_texts_is_written_whole(tmp_path):
    nasty = "[/0, 2] $x$ | <b> :smile: \\"
    known = arms(full=(91.0, 92.0), ste=(89.0, 90.0))
    known.trials["ste-1"].status, known.trials["ste-1"].reason = "failed", nasty
    unit = {"name": "val_accuracy", "mode": "max", "unit": nasty}
    report = make_report(study(question=nasty, arms={"full": {}}, baselines=["ste"], metric=unit), known)
    files = {path.name: path for path in report.write(tmp_path)}
    said = printed(*report.terminal)
    assert f"val_accuracy [{nasty}]" in said and f"failed: {nasty}" in said
    page = Page(files["report.html"].read_text())
    assert nasty in page.shown["h1"] and f"val_accuracy [{nasty}]" in page.shown["th"]
    assert any(nasty in item for item in read_markdown(report.markdown)[2])
    assert f"failed: {nasty}" in csv.DictReader(io.StringIO(files["seeds.csv"].read_text())).__next__().values() or any(
        nasty in row["missing"] for row in csv.DictReader(io.StringIO(files["seeds.csv"].read_text()))
    )
