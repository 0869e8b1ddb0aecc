"""The network of a trial as it is used: it scores what the trial was tested with."""

import pytest

from fsg.config import parse_trial
from fsg.parts import part_of
from fsg.train.inference import inference_network
from fsg.train.loop import Trainer

PROTOCOL = {
    "name": "digits_cnn",
    "activations": {"name": "sign", "surrogate": "ede"},
    "float_layers": ["first", "last"],
}
BASE = {"epochs": 2, "data": {"name": "digits", "batch_size": 256}}


@pytest.mark.parametrize(
    "over",
    [
        {"gradient": "ste"},
        {"gradient": "ste", "evaluate": {"batchnorm": "running"}},
        {"quantizer": "bwn_channel", "gradient": "fsg", "dtype": "float64"},
        {"quantizer": "none"},
        {"quantizer": "adabin", "gradient": "surrogate"},
        {"quantizer": "recu", "model": PROTOCOL, "gradient": {"name": "surrogate", "shape": "ede"}},
        {"gradient": "ste", "optimizer": {"name": "schedulefreeadamw", "lr": 0.0025}, "schedule": "constant"},
    ],
    ids=["dorefa", "running statistics", "bwn", "float weights", "offset", "protocol", "evaluated at another point"],
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


@pytest.mark.parametrize("quantizer", ["dorefa", "bwn_channel", "xnor", "recu", "siman", "adabin"])
def test_a_network_for_use_has_one_bit_a_weight_where_its_quantizer_says_so_and_floats_where_its_layers_do(quantizer):
    config = parse_trial(BASE | {"quantizer": quantizer, "model": PROTOCOL, "gradient": "ste", "epochs": 1})
    trainer = Trainer(config)
    trainer.run_epoch()
    network = inference_network(trainer).network
    one_bit = {"features.3", "features.6"}
    for name, weight in network.state_dict().items():
        if name.removesuffix(".weight") in one_bit:
            assert all(len(channel.unique()) == 2 for channel in weight)
        elif name in ("features.0.weight", "classifier.weight"):
            assert min(len(channel.unique()) for channel in weight) > 5
    assert part_of("quantizer", config.quantizer).fact("bits", config.quantizer) == 1
