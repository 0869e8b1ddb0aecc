"""What a CUDA graph of the step relies on; the replay itself where there is a GPU."""

import copy
import logging

import pytest
import torch

from fsg.catalogue.optimizers import OptimizerConfig
from fsg.config import parse_trial
from fsg.train import Trainer
from fsg.train.capture import CapturedStep, can_capture, why_not
from fsg.train.optim import Rates, base_optimizer

ARMS = ["ste", "ema", "scalar", "multi_fc", "fc_grad", "lstm_fc", "fsg"]
CASES = [{"gradient": g} for g in [*ARMS, {"name": "fsg", "slow_net": "fir"}]]
CASES += [{"optimizer": {"name": "sgd", "momentum": 0.9}}, {"quantizer": "bwn_channel"}, {"quantizer": "none"}]
CUDA = torch.device("cuda")


def trial(**over):
    return parse_trial({"data": {"name": "synthetic", "batch_size": 64}, "device": "cpu", "epochs": 2, **over})


def name(case):
    return "-".join(map(str, case.values()))


def addresses(trainer):
    tensors = torch.utils._pytree.tree_leaves([trainer.step.state_dict(), trainer.model.state_dict()])
    return [t.data_ptr() for t in tensors if isinstance(t, torch.Tensor)]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_every_tensor_of_the_state_stays_where_it_is_once_the_history_is_full(case):
    trainer = Trainer(trial(**case))
    images, labels = trainer.inputs(trainer.data.train.images[:64]), trainer.data.train.labels[:64]
    for _ in range(8):
        trainer.step(images, labels)
    before = addresses(trainer)
    for _ in range(3):
        trainer.step(images, labels)
    assert addresses(trainer) == before and all(before)


def test_a_rate_that_is_a_tensor_stays_where_it_is():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = base_optimizer(OptimizerConfig(name="adam", lr=0.5), [weight])
    rate = optimizer.param_groups[0]["lr"] = torch.tensor(0.5)
    rates = Rates([optimizer])
    optimizer.param_groups[0]["lr"] = torch.tensor(9.0)  # as loading a state does
    rates.scale(0.25)
    assert optimizer.param_groups[0]["lr"] is rate and rate.item() == 0.125


@pytest.mark.parametrize(
    ("over", "device", "reason"),
    [
        ({}, "cpu", "trains on cpu"),
        ({"optimizer": "lion"}, "cuda", "lion may count its steps on the host"),
        ({"gradient": "gate"}, "cuda", "progress of training"),
        ({"gradient": {"name": "multi_fc", "update": "reference"}}, "cuda", "rate as a number"),
    ],
)
def test_what_cannot_be_captured_runs_as_it_is_and_says_why(over, device, reason, caplog):
    config = trial(cuda_graph=True, **over)
    with caplog.at_level(logging.WARNING, logger="fsg"):
        assert not can_capture(config, torch.device(device))
    assert reason in caplog.text
    assert not isinstance(Trainer(trial(cuda_graph=True)).step, CapturedStep)


def test_capturing_is_off_unless_it_is_asked_for_and_then_part_of_what_a_trial_is():
    assert not can_capture(trial(), CUDA) and why_not(trial(), CUDA) is None
    assert can_capture(trial(cuda_graph=True), CUDA)
    assert "cuda_graph" not in trial().identity()  # older trials keep their keys
    assert trial(cuda_graph=True).identity()["cuda_graph"]


@pytest.mark.gpu
@pytest.mark.parametrize("case", [*CASES, {"gradient": {"name": "fsg", "layout": "flattened"}}], ids=name)
def test_captured_steps_are_the_same_steps_bit_for_bit(case):
    config = trial(cuda_graph=True, **case).model_copy(update={"device": "cuda"})
    captured, eager = Trainer(config), Trainer(config)
    eager.step = eager.step.step  # the same optimizers, launched one by one
    a, b = list(captured), list(eager)
    assert captured.step.graph is not None
    assert [r.metrics["train_loss"] for r in a] == [r.metrics["train_loss"] for r in b]
    for x, y in zip(captured.model.state_dict().values(), eager.model.state_dict().values(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.gpu
def test_a_captured_trial_goes_on_from_its_state():
    config = trial(cuda_graph=True).model_copy(update={"device": "cuda"})
    whole, first, second = Trainer(config), Trainer(config), Trainer(config)
    results = [whole.run_epoch(), whole.run_epoch()]
    first.run_epoch()
    second.load_state_dict(first.state_dict())
    assert second.run_epoch().metrics["train_loss"] == results[1].metrics["train_loss"]


@pytest.mark.parametrize("gradient", ["ste", "fsg"])
@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_trial_that_was_captured_on_a_gpu_goes_on_on_the_cpu_to_the_same_bit(name, gradient):
    config = trial(optimizer={"name": name, "lr": 0.01, "momentum": 0.9 * (name == "sgd")}, gradient=gradient)
    trainer, other = Trainer(config), Trainer(config)
    trainer.run_epoch()
    state = trainer.state_dict()
    captured = copy.deepcopy(state)
    for part, optimizer in captured["step"].items():
        for group in (optimizer or {}).get("param_groups", []) if part.endswith("optimizer") else []:
            group |= {"lr": torch.tensor(group["lr"]), "foreach": False}
            group |= {"capturable": True} if "capturable" in group else {"fused": True}
    other.load_state_dict(captured)
    assert other.run_epoch().metrics["train_loss"] == trainer.run_epoch().metrics["train_loss"]
    assert torch.equal(other.step.latent, trainer.step.latent)
