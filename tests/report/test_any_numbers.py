"""Whatever the trials measured (nothing, NaN, infinities, huge or tiny values, the same everywhere, half of the pairs),
the report says a number or a dash: no exception, and no claim that the numbers do not carry. ``FSG_FUZZ=100`` looks longer.
"""

import math
import warnings

import numpy as np
import pytest
from fuzzing import looking
from hypothesis import given
from hypothesis import strategies as st

from fsg.record.ledger import StudyState, TrialRecord
from fsg.report.study_report import make_report
from fsg.stats import factorial, paired, power
from fsg.study.spec import AblationSpec, SweepSpec, parse_study
from fsg.yaml_source import YamlSource

ABLATION = {
    "name": "any",
    "base": {"gradient": "fsg", "epochs": 2},
    "seeds": [0, 1, 2],
    "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
    "design": {"kind": "full_factorial", "switches": ["hgs", "lre"]},
    "baselines": ["ste"],
    "analysis": {"smallest_effect_of_interest": 0.5},
}
SWEEP = {
    "name": "anysweep",
    "base": {"epochs": 2},
    "metric": {"name": "val_loss", "mode": "min"},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "search": {"sampler": "random", "trials": 4},
}
EXTREME = [0.0, -0.0, 1.0, 90.0, 90.1, 5e-324, 1e-300, -1e-12, 1e12, 1e99, -1e101, 1e155, 1.7e308, -1.7e308, 2**70]
FINITE = st.sampled_from(EXTREME) | st.floats(allow_nan=False, allow_infinity=False) | st.floats(80, 100)
VALUES = FINITE | st.none() | st.sampled_from([math.nan, math.inf, -math.inf])
METRICS = ("val_accuracy", "val_loss", "train_loss", "test_accuracy", "step_ms")
DIFFERENCES = st.lists(
    st.floats(-1e100, 1e100) | st.sampled_from([0.0, 1.0, -1.0, 5e-324, 1e-160]), min_size=1, max_size=8
)


def spec_of(data) -> AblationSpec | SweepSpec:
    from pathlib import Path

    return parse_study(YamlSource(Path("any.yaml"), data))


ARMS = ("full", "no_hgs", "no_lre", "no_hgs_lre", "ste")
SPECS = {"ablation": spec_of(ABLATION), "sweep": spec_of(SWEEP)}


@st.composite
def studies(draw, arms, values=VALUES):
    """A folded ledger: some trials ended, some did not, each with whatever it measured."""
    draws = st.one_of(values, st.just(draw(values)))  # half of the time constant over trials
    trials = {}
    for arm in arms:
        for seed in range(3):
            status = draw(st.sampled_from(["finished"] * 6 + ["failed", "pruned", "running", "planned"]))
            epochs = [{"epoch": e, **{m: draw(draws) for m in METRICS}} for e in range(1, draw(st.integers(0, 2)) + 1)]
            final = {m: draw(draws) for m in METRICS if draw(st.booleans()) or m.startswith("val")}
            key = f"{arm}-{seed}"
            trials[key] = TrialRecord(
                key, arm, seed, {"seed": seed, "gradient": {"name": "fsg"}, "optimizer": {"lr": 0.1 + seed}},
                status, epochs, final if status == "finished" else None, "why" if status == "failed" else None, 0.0, 1.8e9,
            )  # fmt: skip
    return StudyState({"name": "any", "versions": {}, "git_commit": None}, trials)


def check_cells(report):
    """Only numbers and dashes, and marks only where a number stands."""
    for grid in report.grids:
        for row in grid.rows:
            assert len(row) == len(grid.headers)
            for cell in row:
                assert "nan" not in cell.text.lower().split(), (grid.title, cell)
                assert "inf" not in cell.text.replace("−", "").lower().split(), (grid.title, cell)
    for numbers in report.arm_metrics.values():
        assert all(map(math.isfinite, numbers.values()))


@given(state=studies(ARMS))
@looking(40)
def test_any_measurements_give_a_report_of_numbers_and_dashes(tmp_path_factory, state):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # an overflow on the way is a finding too
        report = make_report(SPECS["ablation"], state)
        check_cells(report)
        report.write(tmp_path_factory.getbasetemp() / "report", drawings=False)


@given(state=studies(ARMS, FINITE))
@looking(3)
def test_any_measurements_can_be_drawn(tmp_path_factory, state):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # an empty band is not complained of
        files = make_report(SPECS["ablation"], state).write(tmp_path_factory.getbasetemp() / "drawn")
    assert all(file.stat().st_size for file in files)
    assert any(file.suffix == ".svg" for file in files)


@given(state=studies(("a", "b")))
@looking(40)
def test_any_measurements_of_a_sweep_give_a_report(tmp_path_factory, state):
    report = make_report(SPECS["sweep"], state)
    check_cells(report)
    report.write(tmp_path_factory.getbasetemp() / "report", drawings=False)


def test_equal_values_everywhere_are_no_evidence_of_a_difference():
    """Constant outcomes: no mark, and p is 1 where it is given at all."""
    trials = {
        f"{arm}-{seed}": TrialRecord(
            f"{arm}-{seed}", arm, seed, {"seed": seed}, "finished", [{"epoch": 1, "val_accuracy": 90.0}],
            {"val_accuracy": 90.0}, None, 0.0, 1.8e9,
        )
        for arm in ARMS for seed in range(3)
    }  # fmt: skip
    report = make_report(SPECS["ablation"], StudyState({"name": "any", "versions": {}}, trials))
    assert not any("*" in cell.mark for grid in report.grids for row in grid.rows for cell in row)


# The functions behind it, on what they take -----------------------------------------------------------------------------
@given(d=DIFFERENCES, margin=st.floats(1e-6, 1e6))
@looking(80)
def test_any_differences_give_p_values_between_0_and_1_and_ordered_intervals(d, margin):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for interval in (paired.mean_interval(d), paired.bca_interval(d, resamples=50)):
            assert math.isfinite(interval.estimate)
            assert interval.low <= interval.high or (math.isnan(interval.low) and len(d) == 1)
        for test in (paired.sign_flip_test(d), paired.wilcoxon_test(d)):
            assert 0 <= test.p <= 1
            assert test.p >= min(test.floor, 1) - 1e-12
        if len(d) > 1:
            assert 0 <= paired.t_test(d).p <= 1
            assert 0 <= paired.equivalence_test(d, margin).p <= 1
            g = paired.hedges_g(d)
            assert math.isnan(g.estimate) or g.low <= g.estimate <= g.high


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "function",
    [paired.mean_interval, paired.bca_interval, paired.t_test, paired.hedges_g, paired.sign_flip_test,
     paired.wilcoxon_test, lambda d: paired.equivalence_test(d, 1.0), lambda d: power.plan_from_pilot(d, 1.0)],
)  # fmt: skip
def test_what_is_no_number_is_refused_by_name_never_averaged(function, bad):
    with pytest.raises(ValueError, match="not finite"):
        function([1.0, bad, 2.0])


@given(pilot=DIFFERENCES, effect=st.floats(1e-12, 1e12), goal=st.floats(0.06, 0.99))
@looking(25)
def test_any_pilot_gives_a_number_of_seeds_or_says_why_not(pilot, effect, goal):
    try:
        plan = power.plan_from_pilot(pilot, effect, goal)
    except ValueError as error:
        assert len(pilot) < 2 or "all equal" in str(error)
        return
    for seeds in (plan.seeds, plan.cautious):
        assert seeds is None or 2 <= seeds <= 2 * power.MOST_SEEDS
    assert power.detectable_effect(len(pilot), plan.sd, goal) > 0


@given(values=st.lists(st.lists(st.floats(-1e100, 1e100), min_size=4, max_size=4), min_size=2, max_size=4))
@looking(60)
def test_any_factorial_outcome_gives_effects_with_p_values(values):
    levels = np.array([[a, b] for a in (0, 1) for b in (0, 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for effect in factorial.effects(levels, values, ("a", "b")):
            assert 0 <= effect.p <= 1
            assert effect.interval.low <= effect.interval.estimate <= effect.interval.high
        shares = factorial.shapley(levels, values, ("a", "b"))
        largest = max(abs(v) for row in values for v in row)
        total = sum(share.estimate for share in shares.shares.values())
        assert total == pytest.approx(shares.total.estimate, abs=1e-12 * largest)
        factorial.anova(levels, values, ("a", "b"))
