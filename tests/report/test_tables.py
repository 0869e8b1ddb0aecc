import io
import re

import pytest
from handmade import Metric, arms, state, trial
from rich.console import Console

from fsg.report.cells import number
from fsg.report.columns import comparison_grid
from fsg.report.comparison import compare
from fsg.report.markdown import comparison_markdown
from fsg.report.study_report import make_report
from fsg.report.terminal import render_comparison
from tests.report.test_study_report import study as spec

STUDY = arms(
    full=(91.0, 92.0, 93.5), no_hgs_fsg_lre=(88.0, 89.5, 90.0), ste=(90.0, 90.5, 92.0), multi_fc=(70.0, 80.0, 91.0)
)


def comparison(study=STUDY, **more):
    return compare(study, metric=Metric(), reference="full", baseline="ste", smallest_effect=0.5, **more)


def printed(renderable, width):
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    console.print(renderable)
    return console.export_text()


def test_markdown_and_terminal_show_the_same_cells():
    grid = comparison_grid(comparison())
    markdown = comparison_markdown(comparison()).replace("**", "").replace("\\", "")
    terminal = re.sub(" +", " ", printed(render_comparison(comparison()), 120))
    for row in grid.rows:
        for cell in row:
            assert cell.text in markdown and cell.text in terminal


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_no_line_of_the_table_is_wider_than_the_terminal(width):
    text = printed(render_comparison(comparison()), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(arm in text for arm in ("full", "no_hgs_fsg_lre", "ste", "multi_fc"))


def test_120_columns_hold_one_line_per_arm_and_80_hold_every_column():
    wide, narrow = (printed(render_comparison(comparison()), width) for width in (120, 80))
    assert re.search(r"full +3 +92\.\d ± +\d+\.\d +90\.0 ± 0\.0 +reference +\+1\.\d ± +\d\.\d", wide)
    assert "Left out" not in narrow and "step" in narrow and "±" in narrow


CLEAR = arms(full=(91.0, 92.0, 93.5, 92.5), ste=(80.0, 80.5, 82.0, 81.4))


UNCLEAR = arms(full=(91.0, 92.0, 93.5, 92.5), ste=(90.0, 94.0, 91.0, 90.5))


@pytest.mark.parametrize(("study", "starred"), [(CLEAR, True), (UNCLEAR, False)])
def test_star_and_bold_stand_in_every_rendering_only_where_tests_tell_the_best(study, starred, tmp_path):
    report = make_report(spec(arms={"full": {}}, baselines=["ste"]), study)
    assert (f"full {'★ ' if starred else '  '}" in printed(report.terminal[0], 120)) and ("full" in report.markdown)
    files = {path.name: path.read_text() for path in report.write(tmp_path, drawings=False)}
    assert ("| **full** | " in files["comparison.md"]) == starred
    assert (r"\textbf{full}" in files["comparison.tex"]) == starred
    assert ('<th scope="row" class="best">full</th>' in files["report.html"]) == starred
    assert ("| **full** | " in report.markdown) == starred, "what MLflow shows"


def test_columns_left_out_for_width_are_named():
    assert "Left out, for want of width:" in printed(render_comparison(comparison()), 45)


def test_a_missing_trial_is_shown_in_every_rendering():
    study = state(trial("full", 0, 1.0), trial("full", 1, 1.0, status="failed", reason="loss is NaN"),
                  trial("ste", 0, 1.0), trial("ste", 1, 1.0))  # fmt: skip
    assert "1/2" in comparison_markdown(comparison(study)) and "MISSING in full" in comparison_markdown(
        comparison(study)
    )
    assert "1/2" in printed(render_comparison(comparison(study)), 120)
    assert "MISSING in full: seed 1 failed: loss is NaN" in printed(render_comparison(comparison(study)), 200)


def test_a_difference_is_judged_by_its_interval_and_the_direction_of_the_metric():
    better = arms(full=(10.0, 11.0, 12.1), ste=(1.0, 2.0, 3.0))  # differences 9, 9, 9.1
    for mode, verdict in (("max", "better"), ("min", "worse")):
        grid = comparison_grid(compare(better, metric=Metric(mode=mode), reference="full", baseline="ste"))
        assert grid.rows[0][5].verdict == verdict
    grid = comparison_grid(comparison(arms(full=(1.0, 5.0), ste=(2.0, 3.0))))
    assert grid.rows[0][5].verdict == ""


def test_the_spread_decides_the_decimals():
    fine = comparison_grid(comparison(arms(full=(91.00, 91.02, 91.04), ste=(90.00, 90.03, 90.05))))
    assert fine.rows[0][2].text == "91.02 ± 0.05"
    coarse = comparison_grid(comparison(arms(full=(81.0, 91.0, 95.0), ste=(70.0, 90.0, 80.0))))
    assert coarse.rows[0][2].text == "89.0 ± 17.9"


def test_minus_zero_is_zero():
    assert number(-0.001, 1, sign=True) == "0.0"
    assert number(-1.25, 1, sign=True) == "−1.2"


def test_markdown_marks_in_names_are_escaped():
    study = state(trial("a|b_c*", 0, 1.0), trial("ste", 0, 2.0))
    text = comparison_markdown(compare(study, metric=Metric(), reference="a|b_c*", baseline="ste"))
    assert r"a\|b\_c\*" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1


def test_one_seed_shows_its_value_without_interval():
    assert comparison_grid(comparison(arms(full=(91.0,), ste=(90.0,)))).rows[0][2].text == "91.00"
