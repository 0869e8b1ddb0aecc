import math

import pytest
from handmade import HEADER, Metric, arms, state, trial
from scipy import stats

from fsg.errors import StudyError
from fsg.report.columns import arm_metrics, comparison_grid
from fsg.report.comparison import compare
from fsg.stats.leader import stands_out
from fsg.stats.sequential import plan_looks

PERCENT = Metric()


def rows(study, reference="full", baseline="ste", **more):
    comparison = compare(study, metric=more.pop("metric", PERCENT), reference=reference, baseline=baseline, **more)
    return {row.arm: row for row in comparison.rows}


def notes(study, reference="full", baseline="ste", **more):
    return "\n".join(compare(study, metric=PERCENT, reference=reference, baseline=baseline, **more).notes)


def test_each_arm_shows_its_mean_over_seeds_with_the_t_interval():
    row = rows(arms(full=(90.0, 92.0, 94.0), ste=(1.0, 2.0, 3.0)))["full"]
    assert row.n == 3
    assert row.metric.estimate == pytest.approx(92)
    assert row.metric.half_width == pytest.approx(4.302652729911275 * 2 / math.sqrt(3))


def test_differences_are_paired_by_seed_not_by_order():
    shuffled = state(
        *(trial(arm, seed, base + seed) for arm, base in (("full", 50), ("ste", 40)) for seed in (3, 1, 2))
    )
    difference = rows(shuffled)["full"].vs_baseline
    assert difference.estimate == pytest.approx(10)
    assert difference.half_width == pytest.approx(0)


def test_an_arm_is_not_compared_with_itself():
    found = rows(arms(full=(1.0, 2.0), ste=(1.0, 3.0)))
    assert found["full"].vs_reference is None
    assert found["ste"].vs_baseline is None
    assert found["ste"].step_ratio == 1


def test_interruptions_are_counted_by_cause_in_the_notes():
    study = arms(full=(90.0, 92.0), ste=(1.0, 2.0))
    assert "interrupted" not in notes(study)
    first, second, *_ = study.trials.values()
    first.retries = [{"cause": "lost", "epoch": 1, "reason": ""}, {"cause": "hang", "epoch": 1, "reason": ""}]
    second.retries = [{"cause": "lost", "epoch": 0, "reason": ""}]
    said = "went on from their checkpoints, by cause: 1 hang, 2 lost."
    assert said in notes(study)


def test_rows_stand_in_the_order_of_the_study():
    assert list(rows(arms(full=(1.0,), no_lre=(1.0,), ste=(1.0,)))) == ["full", "no_lre", "ste"]


@pytest.mark.parametrize("status", ["failed", "pruned", "running", "planned"])
def test_a_trial_that_did_not_finish_is_missing_and_never_averaged(status):
    study = state(
        trial("full", 0, 90.0), trial("full", 1, 10.0, status=status, reason="loss is NaN"),
        trial("ste", 0, 80.0), trial("ste", 1, 81.0),
    )  # fmt: skip
    row = rows(study)["full"]
    assert row.metric.estimate == 90
    assert row.vs_baseline.n == 1 and row.vs_baseline.estimate == 10
    assert row.missing[0].seed == 1
    assert f"MISSING in full: seed 1 {status}: loss is NaN. Its mean is over 1 of 2 seeds." in notes(study)
    assert "Pairs with ste on fewer than 2 seeds: full (1)." in notes(study)


def test_a_seed_that_only_other_arms_have_is_missing():
    study = state(trial("full", 0, 90.0), trial("ste", 0, 80.0), trial("ste", 1, 81.0))
    assert rows(study)["full"].missing[0].why == "not planned"


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_finished_trial_without_a_finite_value_is_missing(value):
    study = state(trial("full", 0, value), trial("ste", 0, 80.0))
    row = rows(study)["full"]
    assert row.n == 0 and row.metric is None and row.vs_baseline is None
    assert "finished without a finite val_accuracy" in row.missing[0].why


def test_a_failure_of_many_lines_is_told_in_its_first():
    study = state(trial("full", 0, 1.0), trial("ste", 0, 1.0, status="failed", reason="boom\n  File x\n  File y"))
    assert "seed 0 failed: boom." in notes(study)


def best(study, **more):
    return [arm for arm, row in rows(study, **more).items() if row.best]


def test_the_best_arm_is_the_one_that_tests_tell_from_every_other():
    ahead = {"full": (90.0, 91.0, 92.0, 93.0), "near": (85.1, 86.0, 86.9, 88.2), "ste": (70.0, 70.9, 72.1, 73.0)}
    assert best(arms(**ahead)) == ["full"]
    assert (
        "Bold (★): better than every other arm at 0.05 after Holm's correction over them and in each column (paired t)."
        in notes(arms(**ahead))
    )
    near = ahead | {"near": (95.0, 80.0, 91.0, 92.0)}
    assert best(arms(**near)) == [], "the largest mean alone is no best"
    assert "(paired t); here no arm is." in notes(arms(**near))


def test_one_seed_or_one_arm_has_no_best():
    assert best(arms(full=(90.0,), ste=(1.0,))) == []
    assert best(arms(full=(90.0, 91.0, 92.5)), baseline=None) == []


def test_an_arm_that_lost_its_bad_seeds_is_not_the_best():
    seeds = enumerate((90.0, 92.0, 91.0, 93.5))
    study = state(
        *(trial("full", s, v) for s, v in seeds), *(trial("ste", s, 1.0 + s) for s in (0, 1)),
        *(trial("lucky", s, 99.0 + s / 9, status="failed" if s else "finished") for s in range(4)),
    )  # fmt: skip
    assert compare(study, metric=PERCENT, reference="full", baseline="ste").leader == "full"
    assert best(study) == [], "one pair tells nothing of the lucky arm"


def test_the_best_arm_of_a_loss_is_the_lowest():
    values = {"full": (0.5, 0.6, 0.7), "ste": (0.2, 0.31, 0.4)}
    assert best(arms(**values), metric=Metric("val_accuracy", "min", "")) == ["ste"]
    assert best(arms(**values), metric=Metric("val_accuracy", "max", "")) == ["full"]


def test_no_star_stands_where_the_table_has_no_mark():
    """p = 0.035 of x against full: told in the family of x's rivals, which ste eases, and not in full's column."""
    values = {"full": (50.0,) * 5, "ste": (49.8, 50.1, 50.3, 49.5, 50.7), "x": (50.2, 50.6, 51.6, 51.0, 52.2)}
    assert stands_out({arm: dict(enumerate(of)) for arm, of in values.items()}, "x", "max")
    assert not rows(arms(**values))["x"].verdict_reference.differs
    assert best(arms(**values)) == []
    assert best(arms(**values), reference=None) == ["x"], "without that column nothing contradicts it"


def test_arms_of_other_images_neither_take_the_star_nor_keep_it_from_others():
    values = {"full": (90.0, 91.0, 92.5), "ste": (70.0, 71.5, 72.0), "other": (99.0, 98.0, 99.5)}
    assert best(arms(**values)) == ["other"]
    assert best(arms(**values), apart={"other"}) == ["full"]


def test_seeds_that_were_added_one_by_one_get_no_star_for_no_fixed_sample_test_is_made_of_them():
    values = {"full": (90.0, 91.0, 92.5, 93.0), "ste": (70.0, 71.5, 72.0, 72.9)}
    assert best(arms(**values)) == ["full"]
    assert best(arms(**values), looks=plan_looks(3, 10)) == []


def test_epochs_to_target_are_counted_against_the_baselines_own_last_loss_of_that_seed():
    study = state(
        trial("full", 0, 1.0, losses=(2.0, 0.4, 0.3)), trial("full", 1, 1.0, losses=(0.1, 0.1, 0.1)),
        trial("full", 2, 1.0, losses=(2.0, 1.0, 0.6)),
        trial("ste", 0, 1.0, losses=(2.0, 1.0, 0.5)), trial("ste", 1, 1.0, losses=(0.9, 0.5, 0.1)),
        trial("ste", 2, 1.0, losses=(2.0, 1.0, 0.6)),
    )  # fmt: skip
    found = rows(study)["full"].epochs_to_target
    assert (found.median, found.reached, found.n) == (2, 3, 3)


def test_a_loss_never_reached_counts_as_later_than_any_epoch():
    study = state(
        trial("full", 0, 1.0, losses=(2.0, 0.9, 0.8)), trial("full", 1, 1.0, losses=(2.0, None, 0.8)),
        trial("ste", 0, 1.0, losses=(2.0, 1.0, 0.9)), trial("ste", 1, 1.0, losses=(2.0, 1.0, 0.5)),
    )  # fmt: skip
    found = rows(study)["full"].epochs_to_target
    assert (found.median, found.reached, found.n) == (None, 1, 2)


def test_step_ratio_leaves_out_the_first_epoch_of_every_attempt():
    study = state(
        trial("full", 0, 1.0, step_ms=(100.0, 6.0, 90.0)), trial("ste", 0, 1.0, step_ms=(40.0, 4.0, None)),
    )  # fmt: skip
    study.trials["full-0"].first_epochs = {1, 3}  # it was interrupted after two
    assert rows(study)["full"].step_ratio == pytest.approx(1.5)


def test_one_epoch_an_attempt_has_no_step_ratio_and_the_caption_says_why():
    once = {"losses": (2.0,), "step_ms": (80.7,)}
    study = state(trial("full", 0, 1.0, **once), trial("ste", 0, 1.0, losses=(2.0,) * 2, step_ms=(10.0, 5.0)))
    found = rows(study)
    assert found["full"].step_ratio is None and found["ste"].step_ratio == 1
    assert "step ×: time per step relative to ste, without the first epoch of each attempt, which compiles" in notes(
        study
    )
    comparison = compare(study, metric=PERCENT, reference="full", baseline="ste")
    assert "step_x" not in arm_metrics(comparison)["full"]
    assert (
        dict(zip(comparison_grid(comparison).headers, comparison_grid(comparison).rows[0], strict=True))["step ×"].text
        == "–"
    )


def test_test_accuracy_is_not_averaged_over_some_of_the_seeds():
    study = state(trial("full", 0, 1.0, test=90.0), trial("full", 1, 1.0, test=None), trial("ste", 0, 1.0))
    assert rows(study)["full"].test is None and rows(study)["full"].test_vs_baseline is None


def test_test_accuracy_has_its_interval_and_its_paired_difference_and_no_mark():
    study = state(
        *(trial("full", s, 50.0, test=t) for s, t in enumerate((91.0, 93.0, 95.0))),
        *(trial("ste", s, 50.0 + s, test=t) for s, t in enumerate((90.0, 91.0, 92.0))),
    )
    row = rows(study)["full"]
    assert (row.test.estimate, row.test_vs_baseline.estimate, row.test_vs_baseline.n) == (93.0, 2.0, 3)
    assert row.test_vs_baseline.half_width == pytest.approx(4.302652729911275 * 1 / math.sqrt(3))
    grid = comparison_grid(compare(study, metric=PERCENT, reference="full", baseline="ste"))
    cell = grid.rows[0][grid.headers.index("test vs ste")]
    assert cell.text.startswith("+2.0 ± 2.5") and (cell.mark, cell.verdict) == ("", "")


def test_few_seeds_say_what_no_test_could_show():
    five = arms(full=(1.0, 2.0, 3.0, 4.0, 5.0), ste=(1.0, 2.0, 3.0, 4.0, 6.0))
    assert "5 seeds: whatever the data, the exact paired test cannot give a two-sided p below 0.0625" in notes(five)
    six = arms(full=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0), ste=(1.0, 2.0, 3.0, 4.0, 6.0, 5.0))
    assert "whatever the data" not in notes(six)
    assert "One seed has no spread" in notes(arms(full=(1.0,), ste=(2.0,)))


def test_equal_differences_are_called_what_they_are():
    assert "no proof" in notes(arms(full=(2.0, 3.0), ste=(1.0, 2.0)))


def test_an_arm_that_is_not_there_is_refused_with_the_nearest_name():
    with pytest.raises(StudyError, match=r'analysis.reference is "ful", .* Did you mean "full"\?'):
        rows(arms(full=(1.0,), ste=(1.0,)), reference="ful")


def test_an_empty_study_is_refused():
    with pytest.raises(StudyError, match="no trial yet"):
        rows(state())


def test_two_configurations_under_one_arm_and_seed_are_refused():
    with pytest.raises(StudyError, match="two finished trials of seed 0"):
        rows(state(trial("full", 0, 1.0), trial("full", 0, 2.0, key="other"), trial("ste", 0, 1.0)))


def test_a_study_without_baseline_is_compared_with_its_reference_alone():
    row = rows(arms(full=(1.0, 2.0), no_lre=(1.0, 3.0)), baseline=None)["no_lre"]
    assert row.vs_baseline is None and row.step_ratio is None and row.epochs_to_target is None
    assert row.vs_reference.estimate == pytest.approx(0.5)


def test_a_study_in_which_nothing_finished_still_has_its_table():
    study = state(trial("full", 0, 1.0, status="failed", reason="x"), trial("ste", 0, 1.0, status="planned"))
    found = rows(study)
    assert not any(row.best or row.n for row in found.values())


def test_caption_says_date_device_version_and_budget():
    study = arms(full=(1.0,), ste=(1.0,))
    line = compare(study, metric=PERCENT, reference="full", baseline="ste", device="cpu").provenance.line()
    assert line == "components · 3 epochs per trial · cpu · fsg 0.1.0 (21bbb10) · 2027-01-15 08:00 UTC"


def test_unequal_budgets_are_called_unequal():
    study = state(trial("full", 0, 1.0), trial("ste", 0, 1.0, losses=(1.0,), step_ms=(1.0,)))
    assert (
        "1 to 3 epochs per trial (unequal)"
        in compare(study, metric=PERCENT, reference="full", baseline="ste").provenance.line()
    )


def test_code_with_changes_that_were_not_committed_is_marked():
    study = state(trial("full", 0, 1.0), header={**HEADER, "git_commit": "21bbb10aa123+"})
    found = compare(study, metric=PERCENT, reference="full", baseline=None).provenance
    assert found.version == "fsg 0.1.0 (21bbb10+)" and found.device == "device not recorded"


def test_a_difference_counts_only_after_holms_correction_over_its_column():
    """p = 0.011 alone; among ten arms of noise it is 0.11."""
    clear, noise = (1.0, 1.3, 0.8, 1.1, 2.9), (0.3, -0.4, 0.2, -0.1, 0.1)
    base = (50.0, 51.0, 49.0, 50.5, 52.0)
    lifted = {name: tuple(b + d for b, d in zip(base, by, strict=True)) for name, by in (("a", clear), ("b", noise))}
    alone = rows(arms(ste=base, full=base, a=lifted["a"]), reference=None)["a"].verdict_baseline
    assert alone.differs and alone.p == pytest.approx(stats.ttest_1samp(clear, 0).pvalue) == alone.p_holm
    many = {f"b{i}": lifted["b"] for i in range(9)}
    among = rows(arms(ste=base, a=lifted["a"], **many), reference=None)["a"].verdict_baseline
    assert among.p_holm == pytest.approx(10 * alone.p) and not among.differs


def test_an_arm_within_the_smallest_effect_of_interest_is_called_equivalent():
    study = arms(full=(50.0, 60.0, 70.0), same=(50.01, 59.99, 70.02), far=(52.0, 59.0, 71.0), ste=(1.0, 2.0, 3.1))
    found = rows(study, smallest_effect=0.5)
    assert found["same"].verdict_reference.equivalent and not found["far"].verdict_reference.equivalent
    assert rows(study)["same"].verdict_reference.equivalent is None


def test_one_pair_and_differences_without_spread_get_no_verdict():
    assert rows(arms(full=(1.0,), ste=(2.0,)))["ste"].verdict_reference is None
    assert rows(arms(full=(1.0, 2.0), ste=(2.0, 3.0)))["ste"].verdict_reference is None


def test_mlflow_columns_are_short_rounded_and_finite():
    comparison = compare(
        arms(full=(90.123456, 92.0), ste=(80.0, 81.0)), metric=PERCENT, reference="full", baseline="ste"
    )
    found = arm_metrics(comparison)
    assert found["ste"].keys() == {"acc", "ci_half", "test", "vs_full", "n", "step_x"}
    assert found["full"]["acc"] == 91.06
    assert all(len(name) <= 10 and math.isfinite(v) for of_arm in found.values() for name, v in of_arm.items())
    alone = arm_metrics(compare(arms(full=(90.0,), ste=(80.0,)), metric=PERCENT, reference="full", baseline="ste"))
    assert "ci_half" not in alone["full"]


def test_comparing_a_thousand_trials_takes_well_under_two_seconds():
    import time

    study = state(*(trial(f"arm{a}", s, 90 + a / 7 + s / 3, losses=(1.0,) * 100, step_ms=(1.0,) * 100)
                    for a in range(50) for s in range(20)))  # fmt: skip
    start = time.process_time()
    compare(study, metric=PERCENT, reference="arm0", baseline="arm1")
    assert time.process_time() - start < 2
