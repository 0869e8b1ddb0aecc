"""What the benchmarks of the method compute, on small cases; and that docs/method.md quotes what they measured."""

from pathlib import Path

import pytest
import torch

from benchmarks import horizon, record, step_cost, theorem1
from fsg.catalogue.gradients import Ste
from fsg.config import TrialConfig

ROOT = Path(__file__).parents[2]


def window(n, size=1e-2):
    return size * torch.randn(horizon.LENGTH, n, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_flattened_history_is_out_of_reach_where_per_weight_history_is_not(monkeypatch):
    monkeypatch.setattr(horizon, "D_INNER", 12)
    monkeypatch.setattr(horizon, "D_STATE", 4)
    far = horizon.flattened(window(300), seed=0)
    near = horizon.per_weight(window(300), seed=0, backend="reference")
    assert far["own"] < 1e-3 < 0.1 < near["own"]
    assert far["lre"] < 1e-3 < 0.1 < near["lre"]
    assert near["older"] > 0.1


def test_layer_embedding_is_out_of_the_taps_reach_at_the_default_sizes(monkeypatch):
    monkeypatch.setattr(horizon, "D_INNER", 12)
    monkeypatch.setattr(horizon, "D_STATE", 4)
    eight, four = (horizon.per_weight(window(50), seed=0, d_conv=taps, backend="reference")["lre"] for taps in (8, 4))
    assert four < eight / 10


def test_a_change_of_nothing_is_measured_as_zero():
    base = window(20)
    assert horizon.relative(base.clone(), base) == 0
    assert torch.equal(horizon.permuted(base, 0)[-1], base[-1])
    assert torch.equal(horizon.permuted(base, 0).sort(1).values, base.sort(1).values)


def test_slope_of_a_power_law_is_its_exponent():
    times = theorem1.checkpoints(4096)
    assert theorem1.slope(times, [3 * t**-0.5 for t in times]) == pytest.approx(-0.5)


def test_no_point_lies_below_the_least_value():
    torch.manual_seed(0)
    for problem in theorem1.problems()[:1]:
        for size in (0, 0.01, 1):
            x = size * torch.randn(65, 10, dtype=torch.float64)
            assert problem.value(x) > problem.best


def test_straight_through_descent_is_sgd_with_a_falling_step():
    problem = theorem1.Problem("sum of squares", lambda x, a, b: 0.5 * (x - 1).square().sum(), 0.3, 0.0,
                               torch.zeros(4, 5, dtype=torch.float64), torch.zeros(4, dtype=torch.int64))  # fmt: skip
    run = theorem1.descend(problem, Ste(), [1, 8], seed=0)
    x, points = 0.0, []
    for t in range(8):
        x -= 0.3 / (t + 1) ** 0.5 * (x - 1)
        points.append(x)
    assert run.gaps == pytest.approx([25 * (points[0] - 1) ** 2, 25 * (sum(points) / 8 - 1) ** 2])
    assert run.cosine == run.gain == pytest.approx(1)


@pytest.mark.parametrize("arm", ["ste", "gate", "fsg, fir", "fsg, mamba 8/4, reference"])
def test_an_arm_takes_steps(arm):
    step = step_cost.stepper("digits_cnn", step_cost.ARMS[arm], batch=8)
    assert all(torch.isfinite(torch.tensor(step())) for _ in range(3))


def test_every_arm_is_a_trial():
    for gradient in (step_cost.ARMS | step_cost.PAPER_REFERENCE).values():
        trial = TrialConfig.model_validate({"model": "resnet20", "gradient": gradient})
        assert trial.gradient.name == (gradient if isinstance(gradient, str) else gradient["name"])


def test_ratios_are_taken_round_by_round():
    row = step_cost.row_of("m", "a", [2.0, 30.0, 2.0], [1.0, 10.0, 1.0], 3.0, 1.0)
    assert (row["ratio"], row["peak_over_ste_gb"]) == (2.0, 2.0)


def test_the_document_quotes_what_was_measured():
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    rows = record.read("horizon")["rows"]
    assert record.markdown(horizon.HEADER, horizon.cells(rows)) in text
    assert record.markdown(theorem1.HEADER, theorem1.cells(record.read("theorem1")["rows"])) in text
    paper = record.read("step_cost_paper")["rows"]
    assert record.markdown(step_cost.HEADER, step_cost.cells(paper)) in text


def test_measured_slopes_are_minus_a_half_or_steeper():
    rows = [row for row in record.read("theorem1")["rows"] if "constant" not in row["method"]]
    assert len(rows) == 6
    assert all(row["slope_interval"][1] <= -0.5 and row["diverged"] == 0 for row in rows)


def test_the_paper_size_slow_net_stays_below_its_memory_in_plain_pytorch():
    rows = record.read("step_cost_paper")["rows"]
    assert all(row["peak_gb"] < step_cost.MEMORY_LIMIT for row in rows)
