"""Several studies in one table: pairs where seeds agree, and what cannot be compared said and not subtracted."""

from dataclasses import replace
from pathlib import Path

import pytest

from fsg.errors import StudyError
from fsg.report.across import Source, compare_studies
from fsg.study.spec import parse_study
from fsg.yaml_source import YamlSource
from tests.report.handmade import HEADER, state, trial

METRIC = {"name": "val_accuracy", "mode": "max", "unit": "%"}
DIGITS = {"data": {"name": "digits", "split_seed": 0}}


def source(name, values, data=None, base=None, commit="21bbb10aa", **over):
    study = {"name": name, "base": {"gradient": "fsg", **(base or {})}, "seeds": [0, 1], "metric": METRIC}
    study |= {"arms": {"full": {}}, "baselines": ["ste"], **over}
    spec = parse_study(YamlSource(Path("s.yaml"), study))
    config = {"data": {**DIGITS["data"], **(data or {})}}
    trials = [trial(arm, s, v, config=config) for arm, of_seed in values.items() for s, v in of_seed.items()]
    return Source(name, spec, state(*trials, header=HEADER | {"name": name, "git_commit": commit}))


A = source("a", {"full": {0: 92.0, 1: 94.0}, "ste": {0: 90.0, 1: 91.0}})
SAME = {"full": {0: 95.0, 1: 96.5}, "ste": {0: 90.5, 1: 91.0}}


def notes(*sources):
    return "\n".join(compare_studies(sources).grids[0].notes)


def rows(*sources):
    return {row.arm: row for row in compare_studies(sources).comparison.rows}


def test_arms_are_named_by_their_study_and_pair_with_the_first_ones_ends_where_seeds_agree():
    found = rows(A, source("b", {"full": {1: 96.5, 2: 97.0}, "ste": {1: 91.0, 2: 92.0}}, seeds=[1, 2]))
    assert list(found) == ["a/full", "a/ste", "b/full", "b/ste"]
    assert found["b/full"].vs_reference.n == 1 and found["b/full"].vs_reference.estimate == pytest.approx(2.5)
    assert found["b/full"].vs_baseline.estimate == pytest.approx(5.5)
    assert found["a/full"].vs_reference is None


def test_a_seed_that_only_another_study_has_is_not_missing():
    found = rows(A, source("b", {"full": {1: 96.5}, "ste": {1: 91.0}}, seeds=[1, 2]))
    assert found["b/full"].missing == () and found["a/full"].missing == ()


def test_a_failed_trial_is_missing_in_its_own_study():
    b = source("b", SAME)
    b.state.trials["full-1"].status = "failed"
    found = rows(A, b)
    assert [m.seed for m in found["b/full"].missing] == [1]


def test_other_images_are_never_subtracted_and_it_is_said():
    b = source("b", SAME, data={"split_seed": 7})
    found = rows(A, b)
    assert found["b/full"].vs_reference is None and found["b/full"].vs_baseline is None
    assert found["b/full"].metric.estimate == pytest.approx(95.75)
    assert found["a/full"].vs_baseline is not None
    assert "NOT COMPARABLE: its arms of b saw other images than a/full; no difference is taken." in notes(A, b)


def test_other_epochs_code_and_machine_are_said():
    b = source("b", SAME, base={"epochs": 30}, commit="ffffff9")
    b.state.trials["full-0"].device = "EPYC"
    text = notes(A, b)
    assert "Other base in b than in a: epochs 15 there, here 30." in text
    assert "Other code: a fsg 0.1.0 (21bbb10), b fsg 0.1.0 (ffffff9)." in text
    assert "Other machine: a device not recorded, b EPYC." in text
    caption = compare_studies([A, b]).grids[0].caption
    assert "fsg 0.1.0 (21bbb10), fsg 0.1.0 (ffffff9)" in caption


def test_seeds_that_started_otherwise_are_paired_by_number_alone_and_it_is_said():
    a, b = source("a", SAME), source("b", SAME)
    for where, weights in ((a, "w"), (b, "v")):
        for record in where.state.trials.values():
            record.fingerprint = (f"{weights}{record.seed}", "batches")
    assert "b and a are paired by the number of the seed alone" in notes(a, b)
    for record in b.state.trials.values():
        record.fingerprint = (f"w{record.seed}", "batches")
    assert "number of the seed alone" not in notes(a, b)


def test_what_no_table_holds_is_refused():
    loss = source("b", SAME, metric={"name": "val_loss", "mode": "min"})
    with pytest.raises(StudyError, match=r"b is compared by val_loss \(min\), a by val_accuracy \[%\] \(max\)"):
        compare_studies([A, loss])
    with pytest.raises(StudyError, match="studies of one name"):
        compare_studies([A, A])
    sweep = {"name": "s", "metric": METRIC, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}}
    spec = parse_study(YamlSource(Path("s.yaml"), {**sweep, "search": {"trials": 3}}))
    with pytest.raises(StudyError, match="s: a sweep has no arms to compare"):
        compare_studies([A, replace(A, name="s", spec=spec)])


def test_the_page_of_several_studies_draws_them_under_their_whole_names(tmp_path):
    report = compare_studies([A, source("b", SAME)])
    names = {path.name for path in report.write(tmp_path)}
    assert {"forest_full.svg", "curves_val_accuracy.svg", "report.html", "seeds.csv"} <= names
    assert "b/full" in (tmp_path / "seeds.csv").read_text()
