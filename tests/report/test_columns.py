"""One list of columns for each table: what stands in it stands in every rendering."""

import csv
import io
import re

import pytest
from rich.console import Console

from fsg.report import columns
from fsg.report.cells import Cell
from fsg.report.columns import Column
from fsg.report.study_report import make_report
from fsg.stats.paired import mean_interval
from tests.report.handmade import arms, state, trial
from tests.report.test_study_report import study
from tests.report.test_top import sweep

SPEED = Column(
    "speed [img/s]", lambda row: mean_interval([800.0, 801.0]), lambda row: Cell("800.50", "6.35"),
    csv=("speed", "speed_low"), mlflow=("speed", "speed_ci"),
)  # fmt: skip


@pytest.fixture(params=["comparison", "ranking"])
def report(request, monkeypatch):
    """The report of an ablation, or of a sweep, to whose list one column was added."""
    name = f"{request.param}_columns"
    whole = getattr(columns, name)
    monkeypatch.setattr(columns, name, lambda table: (*whole(table), SPEED))
    if request.param == "comparison":
        return make_report(study(arms={"full": {}}, baselines=["ste"]), arms(full=(1.0, 2.0, 4.0), ste=(1.0, 2.0, 3.0)))
    points = (trial("-", 0, 90.0 + i, key=f"k{i}", config={"optimizer": {"lr": 0.01 * (i + 1)}}) for i in range(2))
    return make_report(sweep(), state(*points))


def test_one_entry_of_the_list_is_a_column_of_every_rendering(report, tmp_path):
    files = {path.name: path.read_text() for path in report.write(tmp_path, drawings=False)}
    console = Console(width=200, file=io.StringIO())
    console.print(*report.terminal)
    for text in (console.file.getvalue(), files["comparison.md"]):
        assert "speed [img/s]" in text and "800.50 ± 6.35" in text
    assert r"speed [img/s] \\" in files["comparison.tex"] and r"800.50 $\pm$ 6.35 \\" in files["comparison.tex"]
    assert '<th scope="col">speed [img/s]</th>' in files["report.html"]
    assert '800.50 <span class="spread">± 6.35</span>' in files["report.html"]
    assert all(row["speed [img/s]"] == "800.50 ± 6.35" for row in report.rows), "the table in MLflow"
    table = files["comparison.csv" if report.blocks else "top.csv"]
    for row in csv.DictReader(io.StringIO(table)):
        assert (row["speed"], round(float(row["speed_low"]), 2)) == ("800.5", 794.15)


def test_one_entry_of_the_list_is_among_the_numbers_of_every_arm_in_mlflow(report):
    assert len(report.arm_metrics) == (2 if report.blocks else 0), "a sweep has no arms"
    assert all((of["speed"], of["speed_ci"]) == (800.5, 6.35) for of in report.arm_metrics.values())


def test_a_column_for_programs_alone_is_in_no_table_for_readers_and_one_for_readers_alone_in_no_file():
    rows = [{"n": 1, "p": 0.04}]
    both = (Column("n", lambda row: row["n"]), Column("", lambda row: row["p"], csv=("p",), mlflow=("p",)))
    table = columns.grid(both, rows, title="", notes=(), caption="")
    assert table.headers == ("n",) and table.rows == ((Cell("1"),),)
    assert columns.record(both, rows[0]) == {"p": 0.04} == columns.numbers(both, rows[0], 2)


def test_what_a_row_does_not_have_is_empty_in_csv_and_absent_in_mlflow():
    ends = Column("d", lambda row: row, csv=("d", "d_low"), mlflow=("d", "half"))
    assert columns.record([ends], None) == {"d": None, "d_low": None}
    assert columns.numbers([ends], None, 2) == {}
    assert columns.numbers([ends], mean_interval([1.0]), 2) == {"d": 1.0}, "one value has no half-width"


def test_headers_for_programs_are_those_of_the_first_release():
    """Scripts read them; a new one may be added."""
    made = make_report(study(arms={"full": {}}, baselines=["ste"]), arms(full=(1.0, 2.0, 4.0), ste=(1.0, 2.0, 3.0)))
    header = made.texts["comparison.csv"].splitlines()[0]
    first = (
        "arm,metric,unit,mean,mean_low,mean_high,mean_n,test_accuracy,vs_reference,vs_reference_low,vs_reference_high,"
        "vs_reference_n,vs_reference_p_holm,vs_baseline,vs_baseline_low,vs_baseline_high,vs_baseline_n,vs_baseline_p_holm,"
        "epochs_to_target,step_ratio,epochs,missing_seeds,reference,baseline,confidence,interval_kind,study,budget,device,"
        "version,date"
    )
    assert header.removeprefix(first) == (
        ",test_accuracy_low,test_accuracy_high,test_vs_baseline,test_vs_baseline_low,test_vs_baseline_high,test_vs_baseline_n,"
        "vs_reference_not_exercised,vs_baseline_not_exercised"
    )
    assert made.texts["seeds.csv"].splitlines()[0] == "arm,seed,val_accuracy,missing"
    assert list(made.arm_metrics["full"]) == ["acc", "ci_half", "test", "vs_ste", "n", "step_x"]
    points = (trial("-", s, 90.0 + s, key=f"k{s}", config={"seed": s, "optimizer": {"lr": 0.01}}) for s in range(2))
    made = make_report(
        sweep(), state(*points, trial("-", 0, 9.0, key="o", config={"seed": 0, "optimizer": {"lr": 0.05}}))
    )
    assert re.sub("val_accuracy", "v", made.texts["top.csv"].splitlines()[0]) == (
        "key,rank,v,v_low,v_high,n,on_front,test_accuracy,epochs,optimizer.lr,seed_0,seed_1"
    )
