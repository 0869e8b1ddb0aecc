"""Judgements, effects of switches, LaTeX, CSV and figures, all of one handmade study with known effects."""

import csv
import io
import math
import re

import pytest
from handmade import Metric, arms, state, trial
from matplotlib.text import Text

from fsg.errors import StudyError
from fsg.report.cells import Cell, Grid
from fsg.report.columns import comparison_grid
from fsg.report.comparison import compare
from fsg.report.csv import comparison_csv, seeds_csv
from fsg.report.factors import factor_grid, factor_report
from fsg.report.figures import (
    BETTER,
    UNCLEAR,
    WIDTH,
    WORSE,
    cost_and_quality,
    forest,
    learning_curves,
    main_effects,
    save,
)
from fsg.report.judgement import judge, judgement_grid
from fsg.report.latex import grid_latex
from fsg.stats.paired import hedges_g, sign_flip_test, t_test

LEVELS = {"full": (1, 1), "no_lre": (1, 0), "no_hgs": (0, 1), "no_hgs_lre": (0, 0)}
NOISE = ((0.1, -0.2, 0.15, 0.05), (-0.1, 0.2, 0.1, -0.15), (0.05, 0.1, -0.1, 0.0), (0.2, -0.1, 0.0, 0.1))


def known(failed=None):
    """hgs is worth 2 points, lre nothing; four seeds; ste equals both switches off."""
    trials = []
    for (arm, (hgs, _)), noise in zip(LEVELS.items(), NOISE, strict=True):
        for seed, error in enumerate(noise):
            status = "failed" if (arm, seed) == failed else "finished"
            trials.append(trial(arm, seed, 90 + 2 * hgs + 3 * seed + error, status=status))
    trials += [trial("ste", seed, 90 + 3 * seed + (0.01, -0.01, 0.02, 0.0)[seed]) for seed in range(4)]
    return state(*trials)


def comparison(study=None, **more):
    more = {"reference": "full", "baseline": "ste", "smallest_effect": 0.5} | more
    return compare(study or known(), metric=Metric(), **more)


# Judgement ------------------------------------------------------------------------------------------------------------
def test_every_statistic_of_an_arm_is_of_its_paired_differences():
    d = [2 + e - s for e, s in zip(NOISE[0], (0.01, -0.01, 0.02, 0.0), strict=True)]
    row = judge(comparison(), "ste")[0]
    assert row.arm == "full" and row.interval.estimate == pytest.approx(sum(d) / 4)
    assert row.g == pytest.approx(hedges_g(d).estimate)
    assert row.sign_flip.p == sign_flip_test(d).p == 0.125
    assert row.verdict.p == pytest.approx(t_test(d).p)
    assert row.bootstrap.low < row.interval.estimate < row.bootstrap.high


def test_the_judgement_says_what_the_exact_tests_cannot_show():
    grid = judgement_grid(comparison(), "full")
    assert [row[0].text for row in grid.rows] == ["no_lre", "no_hgs", "no_hgs_lre", "ste"]
    assert any("cannot give less than 0.125" in note for note in grid.notes)


def test_only_the_reference_and_the_baseline_are_judged_against():
    with pytest.raises(StudyError, match='"no_lre" is neither the reference'):
        judge(comparison(), "no_lre")


def test_one_pair_is_shown_without_any_test():
    grid = judgement_grid(comparison(arms(full=(2.0,), ste=(1.0,))), "ste")
    assert [cell.text for cell in grid.rows[0][:7]] == ["full", "1", "+1.00", "–", "–", "–", "–"]


# Effects --------------------------------------------------------------------------------------------------------------
def test_effects_find_the_switch_that_works_and_the_one_that_does_not():
    report = factor_report(comparison(), ["hgs", "lre"], LEVELS)
    by_name = {effect.name: effect.interval for effect in report.effects}
    assert by_name["hgs"].estimate == pytest.approx(2, abs=0.1) and by_name["hgs"].excludes_zero
    assert not by_name["lre"].excludes_zero and not by_name["hgs × lre"].excludes_zero
    assert report.p_holm[0] < 0.001 < report.p_holm[1]
    assert sum(i.estimate for i in report.shares.shares.values()) == pytest.approx(report.shares.total.estimate)
    grid = factor_grid(comparison(), report)
    assert grid.rows[0][1].text.endswith("*") and grid.rows[0][1].verdict == "better"


def test_a_seed_that_misses_an_arm_stays_out_of_the_effects_and_is_named():
    found = comparison(known(failed=("no_hgs", 2)))
    report = factor_report(found, ["hgs", "lre"], LEVELS)
    assert report.seeds == (0, 1, 3) and report.dropped == (2,)
    assert any(note.startswith("MISSING: seeds 2") for note in factor_grid(found, report).notes)


def test_a_fraction_shows_aliases_and_no_shares():
    levels = {"full": (1, 1, 1), "no_lre": (1, 0, 0), "no_hgs": (0, 1, 0), "no_hgs_lre": (0, 0, 1)}
    report = factor_report(comparison(), ["a", "b", "c"], levels)
    assert report.shares is None and report.effects[0].aliases == ("b × c",)
    assert factor_grid(comparison(), report).headers[-1] == "alias"


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        ({**LEVELS, "gone": (1, 1)}, "this study has no gone"),
        ({"full": (1, 1), "no_lre": (1, 0), "no_hgs": (0, 1)}, "effects cannot be told from these arms"),
    ],
)
def test_arms_that_make_no_design_are_refused(levels, message):
    with pytest.raises(StudyError, match=message):
        factor_report(comparison(), ["hgs", "lre"], levels)


def test_effects_need_two_whole_seeds():
    one = arms(**{arm: (1.0,) for arm in LEVELS}, ste=(1.0,))
    with pytest.raises(StudyError, match="2 seeds that finished every arm of the design; 1 did"):
        factor_report(comparison(one), ["hgs", "lre"], LEVELS)


# LaTeX ----------------------------------------------------------------------------------------------------------------
def test_latex_has_every_row_and_closes_what_it_opens():
    grid = comparison_grid(comparison())
    text = grid_latex(grid)
    open_now: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            open_now.append(name)
        else:
            assert open_now.pop() == name
    assert not open_now
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert body.count(r"\\") == len(grid.rows)
    assert all(line.count("&") == len(grid.headers) - 1 for line in body.strip().splitlines())
    assert r"no\_hgs" in body
    assert r"\textbf{" not in body, "no arm is told from all others"


def test_latex_escapes_what_latex_would_read():
    grid = Grid("a_b 5% #1", ("x&y",), ((Cell("{~^\\$}"),),), ("–≈",), "c")
    text = grid_latex(grid)
    assert r"a\_b 5\% \#1" in text and r"x\&y" in text and r"--$\approx$" in text
    assert r"\{\textasciitilde{}\textasciicircum{}\textbackslash{}\$\}" in text
    assert all(ord(mark) < 128 for mark in grid_latex(comparison_grid(comparison())))


# CSV ------------------------------------------------------------------------------------------------------------------
def test_csv_keeps_full_precision_and_says_where_numbers_come_from():
    found = comparison()
    rows = list(csv.DictReader(io.StringIO(comparison_csv(found))))
    assert [row["arm"] for row in rows] == [row.arm for row in found.rows]
    assert float(rows[0]["vs_baseline_low"]) == found.rows[0].vs_baseline.low
    assert (
        rows[0]["vs_reference"] == "" and rows[0]["budget"] == "3 epochs per trial" and rows[0]["interval_kind"] == "t"
    )


def test_csv_leaves_the_interval_of_one_seed_empty():
    (row, _) = csv.DictReader(io.StringIO(comparison_csv(comparison(arms(full=(2.0,), ste=(1.0,))))))
    assert (row["mean"], row["mean_low"], row["mean_high"], row["mean_n"]) == ("2.0", "", "", "1")


def test_seeds_csv_has_every_seed_and_says_why_one_is_missing():
    rows = list(csv.DictReader(io.StringIO(seeds_csv(comparison(known(failed=("no_hgs", 2)))))))
    assert len(rows) == 20
    (missing,) = [row for row in rows if row["missing"]]
    assert (missing["arm"], missing["seed"], missing["val_accuracy"], missing["missing"]) == (
        "no_hgs",
        "2",
        "",
        "failed",
    )


# Figures --------------------------------------------------------------------------------------------------------------
def test_forest_draws_each_interval_where_the_table_has_it():
    found = comparison()
    (axes,) = forest(found, "ste").axes
    lines = [line for line in axes.lines if len(line.get_xdata()) == 2 and line.get_linewidth() == 2]
    drawn = [tuple(line.get_xdata()) for line in lines]
    assert drawn == [(r.vs_baseline.low, r.vs_baseline.high) for r in found.rows if r.vs_baseline]
    assert axes.get_yticklabels()[0].get_text() == "full  n=4"
    assert [line.get_color() for line in lines] == [BETTER, BETTER, UNCLEAR, UNCLEAR]


def test_forest_of_a_loss_colours_a_rise_as_worse():
    found = compare(known(), metric=Metric(mode="min"), reference="full", baseline="ste")
    (axes,) = forest(found, "ste").axes
    assert WORSE in [line.get_color() for line in axes.lines]


def test_learning_curves_are_means_over_finished_seeds():
    study = known(failed=("full", 0))
    (axes,) = learning_curves(comparison(study), study, "train_loss").axes
    assert len(axes.lines) == 4
    assert axes.lines[0].get_ydata().tolist() == pytest.approx([2.0, 1.0, 0.5])
    assert {text.get_text() for text in axes.texts} >= {"full", "ste"}


def test_main_effects_show_effects_and_shares():
    report = factor_report(comparison(), ["hgs", "lre"], LEVELS)
    (axes,) = main_effects(comparison(), report).axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["hgs", "lre", "hgs × lre"]
    assert len(axes.collections) == 2


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_is_the_same_file(tmp_path, ending):
    first, second = (save(forest(comparison(), "ste"), tmp_path / f"{i}.{ending}").read_bytes() for i in (1, 2))
    assert first == second and len(first) > 1000


def test_figures_that_cannot_be_drawn_are_refused():
    with pytest.raises(StudyError, match="neither the reference nor the baseline"):
        forest(comparison(), "no_lre")
    with pytest.raises(StudyError, match="no finished trial recorded"):
        learning_curves(comparison(), state(trial("full", 0, 1.0, status="failed")), "train_loss")
    with pytest.raises(StudyError, match="no arm gone"):
        learning_curves(comparison(), known(), "train_loss", ["gone"])
    nothing = state(trial("full", 0, 1.0, status="failed"), trial("ste", 0, 1.0))
    with pytest.raises(StudyError, match="shares a finished seed"):
        forest(comparison(nothing), "ste")


def test_one_seed_is_drawn_without_interval():
    (axes,) = forest(comparison(arms(full=(2.0,), ste=(1.0,))), "ste").axes
    assert not any(math.isnan(x) for line in axes.lines for x in line.get_xdata())


@pytest.mark.parametrize("columns", [1, 2])
def test_figures_are_as_wide_as_the_columns_of_a_paper_and_no_two_names_touch(tmp_path, columns):
    crowd = {f"arm_number_{i}": tuple(90 + 0.02 * i + 0.3 * s for s in range(3)) for i in range(9)}
    study = arms(**crowd)
    found = compare(study, metric=Metric(), reference="arm_number_0", baseline="arm_number_1")
    names = list(crowd)[:8]
    drawn = [
        forest(found, "arm_number_1", columns),
        learning_curves(found, study, "val_accuracy", names, columns=columns),
        cost_and_quality(found, columns),
    ]
    for number, figure in enumerate(drawn):
        path = save(figure, tmp_path / f"{number}.svg")
        width = float(re.search(r'<svg[^>]* width="([\d.]+)pt"', path.read_text())[1]) / 72
        assert width <= WIDTH[columns] + 0.1, number
        boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]  # without its line to the point
        assert not [(a, b) for i, a in enumerate(boxes) for b in boxes[:i] if a.padded(-3).overlaps(b.padded(-3))]
