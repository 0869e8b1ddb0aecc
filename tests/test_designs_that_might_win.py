"""The designs of ablations/designs.py start as their rivals; ``testing/test_contracts_in_house.py`` has their contracts."""

from pathlib import Path

import pytest
import torch

from fsg.config import parse_trial
from fsg.gradients import make_estimator
from fsg.ops.spans import Spans
from fsg.plugins import load_plugin
from fsg.testing.gradient import signals

FILE = Path(__file__).parents[1] / "ablations" / "designs.py"


TANH = {"name": "surrogate", "shape": "tanh"}


@pytest.mark.parametrize(
    ("design", "rival"),
    [("fsg_on_curve", TANH), ("fsg_near_flips", "fsg"), ("scales", "ste"), ("learnt_curve", TANH)],
)
def test_a_design_starts_as_its_rival_without_anything_learnt(design, rival):
    load_plugin(FILE)
    sizes = (6, 11)
    spans = Spans(sizes)
    ours, theirs = (
        make_estimator(parse_trial({"gradient": each}).gradient, spans).double() for each in (design, rival)
    )
    for signal in signals(sizes, 4):
        torch.testing.assert_close(ours(signal).value, theirs(signal).value)


def test_only_weights_near_their_threshold_teach_fsg_near_flips():
    load_plugin(FILE)
    spans = Spans((4,))
    estimator = make_estimator(parse_trial({"gradient": "fsg_near_flips"}).gradient, spans).double()
    first, measured = signals((4,), 2)
    measured = measured._replace(pre=torch.tensor([1e-9, 1.0, 1.0, 1.0], dtype=torch.float64))
    value = estimator(first).value.detach().requires_grad_()
    direction = estimator(first)._replace(value=value)
    assert estimator.learn(direction, measured)
    rms = (3 / 4) ** 0.5
    near = torch.exp(-((measured.pre / (0.5 * rms)) ** 2))
    torch.testing.assert_close(value.grad, -near / near.mean() * measured.slope * measured.grad)
