"""The network of a trial as it is used: it scores what the trial was tested with."""

import pytest

from fsg.config import parse_trial
from fsg.train.inference import inference_network
from fsg.train.loop import Trainer

BASE = {"epochs": 2, "data": {"name": "digits", "batch_size": 256}}


@pytest.mark.parametrize(
    "over",
    [
        {"gradient": "ste"},
        {"gradient": "ste", "evaluate": {"batchnorm": "running"}},
        {"quantizer": "bwn_channel", "gradient": "fsg", "dtype": "float64"},
        {"quantizer": "none"},
        {"gradient": "ste", "optimizer": {"name": "schedulefreeadamw", "lr": 0.0025}, "schedule": "constant"},
    ],
    ids=["dorefa", "running statistics", "bwn", "float weights", "evaluated at another point"],
)
def test_a_network_for_use_scores_what_its_trial_was_tested_with(over):
    if "optimizer" in over:
        pytest.importorskip("pytorch_optimizer")
    trainer = Trainer(parse_trial(BASE | over))
    results = list(trainer)
    network = inference_network(trainer)
    test = trainer.data.test
    accuracy = 100 * (network(test.images).argmax(1) == test.labels).double().mean().item()
    assert accuracy == pytest.approx(results[-1].metrics["test_accuracy"], abs=1e-9)
    assert all(not parameter.requires_grad for parameter in network.parameters())
    weights = trainer.model.state_dict()
    assert network.network is not trainer.model and set(network.network.state_dict()) == set(weights)
