"""VGG-Small and ResNet-18 by their counts, float layers by role, and what a shortcut reads."""

import pickle

import pytest
import torch

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.layers import QuantConv2d, QuantLinear, SurrogateSign, clocks, quantized_layers
from fsg.models import build_model

CIFAR = (3, 32, 32)


def built(name, image_shape=CIFAR, quantizer="dorefa", **model):
    config = parse_trial({"model": {"name": name, **model}, "quantizer": quantizer, "gradient": "ste"})
    return build_model(config, image_shape, 10)


@pytest.mark.parametrize(
    ("name", "parameters", "quantised", "layers"),
    [("vgg_small", 4_660_106, 4_656_512, 7), ("resnet18", 11_173_962, 11_164_352, 21)],
)
def test_counts_are_those_of_the_published_networks(name, parameters, quantised, layers):
    with torch.device("meta"):
        model = built(name)
    found = quantized_layers(model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert (sum(layer.weight.numel() for layer in found.values()), len(found)) == (quantised, layers)


def test_resnet18_keeps_the_image_size_in_its_stem_and_halves_it_three_times():
    model = built("resnet18", (1, 8, 8)).eval()
    seen = []
    for name in model.stages:
        model.get_submodule(name).register_forward_hook(lambda _m, _i, out: seen.append(tuple(out.shape[1:])))
    model(torch.randn(2, 1, 8, 8))
    assert seen == [(64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1)]


def test_vgg_small_takes_its_maxima_before_batchnorm_and_the_sign():
    kinds = [type(module).__name__ for module in built("vgg_small", activations="sign").features]
    assert kinds[:3] == ["QuantConv2d", "BatchNorm2d", "SignActivation"]
    assert kinds[3:7] == ["QuantConv2d", "MaxPool2d", "BatchNorm2d", "SignActivation"]
    assert kinds.count("MaxPool2d") == 3


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_float_layers_stay_float_by_their_role(name):
    every = set(quantized_layers(built(name, (1, 8, 8))))
    shortcuts = {layer for layer in every if "downsample" in layer}
    roles = {"first": {"conv1"}, "last": {"fc"}, "shortcuts": shortcuts}
    assert len(shortcuts) == (2 if name == "resnet20" else 3)
    for role, gone in roles.items():
        assert set(quantized_layers(built(name, (1, 8, 8), float_layers=role))) == every - gone
    assert set(quantized_layers(built(name, (1, 8, 8), float_layers=list(roles)))) == every - set().union(
        *roles.values()
    )


@pytest.mark.parametrize(
    ("name", "first", "last"), [("digits_cnn", "features.0", "classifier"), ("vgg_small", "features.0", "classifier")]
)
def test_first_and_last_of_a_network_in_a_row_stay_float(name, first, last):
    every = set(quantized_layers(built(name, (1, 8, 8))))
    assert set(quantized_layers(built(name, (1, 8, 8), float_layers=["first", "last"]))) == every - {first, last}


def test_float_layers_change_no_initial_weight():
    torch.manual_seed(0)
    one = built("resnet20", (1, 8, 8)).state_dict()
    torch.manual_seed(0)
    other = built("resnet20", (1, 8, 8), float_layers=["first", "last", "shortcuts"]).state_dict()
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_float_shortcut_reads_the_sum_and_a_quantised_one_its_sign():
    for roles, binary in (((), True), (("shortcuts",), False)):
        model = built("resnet20", (1, 8, 8), activations="sign", float_layers=list(roles))
        seen = []
        model.layer2[0].downsample[0].register_forward_hook(
            lambda _m, i, _o, seen=seen: seen.append(i[0].unique().tolist())
        )
        model(torch.randn(2, 1, 8, 8))
        assert (seen[0] == [-1.0, 1.0]) == binary


def test_every_sign_of_a_network_has_the_configured_curve_and_one_clock_each():
    model = built("resnet20", (1, 8, 8), activations={"name": "sign", "surrogate": "ede"})
    signs = [module for module in model.modules() if isinstance(module, SurrogateSign)]
    assert len(signs) == len(clocks(model)) == 18
    assert not [name for name in model.state_dict() if "progress" in name]  # two-step training loads weights into it
    images = torch.randn(2, 1, 8, 8)
    assert torch.equal(pickle.loads(pickle.dumps(model.eval()))(images), model(images))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"name": "digits_cnn", "float_layers": ["shortcuts"]},
            "no layer of digits_cnn is on one; allowed: first, last",
        ),
        ({"name": "vgg_small", "float_layers": ["first", "shortcuts"]}, "no layer of vgg_small is on one"),
        ({"name": "resnet20", "float_layers": ["firts"]}, "allowed: first, last, shortcuts"),
    ],
)
def test_a_role_that_no_layer_has_is_refused(model, message):
    with pytest.raises(ConfigError, match=message):
        parse_trial({"model": model, "gradient": "ste"})


def test_every_layer_of_the_new_networks_is_made_to_be_quantised():
    for name in ("resnet18", "vgg_small"):
        for module in built(name, (1, 8, 8)).modules():
            if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                assert isinstance(module, QuantConv2d | QuantLinear) and module.quantizer is not None
