"""What the page draws, as data: the numbers of the tables, seed by seed and epoch by epoch."""

import json
import math

import pytest
from handmade import Metric, state, trial
from test_study_report import FACTORIAL, dose_report, factorial_state, study
from test_top import configured

from fsg.report.page import charts
from fsg.report.study_report import StudyReport, make_report
from fsg.report.top import top_configurations


def charts_of(report):
    return {chart["id"]: chart for chart in report.charts}


def test_differences_have_the_intervals_of_the_table_and_a_dot_for_each_pair():
    report = make_report(study(**FACTORIAL), factorial_state())
    against_ste, against_full = charts_of(report)["differences"]["groups"]
    assert [group["name"] for group in (against_ste, against_full)] == ["against ste", "against full"]
    row = next(row for row in against_ste["rows"] if row["name"] == "full")
    table = report.comparison.rows[0].vs_baseline
    assert row["interval"] == pytest.approx([table.estimate, table.low, table.high], rel=1e-4)
    assert row["dots"] == [[0, 3.0], [1, 3.0], [2, 3.0]] and row["told"] == "", "equal differences are no certainty"


def test_curves_are_means_with_bands_and_their_difference_is_paired_seed_by_seed():
    known = state(*(trial(arm, s, v + s) for arm, v in (("full", 92.0), ("ste", 90.0)) for s in range(3)))
    groups = charts_of(make_report(study(arms={"full": {}}, baselines=["ste"]), known))["curves"]["groups"]
    values, difference, loss = groups[:3]
    assert values["series"][0]["mean"] == [93.0] * 3 and values["series"][0]["low"][0] < 92
    assert [line["name"] for line in difference["series"]] == ["full"]
    assert difference["series"][0]["mean"] == [2.0] * 3 == difference["series"][0]["low"], "paired: no spread is left"
    assert (loss["name"], loss["log"]) == ("train_loss", True)


def test_effects_doses_and_costs_have_their_charts():
    found = charts_of(make_report(study(**FACTORIAL), factorial_state()))
    effects = found["effects"]["groups"][0]["rows"]
    assert [row["name"] for row in effects] == ["hgs", "lre", "hgs × lre"] and "share" in effects[0]
    assert {point["x"] for point in found["cost"]["groups"][0]["points"]} == {1.0}
    (response,) = charts_of(dose_report())["response"]["groups"]
    assert [(point["x"], point["y"][0]) for point in response["points"]] == [(1, 90.5), (5, 92.5), (20, 91.5)]


def test_a_search_shows_every_trial_that_has_a_value_over_each_searched_parameter():
    trials = [configured(lr, 0, 90.0 + lr) for lr in (0.1, 0.2, 0.3)]
    stopped = configured(0.4, 0, 80.0, status="pruned")
    empty = trial(
        "sweep", 0, None, status="failed", losses=(), step_ms=(), key="x", config={"seed": 0, "optimizer": {"lr": 0.5}}
    )
    ledger = state(*trials, stopped, empty)
    top = top_configurations(ledger, Metric(), searched=["optimizer.lr"])
    found = charts_of(StudyReport("search", "", (), {}, ledger, ranking=top))
    order, rate = found["trials"]["groups"]
    assert [point["told"] for point in order["points"]] == ["finished", "finished", "best", "pruned"]
    assert (rate["name"], [point["x"] for point in rate["points"]]) == ("optimizer.lr", [0.1, 0.2, 0.3, 0.4])
    assert len(found["curves"]["groups"][0]["series"]) == 4


def test_what_is_drawn_stays_small_however_long_the_training_and_is_valid_json(monkeypatch):
    losses = (math.inf, *(1.0,) * 999)
    known = state(
        *(trial(a, s, 90.0 + s, losses=losses, step_ms=(1.0,) * 1000) for a in ("full", "ste") for s in (0, 1))
    )
    report = make_report(study(seeds=[0, 1], arms={"full": {}}, baselines=["ste"]), known)
    groups = charts_of(report)["curves"]["groups"]
    assert all(len(line["mean"]) <= charts.MOST_EPOCHS for group in groups for line in group["series"])
    assert groups[0]["series"][0]["at"][-1] == 1000, "the last epoch is always there"
    json.dumps(report.charts, allow_nan=False)
    monkeypatch.setattr(charts, "MOST_POINTS", 1300)
    assert len(charts_of(report)["curves"]["groups"]) == 1, "what has no room is left out, the metric last"
