"""The report of a study: sequential seeds, blocks, published numbers, effects, the page."""

import json
import re
from pathlib import Path

import pytest

from fsg.errors import StudyError
from fsg.report.diagnostics import draw_diagnostics
from fsg.report.figures import cost_and_quality, dose_response
from fsg.report.published import published_grid
from fsg.report.study_report import make_report
from fsg.stats.sequential import plan_looks
from fsg.study.spec import load_study, parse_study
from fsg.yaml_source import YamlSource
from tests.report.handmade import arms, state, trial

METRIC = {"name": "val_accuracy", "mode": "max", "unit": "%"}


def study(**over):
    data = {"name": "s", "question": "Q?", "base": {"gradient": "fsg"}, "seeds": [0, 1, 2], "metric": METRIC, **over}
    return parse_study(YamlSource(Path("s.yaml"), data))


FACTORIAL = {"design": {"kind": "full_factorial", "switches": ["hgs", "lre"]}, "baselines": ["ste"]}


def factorial_state():
    return arms(
        full=(92.0, 93.0, 94.5),
        no_lre=(91.0, 92.5, 93.0),
        no_hgs=(90.0, 91.0, 92.0),
        no_hgs_lre=(90.0, 90.5, 92.0),
        ste=(89.0, 90.0, 91.5),
    )


def test_every_rendering_is_written_and_the_page_holds_its_drawings_itself(tmp_path):
    paths = make_report(study(**FACTORIAL), factorial_state()).write(tmp_path)
    names = {p.name for p in paths}
    assert {"comparison.md", "comparison.tex", "comparison.csv", "seeds.csv", "report.html"} <= names
    assert {
        "forest_full.svg",
        "forest_ste.svg",
        "effects.svg",
        "curves_val_accuracy.svg",
        "curves_train_loss.svg",
        "cost_and_quality.svg",
    } <= names
    page = (tmp_path / "report.html").read_text()
    assert page.count("data-chart=") == 4, "differences, curves, effects, costs"
    assert not re.search(r"(src|href)=.?https?:|url\([^#]|@import", page)
    assert "Q?" in page


DOSES = {"design": {"kind": "dose_response", "path": "gradient.length", "values": [20, 1, 5]}, "baselines": ["ste"]}


def dose_report():
    known = arms(length_20=(91.0, 92.0), length_1=(90.0, 91.0), length_5=(92.0, 93.0), ste=(89.0, 90.0))
    return make_report(study(seeds=[0, 1], analysis={"reference": "length_1"}, **DOSES), known)


def test_a_dose_response_is_drawn_in_the_order_of_its_doses_with_the_baseline_as_a_line():
    (block,) = dose_report().blocks
    axes = dose_response(block.comparison, *block.doses).axes[0]
    (curve,) = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert list(curve.get_xdata()) == [1, 5, 20] and list(curve.get_ydata()) == [90.5, 92.5, 91.5]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "gradient.length"
    assert [line.get_ydata()[0] for line in axes.lines if line.get_label() == "ste"] == [89.5]


def test_a_dose_without_a_finished_trial_is_left_out_and_one_alone_is_no_response():
    known = arms(length_1=(90.0, 91.0), length_5=(92.0, 93.0), ste=(89.0, 90.0))
    known.trials["length_5-0"].status = known.trials["length_5-1"].status = "failed"
    (block,) = make_report(study(seeds=[0, 1], analysis={"reference": "length_1"}, **DOSES), known).blocks
    with pytest.raises(StudyError, match=r"fewer than 2 values of gradient\.length have a finished trial"):
        dose_response(block.comparison, *block.doses)


def test_quality_stands_against_the_time_of_a_step_relative_to_the_baseline():
    values = {"full": (92.0, 93.0), "ste": (89.0, 90.0)}
    known = state(
        *(trial(arm, s, v, step_ms=(3.0, 6.0, 6.0) if arm == "full" else (9.0, 3.0, 3.0))
          for arm, of_seed in values.items() for s, v in enumerate(of_seed))
    )  # fmt: skip
    (block,) = make_report(study(seeds=[0, 1], arms={"full": {}}, baselines=["ste"]), known).blocks
    axes = cost_and_quality(block.comparison).axes[0]
    points = {(line.get_xdata()[0], line.get_ydata()[0]) for line in axes.lines if line.get_marker() == "o"}
    assert points == {(2.0, 92.5), (1.0, 89.5)}
    assert {text.get_text() for text in axes.texts} == {"full", "ste"}


def test_every_mark_of_a_cell_stands_on_the_page():
    from fsg.report.cells import Cell, Grid
    from fsg.report.page import html_page

    page = html_page("t", "q", [Grid("g", ("arm", "vs"), ((Cell("a"), Cell("+1.0", "0.2", "*≈")),), (), "c")])
    assert "<b>*≈</b>" in page


def test_equal_time_says_what_an_epoch_of_each_arm_costs_and_what_each_was_given():
    fairness = {"equal": "time", "costs": {"full": 3.0, "ste": 1.5}}
    spec = study(seeds=[0, 1], arms={"full": {}}, baselines=["ste"], fairness=fairness)
    known = state(
        *(trial("full", s, 90.0 + s, step_ms=(2.0,) * 3) for s in (0, 1)),
        *(trial("ste", s, 89.0 + s, losses=(1.0,) * 6, step_ms=(1.0,) * 6) for s in (0, 1)),
    )
    grid = make_report(spec, known).grids[0]
    assert grid.headers[-2:] == ("epochs", "time ×")
    assert [[cell.text for cell in row[-2:]] for row in grid.rows] == [["3", "1.00"], ["6", "1.00"]]
    assert any("Equal training time" in note and "full 3 s, ste 1.5 s" in note for note in grid.notes)
    assert "3 to 6 epochs per trial (equal training time)" in grid.caption


def test_the_analysis_of_variance_stands_behind_the_effects():
    report = make_report(study(**FACTORIAL), factorial_state())
    (grid,) = [g for g in report.grids if "analysis of variance" in g.title]
    assert [row[0].text for row in grid.rows] == ["seed", "hgs", "lre", "hgs × lre", "residual", "total"]
    assert [row[1].text for row in grid.rows] == ["2", "1", "1", "1", "6", "11"]


def test_curves_are_compared_by_their_area_over_the_same_epochs_and_not_over_others():
    known = state(
        *(trial("full", s, 90.0 + s) for s in (0, 1)),
        *(trial("ste", s, 88.0 + 2 * s) for s in (0, 1)),
        *(trial("fast", s, 90.0, losses=(1.0,) * 2, step_ms=(1.0,) * 2) for s in (0, 1)),
    )
    spec = study(seeds=[0, 1], arms={"full": {}, "fast": {"gradient": {"hgs": False}}}, baselines=["ste"])
    grid = next(g for g in make_report(spec, known).grids if g.title.endswith("against ste"))
    assert grid.headers[-1] == "area"
    cells = {row[0].text: row[-1].value for row in grid.rows}
    assert cells == {"full": "+1.5", "fast": "–"}


def test_text_from_a_study_cannot_become_markup():
    from fsg.report.page import html_page

    page = html_page(
        "<b>x</b>", "<script>alert(1)</script>", [], charts=[{"id": "</script>", "title": "", "about": ""}]
    )
    assert page.count("<script") == page.count("</script>") == 2 and "<b>" not in page


def test_a_factorial_reports_its_effects_and_the_switch_that_helps():
    report = make_report(study(**FACTORIAL), factorial_state())
    (block,) = report.blocks
    effects = {effect.name: effect.interval.estimate for effect in block.factors.effects}
    assert effects["hgs"] == pytest.approx(
        (92.0 + 93 + 94.5 + 91 + 92.5 + 93) / 6 - (90 + 91 + 92 + 90 + 90.5 + 92) / 6
    )
    assert len(report.terminal) == 2


def test_sequential_seeds_get_intervals_that_account_for_every_look_and_no_fixed_sample_test():
    spec = study(seeds={"min": 3, "max": 10, "until": "half_width <= 0.5"}, arms={"full": {}}, baselines=["ste"])
    report = make_report(spec, arms(full=(92.0, 93.0, 94.5), ste=(89.0, 90.5, 91.0)))
    row = next(r for r in report.comparison.rows if r.arm == "full")
    expected = plan_looks(3, 10).interval([3.0, 2.5, 3.5])
    assert row.vs_baseline == expected
    assert row.verdict_baseline is None
    assert any("one by one, from 3 to at most 10" in note for note in report.grids[0].notes)


def test_a_cross_makes_one_table_per_block_with_its_own_reference():
    spec = study(
        design={
            "kind": "cross",
            "of": {"kind": "full_factorial", "switches": ["lre"]},
            "quantizers": ["dorefa", "bwn"],
        },
        baselines=["ste"],
    )
    values = {
        f"{q}/{a}": (90.0 + i, 91.0, 92.5) for i, q in enumerate(("dorefa", "bwn")) for a in ("full", "no_lre", "ste")
    }
    report = make_report(spec, arms(**values))
    assert [block.comparison.reference for block in report.blocks] == ["dorefa/full", "bwn/full"]
    assert all(len(block.comparison.rows) == 3 for block in report.blocks)
    assert len(report.rows) == 6 and len(report.arm_metrics) == 6


def test_published_numbers_stand_beside_the_arm_they_belong_to(tmp_path):
    table = tmp_path / "p.csv"
    table.write_text(
        "model,quantizer,optimizer,method,mean_last10,std\nresnet20,dorefa,sgd,ste,80,1\ndigits_cnn,dorefa,adam,ste,90.5,1\n"
    )
    config = {
        "model": {"name": "digits_cnn"},
        "quantizer": {"name": "dorefa"},
        "optimizer": {"name": "adam"},
        "gradient": {"name": "ste"},
    }
    trials = [trial("ste", s, v, config=config) for s, v in enumerate((89.0, 90.0, 91.0))]
    for t, v in zip(trials, (89.0, 90.0, 91.0), strict=True):
        t.final["test_accuracy_last10"] = v
    from fsg.study.published import read_published

    grid = published_grid(state(*trials), ["ste"], read_published(table))
    (line,) = [[c.text for c in row] for row in grid.rows]
    assert line == ["ste", "mean_last10", "test_accuracy_last10", "3", "90.00", "90.50", "−0.50", "85.0 to 95.0", "yes"]


def test_published_numbers_are_shown_with_the_main_tables_and_before_the_details(tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("method,mean_final\nste,90.5\n")
    spec = study(**FACTORIAL).model_copy(update={"published": str(table)})
    known = factorial_state()
    for record in known.trials.values():
        record.config = {"gradient": {"name": "ste" if record.arm == "ste" else "fsg"}}
    report = make_report(spec, known)
    assert [grid.title for grid in report.main_grids][-1] == "Published numbers beside ours"
    assert "Published numbers beside ours" in (report.write(tmp_path)[1]).read_text()
    page = (tmp_path / "report.html").read_text()
    assert page.index("Published numbers") < page.index("data-chart") < page.index("against full</summary>")


def test_metaquants_figures_ship_and_stand_beside_the_arms_they_belong_to():
    ablations = Path(__file__).parents[2] / "ablations"
    spec = load_study(ablations / "cifar10_resnet20.yaml")
    trials = []
    for arm, config in spec.plan.arms.items():
        for seed in (0, 1):
            record = trial(arm, seed, 90.0 + seed, config=config.model_dump(mode="json"))
            record.final["test_accuracy_last10"] = 90.0 + seed
            trials.append(record)
    (grid,) = [g for g in make_report(spec, state(*trials)).grids if g.title.startswith("Published")]
    theirs = {(row[0].text, row[1].text): row[5].text for row in grid.rows}
    assert theirs["sgd/multi_fc", "published_mean_last10"] == "88.94"
    assert {arm for arm, _ in theirs} == {"sgd/ste", "sgd/multi_fc", "adam/ste", "adam/multi_fc"}


def test_published_one_bit_figures_stand_beside_the_arms_of_their_curve_with_what_is_said_of_them():
    ablations = Path(__file__).parents[2] / "ablations"
    spec = load_study(ablations / "cifar10_one_bit.yaml")
    trials = []
    for arm, config in spec.plan.arms.items():
        record = trial(arm, 0, 80.0, config=config.model_dump(mode="json"))
        record.final["test_accuracy"] = 80.0
        trials.append(record)
    (grid,) = [g for g in make_report(spec, state(*trials)).grids if g.title.startswith("Published")]
    assert list(grid.headers[-4:]) == ["work", "epochs", "protocol", "source"]
    found = {(row[0].text, row[-4].text): [cell.text for cell in (row[5], row[6], *row[-3:])] for row in grid.rows}
    assert {arm for arm, _ in found} == {"w1a32/ede", "w1a32/reste", "w1a1/ede", "w1a1/rbnn", "w1a1/reste"}
    theirs, differs, epochs, protocol, source = found["w1a32/ede", "IR-Net (CVPR 2020)"]
    assert (theirs, differs, epochs) == ("90.80", "−10.80", "400")
    assert "shortcuts float" in protocol and source.startswith("htqin/IR-Net README.md:36")


def test_every_published_row_names_parts_that_are_there_and_its_source():
    from fsg.catalogue.surrogates import Surrogate
    from fsg.parts import has_part
    from fsg.study.published import read_published

    rows = read_published(Path(__file__).parents[2] / "ablations" / "published" / "one_bit.csv")
    for row in rows:
        assert row["source"] and row["protocol"] and 80 < float(row["accuracy"]) < 94
        assert has_part("model", row["model"]) and has_part("data", row["dataset"])
        assert has_part("quantizer", row["quantizer"]) or Surrogate(shape=row["shape"])
        assert row["weights_activations"] == {"sign": "1/1", "float": "1/32"}[row["activations"]]


def test_an_empty_published_cell_agrees_with_anything_and_a_curve_with_its_own_alone():
    config = {"gradient": {"name": "surrogate", "shape": {"name": "ede"}}, "quantizer": {"name": "recu"}}
    config["model"] = {"name": "resnet20", "activations": {"name": "sign", "surrogate": {"name": "ede"}}}
    (record,) = trials = [trial("ede", 0, 80.0, config=config)]
    record.final["test_accuracy"] = 80.0
    row = {"method": "", "shape": "ede", "quantizer": "", "activations": "sign", "accuracy": "81"}
    for change, matches in (
        ({}, True),
        ({"shape": "reste"}, False),
        ({"activations": "float"}, False),
        ({"method": "ste"}, False),
    ):
        assert bool(published_grid(state(*trials), ["ede"], [row | change])) == matches
    config["model"]["activations"] = "sign"
    assert published_grid(state(*trials), ["ede"], [row]) is not None


def test_what_no_published_row_matches_gets_no_table():
    assert published_grid(arms(ste=(1.0, 2.0)), [], [{"method": "ste"}]) is None


def test_diagnostics_draw_one_panel_for_each_quantity_and_refuse_an_arm_without_any():
    known = arms(full=(90.0, 91.0))
    events = [
        {"event": "layers", "key": key, "epoch": e, "layers": {"conv": {"gain": 1.0, "flip_ratio": 0.1 / e}}}
        for key in known.trials
        for e in (1, 2)
    ]
    figure = draw_diagnostics(known, events, "full")
    assert sum(axes.get_visible() for axes in figure.axes) == 2
    with pytest.raises(StudyError, match='arm "ste" has recorded no layers'):
        draw_diagnostics(known, events, "ste")


def test_the_table_in_mlflow_has_the_cells_of_the_terminal():
    report = make_report(study(**FACTORIAL), factorial_state())
    assert json.loads(json.dumps(report.rows))[0]["arm"] == "full"
    assert [row["arm"] for row in report.rows] == ["full", "no_lre", "no_hgs", "no_hgs_lre", "ste"]


def test_the_table_says_whether_hashes_show_fair_pairs():
    known = arms(full=(92.0, 93.0), ste=(89.0, 90.0))
    for record in known.trials.values():
        record.fingerprint = (f"w{record.seed}", f"b{record.seed}")
    notes = make_report(study(arms={"full": {}}, baselines=["ste"], seeds=[0, 1]), known).grids[0].notes
    assert any("hashes agree" in note for note in notes)
    known.trials["ste-1"].fingerprint = ("other", "b1")
    notes = make_report(study(arms={"full": {}}, baselines=["ste"], seeds=[0, 1]), known).grids[0].notes
    assert any(note.startswith("NOT PAIRED by hash: the arms of seed 1 do not start") for note in notes)
