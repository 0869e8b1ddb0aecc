"""Two-step training: activations are binarised first, then weights, from a checkpoint of the first step."""

import pytest
import torch

import fsg
from fsg.config import parse_trial
from fsg.driver.planning import plan_file
from fsg.errors import ConfigError
from fsg.execution.engine import Resources
from fsg.gradients import Signal
from fsg.report.dry_run import describe_plan
from fsg.study.pretrained import check_pretrained
from fsg.study.spec import load_study
from fsg.testing.training import assert_resumes, small_images
from fsg.train.checkpoint import load_checkpoint, save_checkpoint
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


# Between two studies --------------------------------------------------------------------------------------------------
STUDY = """name: NAME
seeds: [0, 1]
analysis: {interval: null}
metric: {name: val_accuracy, mode: max}
base:
  model: {name: digits_cnn, activations: {name: sign, surrogate: ede}, float_layers: [first, last]}
  gradient: surrogate
  data: {name: synthetic, batch_size: 256}
  epochs: 1
  device: cpu
arms:
"""
FIRST = (
    STUDY.replace("NAME", "first")
    + "  float: {quantizer: none}\n  clipped: {quantizer: none, model: {activations: {surrogate: clipped}}}\n"
)
SECOND = STUDY.replace("NAME", "second") + "  scratch: {quantizer: xnor}\n  two_steps:\n    quantizer: xnor\n"
SECOND += "    model: {pretrained: WEIGHTS}\n"


def run_study(folder, name, text):
    path = folder / f"{name}.yaml"
    path.write_text(text)
    options = {"engine": fsg.LocalEngine(), "storage": folder / "studies", "output": "quiet"}
    return fsg.run(path, tracking_uri=f"sqlite:///{folder}/mlflow.db", **options)


def test_a_study_goes_on_from_a_checkpoint_of_another_study(tmp_path):
    run_study(tmp_path, "first", FIRST)
    weights, other, *_ = sorted((tmp_path / "studies" / "first").rglob("last.pt"))
    study = run_study(tmp_path, "second", SECOND.replace("WEIGHTS", str(weights)))
    losses = study.epochs.groupby("arm").train_loss.mean()
    assert losses["two_steps"] != losses["scratch"]
    config = parse_trial(BASE | {"quantizer": "xnor", "model": MODEL | {"pretrained": str(weights)}})
    began, state = Trainer(config), load_checkpoint(weights)
    for name, value in began.model.state_dict().items():
        assert torch.equal(value, state["model"][name]), name
    assert not torch.equal(load_checkpoint(other)["model"]["classifier.weight"], state["model"]["classifier.weight"])


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("nowhere.pt", "nowhere.pt: no such file"),
        ("notes.pt", "no checkpoint of weights, or one that is damaged"),
        ("resnet.pt", "its weights are of another network; missing classifier.bias"),
    ],
)
@pytest.mark.parametrize("begin", ["run", "plan", "describe"])
def test_weights_that_no_trial_could_start_from_are_refused_with_their_line(
    tmp_path, monkeypatch, weights, said, begin
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.pt").write_text("notes")
    torch.save({"fc.weight": torch.zeros(10, 64)}, tmp_path / "resnet.pt")
    text = SECOND.replace("WEIGHTS", weights)
    (tmp_path / "second.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"second\.yaml:15: model\.pretrained {weights}: .*") as refused:
        match begin:
            case "run":
                run_study(tmp_path, "second", text)
            case "plan":
                plan_file(tmp_path / "second.yaml", tmp_path / "studies")
            case "describe":
                describe_plan(load_study(tmp_path / "second.yaml"), Resources())
    assert said in str(refused.value)
    assert not (tmp_path / "studies").exists(), "nothing was written"


def test_weights_among_which_a_search_chooses_are_looked_for_too(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text(
        "name: search\nmetric: {name: val_accuracy, mode: max}\nsearch: {trials: 4}\n"
        "base: {gradient: ste, data: synthetic, epochs: 1}\n"
        "space:\n  optimizer.lr: {loguniform: [1e-4, 1e-1]}\n  model.pretrained: {choice: [null, nowhere.pt]}\n"
    )
    with pytest.raises(ConfigError, match=r"search\.yaml:7: model\.pretrained nowhere\.pt: no such file"):
        check_pretrained(load_study(path))
