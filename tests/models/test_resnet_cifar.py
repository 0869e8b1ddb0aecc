import pytest
import torch

from fsg.config import TrialConfig, parse_trial
from fsg.errors import ConfigError
from fsg.layers import QuantConv2d, QuantLinear, SignActivation, quantized_layers
from fsg.models import build_model
from fsg.models.resnet_cifar import BasicBlock

CIFAR = (3, 32, 32)


def trial(name: str, quantizer: str = "dorefa", activations: str = "float") -> TrialConfig:
    return parse_trial({"model": {"name": name, "activations": activations}, "quantizer": quantizer, "gradient": "ste"})


@pytest.mark.parametrize(
    ("depth", "classes", "parameters", "quantised", "layers"),
    [
        (8, 10, 78_042, 77_360, 10),
        (20, 10, 272_474, 270_896, 22),
        (32, 10, 466_906, 464_432, 34),
        (44, 10, 661_338, 657_968, 46),
        (56, 100, 861_620, 857_264, 58),
        (110, 100, 1_736_564, 1_728_176, 112),
    ],
)
def test_counts_are_those_of_the_reference_experiment(depth, classes, parameters, quantised, layers):
    with torch.device("meta"):
        model = build_model(trial(f"resnet{depth}"), CIFAR, classes)
    found = quantized_layers(model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(layer.weight.numel() for layer in found.values()) == quantised
    assert len(found) == layers


def test_a_width_is_the_first_stages_and_no_other_networks():
    """conv 108, stage 1 2 x 144, stage 2 288 + 576 + 32, stage 3 1,152 + 2,304 + 128, fc 160 of 4, 8 and 16 channels."""
    model = build_model(parse_trial({"model": {"name": "resnet8", "width": 4}}), CIFAR, 10)
    weights = sum(layer.weight.numel() for layer in quantized_layers(model).values())
    assert weights == 108 + 288 + 896 + 3584 + 160
    assert parse_trial({"model": {"name": "resnet8", "width": 16}}) == parse_trial({"model": "resnet8"})
    with pytest.raises(ConfigError, match=r"width: is for resnet8, .*resnet110; digits_cnn has one width"):
        parse_trial({"model": {"name": "digits_cnn", "width": 4}})


def test_every_convolution_and_the_classifier_is_quantised():
    model = build_model(trial("resnet20"), CIFAR, 10)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            assert isinstance(module, QuantConv2d | QuantLinear) and module.quantizer is not None


def test_parameter_names_are_those_of_the_common_cifar_resnets():
    block = [f"{part}.{n}" for part in ("conv1", "bn1", "conv2", "bn2") for n in ("weight", "bias", "running_mean")]
    block = [name for name in block if not name.startswith("conv") or name.endswith("weight")]
    expected = {"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "fc.weight", "fc.bias"}
    expected |= {f"layer{s}.{b}.{name}" for s in (1, 2, 3) for b in (0, 1, 2) for name in block}
    expected |= {
        f"layer{s}.0.downsample.{name}" for s in (2, 3) for name in ("0.weight", "1.weight", "1.bias", "1.running_mean")
    }
    state = build_model(trial("resnet20"), CIFAR, 10).state_dict()
    assert {key for key in state if not key.endswith(("running_var", "num_batches_tracked"))} == expected


def test_float_checkpoint_loads_into_a_quantised_network_and_back():
    plain = build_model(trial("resnet20", quantizer="none"), CIFAR, 10)
    binary = build_model(trial("resnet20", activations="sign"), CIFAR, 10)
    binary.load_state_dict(plain.state_dict(), strict=True)
    assert not quantized_layers(plain)


def test_stages_halve_the_image_twice():
    model = build_model(trial("resnet20"), CIFAR, 10)
    seen = []
    for stage in (model.layer1, model.layer2, model.layer3):
        stage.register_forward_hook(lambda _module, _inputs, output: seen.append(tuple(output.shape)))
    model(torch.randn(2, *CIFAR))
    assert seen == [(2, 16, 32, 32), (2, 32, 16, 16), (2, 64, 8, 8)]


def test_float_network_is_a_plain_residual_network():
    """Against He et al.'s block written out with torch's own functions."""
    torch.manual_seed(0)
    block = BasicBlock(4, 6, 2, quantizer=None, activations="float").double().eval()
    for bn in (block.bn1, block.bn2, block.downsample[1]):
        torch.nn.init.normal_(bn.weight), torch.nn.init.normal_(bn.bias)
    x = torch.randn(2, 4, 7, 7, dtype=torch.float64)
    f = torch.nn.functional
    branch = block.bn1(f.conv2d(x, block.conv1.weight, stride=2, padding=1)).relu()
    branch = block.bn2(f.conv2d(branch, block.conv2.weight, padding=1))
    shortcut = block.downsample[1](f.conv2d(x, block.downsample[0].weight, stride=2))
    torch.testing.assert_close(block(x), (branch + shortcut).relu(), rtol=0, atol=1e-12)


def test_sign_activations_binarise_what_every_convolution_but_the_first_reads():
    model = build_model(trial("resnet20", activations="sign"), CIFAR, 10)
    convs = [m for m in model.modules() if isinstance(m, QuantConv2d)]
    values = []
    for conv in convs:
        conv.register_forward_hook(lambda _m, inputs, _out: values.append(set(inputs[0].unique().tolist())))
    model(torch.randn(2, *CIFAR))
    assert len(values) == 21 and all(v == {-1.0, 1.0} for v in values[1:])
    assert len(values[0]) > 2
    assert not any(isinstance(m, torch.nn.ReLU) for m in model.modules())


def test_float_activations_have_no_sign():
    assert not any(isinstance(m, SignActivation) for m in build_model(trial("resnet20"), CIFAR, 10).modules())


@pytest.mark.parametrize("activations", ["float", "sign"])
def test_gradient_reaches_every_parameter(activations):
    torch.manual_seed(0)
    model = build_model(trial("resnet20", activations=activations), (1, 8, 8), 10)
    model(torch.randn(8, 1, 8, 8)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
