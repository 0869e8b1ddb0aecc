import pytest
import torch

from fsg.config import TrialConfig, parse_trial
from fsg.data import DataSplits, load_data, normalise
from fsg.layers import QuantConv2d, quantized_layers
from fsg.models import build_model

DIGITS = (1, 8, 8)
QUANTIZERS = ["dorefa", {"name": "dorefa", "bits": 3}, "bwn", "bwn_channel", "none"]


def trial(name: str = "digits_cnn", quantizer: object = "dorefa", activations: str = "float") -> TrialConfig:
    return parse_trial({"model": {"name": name, "activations": activations}, "quantizer": quantizer, "gradient": "ste"})


def fresh(seed: int, name: str = "digits_cnn") -> dict[str, torch.Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(trial(name), DIGITS, 10).state_dict()


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_initial_weights_are_decided_by_the_seed(name):
    first, again, other = fresh(1, name), fresh(1, name), fresh(2, name)
    weights = [key for key in first if first[key].dim() > 1]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in weights)


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_initial_weights_do_not_depend_on_quantizer_or_activations(name):
    states = []
    for quantizer, activations in (("none", "float"), ("dorefa", "sign"), ("bwn_channel", "float")):
        torch.manual_seed(5)
        states.append(build_model(trial(name, quantizer, activations), DIGITS, 10).state_dict())
    for state in states[1:]:
        assert state.keys() == states[0].keys()
        assert all(torch.equal(state[key], states[0][key]) for key in state)


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_convolutions_start_with_he_variance(name):
    torch.manual_seed(0)
    for module in build_model(trial(name), (3, 32, 32), 10).modules():
        if isinstance(module, QuantConv2d) and module.weight.numel() > 2000:
            fan_out = module.weight[:, 0].numel()
            assert module.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("activations", ["float", "sign"])
@pytest.mark.parametrize("quantizer", QUANTIZERS, ids=str)
@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_logits_have_the_dtype_of_the_model_and_are_finite(name, quantizer, activations, dtype):
    model = build_model(trial(name, quantizer, activations), DIGITS, 7).to(dtype)
    logits = model(torch.randn(3, *DIGITS, dtype=dtype))
    assert logits.shape == (3, 7) and logits.dtype == dtype and logits.isfinite().all()
    logits.sum().backward()


def test_digits_cnn_has_4_quantised_layers_and_5392_quantised_weights():
    layers = quantized_layers(build_model(trial(), DIGITS, 10))
    assert len(layers) == 4
    assert sum(layer.weight.numel() for layer in layers.values()) == 5392


def test_digits_cnn_reads_images_of_other_shapes():
    for shape in ((3, 32, 32), (1, 9, 5), (3, 4, 4)):
        assert build_model(trial(), shape, 10)(torch.randn(2, *shape)).shape == (2, 10)


def test_digits_cnn_with_sign_activations_binarises_all_but_the_image():
    model = build_model(trial(activations="sign"), DIGITS, 10)
    values = []
    for layer in quantized_layers(model).values():
        layer.register_forward_hook(lambda _m, inputs, _out: values.append(set(inputs[0].unique().tolist())))
    model(torch.randn(4, *DIGITS))
    assert len(values) == 4 and len(values[0]) > 2 and values[1:] == [{-1.0, 1.0}] * 3


@pytest.fixture(scope="module")
def digits() -> DataSplits:
    return load_data(parse_trial({"data": {"name": "digits", "split": "random"}}).data)


@pytest.mark.parametrize(("activations", "least"), [("float", 0.93), ("sign", 0.85)])
def test_binary_digits_cnn_learns_real_digits_with_plain_ste(digits, activations, least):
    torch.manual_seed(0)
    model = build_model(trial(activations=activations), digits.image_shape, digits.classes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    x, x_test = (normalise(p.images, digits.mean, digits.std, torch.float32) for p in (digits.train, digits.test))
    steps = 12 * (len(x) // 64)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        batch = torch.randint(len(x), (64,), generator=torch.Generator().manual_seed(step))
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x[batch]), digits.train.labels[batch]).backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        model(x)  # BatchNorm has seen 228 small batches; one pass over the training images settles it
        accuracy = (model.eval()(x_test).argmax(1) == digits.test.labels).double().mean()
    assert accuracy > least
