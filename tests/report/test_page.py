"""The report page in a real browser: read, sorted, drawn, walked through by keyboard, taken along; and nothing sent."""

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from handmade import Metric, state, trial
from test_evidence import known
from test_study_report import study
from test_top import configured

from fsg.report.study_report import StudyReport, make_report
from fsg.report.top import top_configurations

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium():
    """One browser for all tests of this file."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@dataclass
class Opened:
    """A page in the browser, with what it said on its console and asked of anyone but its own file."""

    page: object
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(chromium, tmp_path):
    """Writes a report's page and opens it; when the test ends, nothing was said on the console and nothing was fetched."""
    opened = []

    def open_one(report, theme="light", width=1100):
        file = report.write_page(tmp_path)
        page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=theme)
        one = Opened(page)
        page.on("console", lambda message: one.said.append(message.text))
        page.on("pageerror", lambda error: one.said.append(str(error)))
        page.on("request", lambda request: one.requests.append(request.url))
        page.goto(file.as_uri())
        opened.append((one, file.as_uri()))
        return page

    yield open_one
    for one, address in opened:
        one.page.close()
        assert one.said == []
        assert [url for url in one.requests if url != address and not url.startswith(("data:", "blob:"))] == []


COMPONENTS = {
    "question": "Which part earns its keep?",
    "design": {"kind": "full_factorial", "switches": ["hgs", "lre"]},
    "baselines": ["ste"],
    "seeds": [0, 1, 2, 3],
    "analysis": {"smallest_effect_of_interest": 0.5},
}


@pytest.fixture(scope="module")
def report():
    """hgs is worth 2 points, lre nothing."""
    return make_report(study(**COMPONENTS), known())


def test_the_first_screen_answers_the_question_in_one_sentence_with_its_interval(open_page, report):
    page = open_page(report)
    assert page.locator("h1").inner_text() == "Which part earns its keep?"
    answer = page.locator(".answer")
    assert answer.inner_text().split("\n")[-1].strip().startswith("full is better than ste: its val_accuracy is 2.0")
    assert "95% interval" in answer.inner_text() and answer.bounding_box()["y"] < 400
    assert "hgs is worth +1.99" in page.locator(".more").inner_text()


def test_tables_are_sorted_by_their_headers_and_say_so(open_page, report):
    page = open_page(report)
    table = page.locator("main table").first
    names = lambda: table.locator("tbody th").all_inner_texts()  # noqa: E731
    by_design = names()
    head = table.locator("thead th", has_text="vs full")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending" and names()[0] == "no_lre" and names()[-1] == "full"
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending" and names()[-2:] == ["no_lre", "full"], "no number: below"
    table.locator("thead th button").first.click()
    assert head.get_attribute("aria-sort") is None and names() == sorted(by_design)


def test_every_arm_seed_and_curve_has_its_mark(open_page, report):
    page = open_page(report)
    assert page.locator("#differences .mark").count() == 4 and page.locator("#differences .dot").count() == 16
    assert page.locator("#curves .mark").count() == 4 == page.locator("#curves input:checked").count()
    assert page.locator("#effects .mark").count() == 3
    page.get_by_role("checkbox", name="no_hgs_lre").check()
    assert page.locator("#curves .mark").count() == 5
    page.get_by_role("button", name="against full").click()
    names = [
        label.split(",")[0]
        for label in page.locator("#differences .mark").evaluate_all("all => all.map(m => m.ariaLabel)")
    ]
    assert names == ["no_lre", "no_hgs", "no_hgs_lre", "ste"]


def test_marks_say_their_values_to_who_hovers_and_to_who_uses_the_keyboard(open_page, report):
    page = open_page(report)
    first, tip = page.locator("#differences .mark").first, page.locator("#tip")
    first.hover()
    assert tip.inner_text().startswith("full\n+2.0") and "4 seeds" in tip.inner_text()
    first.focus()
    page.keyboard.press("ArrowDown")
    assert tip.inner_text().startswith("no_lre\n") and page.evaluate("document.activeElement.ariaLabel").startswith(
        "no_lre, "
    )
    assert page.locator("#differences [tabindex='0']").count() == 1, "one stop of the Tab key for the whole chart"
    page.keyboard.press("Escape")
    assert not tip.is_visible()
    page.locator("#curves svg rect[tabindex]").focus()
    page.keyboard.press("ArrowLeft")
    assert tip.inner_text().startswith("epoch 2\n") and "ste" in tip.inner_text()


def test_a_chart_can_be_read_as_a_table(open_page, report):
    page = open_page(report)
    page.locator("#differences summary").click()
    rows = page.locator("#differences tbody tr")
    rows.first.wait_for()
    assert rows.count() == 4 and rows.first.inner_text().split()[0] == "full"


def test_tables_and_pictures_can_be_taken_along(open_page, report):
    page = open_page(report, theme="dark")
    assert {"comparison.csv", "seeds.csv", "comparison.tex"} <= set(page.locator(".take a").all_inner_texts())
    with page.expect_download() as download:
        page.get_by_role("link", name="comparison.csv").click()
    assert Path(download.value.path()).read_text() == report.files["comparison.csv"]
    with page.expect_download() as download:
        page.locator("#differences").get_by_role("button", name="SVG, one column").click()
    svg = Path(download.value.path()).read_text()
    assert download.value.suggested_filename == "differences-one-column.svg"
    assert 'width="3.35in"' in svg and "var(" not in svg and "class=" not in svg
    assert "rgb(0, 118, 90)" in svg, "in the light colours, whatever the page shows"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_both_themes_can_be_read_and_the_button_changes_them(open_page, report, theme):
    page = open_page(report, theme)
    assert _contrast(page) >= 7
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before and _contrast(page) >= 7


def test_on_a_phone_nothing_but_a_table_is_wider_than_the_screen(open_page, report):
    page = open_page(report, width=390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#differences svg").first.bounding_box()["width"] <= 390


def test_names_beside_points_and_curves_do_not_collide(open_page):
    close = {f"arm_{i}": 90 + 0.01 * i for i in range(8)}
    trials = [
        trial(arm, s, v + 0.3 * s, step_ms=(9.0, 4.0 + i / 500, 4.0 + i / 500))
        for i, (arm, v) in enumerate(close.items())
        for s in (0, 1)
    ]
    spec = study(
        arms={arm: {"optimizer": {"lr": 0.1 + i}} for i, arm in enumerate(close) if i}, baselines=["ste"], seeds=[0, 1]
    )
    trials += [trial("ste", s, 89.9 + 0.3 * s) for s in (0, 1)]
    page = open_page(make_report(spec, state(*(t for t in trials if t.arm != "arm_0"))))
    for chart in ("#cost", "#curves"):
        boxes = page.locator(f"{chart} figure > svg text:not(.soft)").evaluate_all(
            "all => all.filter(t => t.textContent).map(t => t.getBBox()).map(b => [b.x, b.y, b.x + b.width, b.y + b.height])"
        )
        assert len(boxes) >= 4
        touching = [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if _overlap(a, b)]
        assert touching == []


def test_a_thousand_trials_are_drawn_in_under_two_seconds_on_a_page_of_under_two_megabytes(open_page, tmp_path):
    points = [
        configured(10 ** (-4 + 3 * i / 1000), 0, 90 + i % 7, status="finished" if i % 3 else "pruned")
        for i in range(1000)
    ]
    known = state(*points)
    report = StudyReport("search", "", (), {}, known, ranking=top_configurations(known, Metric()))
    page = open_page(report)
    drawn = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000
    assert page.locator("#trials figure > svg .mark").count() == 1000
    assert page.locator("#curves figure > svg .mark").count() == 1000
    assert drawn < 2, f"{drawn:.2f} s"
    assert (tmp_path / "report.html").stat().st_size < 2e6
    assert len(json.loads(page.locator("#data").inner_text())) == 2
    page.get_by_role("button", name="optimizer.lr").click()
    assert page.locator("#trials figure > svg .mark.best").count() == 1


def _contrast(page):
    """The contrast of text and background, as WCAG counts it; 7 is its strictest level."""

    def light(colour):
        parts = [int(part) / 255 for part in colour[4:-1].split(",")]
        r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05

    look = "s => [s.color, s.backgroundColor]"
    ink, paper = map(light, page.evaluate(f"({look})(getComputedStyle(document.body))"))
    return max(ink, paper) / min(ink, paper)


def _overlap(a, b):
    """Whether two boxes share more than the empty edge around letters."""
    return min(a[2], b[2]) - max(a[0], b[0]) > 1 and min(a[3], b[3]) - max(a[1], b[1]) > 4
