"""Two-step training: activations are binarised first, then weights, from a checkpoint of the first step."""

import pytest
import torch

from fsg.config import parse_trial
from fsg.gradients import Signal
from fsg.testing.training import assert_resumes, small_images
from fsg.train.checkpoint import save_checkpoint
from fsg.train.loop import Trainer

MODEL = {"name": "digits_cnn", "activations": {"name": "sign", "surrogate": "ede"}, "float_layers": ["first", "last"]}
BASE = {
    "model": MODEL,
    "gradient": "surrogate",
    "data": {"name": "synthetic", "batch_size": 8},
    "epochs": 2,
    "device": "cpu",
}


def test_weights_are_binarised_from_where_binary_activations_left_them(tmp_path):
    first = Trainer(parse_trial(BASE | {"quantizer": "none"}), small_images())
    losses = [result.metrics["train_loss"] for result in first]
    save_checkpoint(first.state_dict(), tmp_path / "first.pt")
    config = parse_trial(BASE | {"quantizer": "xnor", "model": MODEL | {"pretrained": str(tmp_path / "first.pt")}})
    second = Trainer(config, small_images())
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, first.model.state_dict()[name]), name
    *_, last = second
    assert last.metrics["train_loss"] < losses[0]


def test_the_first_steps_activations_follow_the_progress_of_training():
    """Nothing is quantised, so no look-ahead: the ordinary step sets their clocks."""
    trainer = Trainer(parse_trial(BASE | {"quantizer": "none"}), small_images())
    trainer.step.progress = 0.3
    assert len(trainer.step.clocks) == 3
    assert all(clock.item() == pytest.approx(0.3) for clock in trainer.step.clocks)


@pytest.mark.parametrize(
    "over", [{"quantizer": "none"}, {"quantizer": "recu", "gradient": {"name": "surrogate", "shape": "rbnn"}}]
)
def test_a_trial_whose_curves_move_resumes_to_the_bit(over):
    assert_resumes(parse_trial(BASE | {"checkpoint_every_steps": 2} | over), small_images())


def test_a_curve_in_the_activations_trains_otherwise_than_the_clipped_one():
    losses = set()
    for curve in ("clipped", "bireal", "ede", "reste"):
        config = parse_trial(BASE | {"model": MODEL | {"activations": {"name": "sign", "surrogate": curve}}})
        *_, last = Trainer(config, small_images())
        losses.add(last.metrics["train_loss"])
    assert len(losses) == 4


def test_signals_of_before_this_release_are_gone_on_from(tmp_path):
    """Its signal has gradient, W~ and slope alone."""
    config = parse_trial(BASE | {"gradient": "ste", "quantizer": "dorefa", "model": "digits_cnn"})
    whole, old = (Trainer(config, small_images()) for _ in range(2))
    whole.run_epoch()
    state = whole.state_dict()
    signal = state["step"]["signal"]
    state["step"]["signal"] = {name: signal[name] for name in ("grad", "pre", "slope")}
    old.load_state_dict(state)
    assert old.run_epoch().metrics["train_loss"] == whole.run_epoch().metrics["train_loss"]
    assert old.step.signal.progress > 0 and Signal._field_defaults["progress"].item() == 0  # a step writes in place
