"""Quantisers of published one-bit networks against their closed forms and against autograd through the published lines."""

import math

import pytest
import torch

from fsg.binarizers import AdaBinQuantizer, ReCUQuantizer, SiManQuantizer, XnorQuantizer, standardised
from fsg.layers import QuantConv2d, quantized_layers
from fsg.quantizers import ONE_LAYER, AllLayers, straight_through

IR_NET = XnorQuantizer(standardize=True, scale="power_of_two")
ALL = [XnorQuantizer(), XnorQuantizer(standardize=True), IR_NET, ReCUQuantizer(), SiManQuantizer(), AdaBinQuantizer()]
STANDARDISED = [XnorQuantizer(standardize=True), IR_NET, ReCUQuantizer(), SiManQuantizer()]


def weights(shape=(5, 3, 3, 3), seed=0):
    return 0.1 * torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) + 0.01


def gradient(quantise, upstream):
    w = weights().requires_grad_()
    (quantise(w) * upstream).sum().backward()
    return w.grad


def ours(quantizer):
    return lambda w: straight_through(w, quantizer(w), quantizer)


def through(value, stand_in):
    """``value``, whose derivative autograd takes from ``stand_in``."""
    return stand_in + (value - stand_in).detach()


def test_a_standardised_channel_has_mean_0_and_deviation_1():
    x, inverse = standardised(weights(), ONE_LAYER)
    torch.testing.assert_close(x.flatten(1).mean(1), torch.zeros(5, dtype=torch.float64))
    torch.testing.assert_close(x.flatten(1).std(1), torch.ones(5, dtype=torch.float64), rtol=1e-3, atol=0)
    torch.testing.assert_close(inverse.flatten(), weights().flatten(1).std(1) ** -1, rtol=1e-3, atol=0)


def test_xnor_is_the_sign_times_the_channels_mean_magnitude_with_the_published_slope():
    w = torch.tensor([[1.0, -0.5, 0.0, 2.5]])
    made = XnorQuantizer()(w)
    assert made.value.tolist() == [[1, -1, 1, 1]]
    assert made.slope.tolist() == [[1.25, 1.25, 1.25, 0.25]]  # alpha 1[|W| <= 1] + 1/n


def test_ir_nets_scale_is_the_power_of_two_nearest_in_the_exponent():
    w = weights()
    scale = IR_NET(w).scale.flatten(1)[:, 0]
    means = standardised(w, ONE_LAYER)[0].abs().flatten(1).mean(1)
    assert scale.tolist() == [2.0 ** round(math.log2(m)) for m in means.tolist()]
    assert scale.tolist() == [1.0] * 5  # of standardised weights it is 1: mean |x| of a Gaussian is 0.8


def test_recu_is_the_sign_about_the_channels_mean():
    w = torch.tensor([[1.0, 2.0, 6.0], [-1.0, -1.0, -4.0]])
    assert ReCUQuantizer()(w).value.tolist() == [[-1, -1, 1], [1, 1, -1]]


@pytest.mark.parametrize("progress", [0.0, 0.4, 1.0])
def test_recu_stops_the_gradient_beyond_a_quantile_that_moves_with_training(progress):
    w = weights((4, 500))
    scope = AllLayers([w.shape])
    scope.progress = torch.tensor(progress, dtype=torch.float64)
    made = ReCUQuantizer()(w.flatten(), scope)
    tau = 0.85 + 0.14 * (math.exp(progress) - 1) / (math.e - 1)
    bound = -made.pre.abs().mean() * math.log(2 - 2 * tau)
    assert torch.equal(made.slope > 0, made.pre.abs() <= bound)
    assert torch.equal(made.value.view_as(w), ReCUQuantizer()(w).value)  # what is deployed hangs on no tau


def test_siman_gives_plus_one_to_the_larger_half_of_each_channels_magnitudes():
    w = torch.tensor([[5.0, -3.0, 1.0, -1.1, 0.2], [7.0, 0.0, 0.0, 0.0, 0.0]])
    x = standardised(w, ONE_LAYER)[0].abs()
    value = SiManQuantizer()(w).value
    assert value.sum(1).tolist() == [-1, -3]  # two of five; of equal magnitudes none is above the median
    assert all(torch.equal(v > 0, m > m.median()) for v, m in zip(value, x, strict=True))


def test_adabin_is_mean_plus_and_minus_deviation():
    w = torch.tensor([[1.0, 2.0, 3.0, 6.0], [4.0, 4.0, 4.0, 4.0]])
    made = AdaBinQuantizer()(w)
    root = 3.5**0.5
    torch.testing.assert_close(made.value, torch.tensor([[3 - root, 3 - root, 3 + root, 3 + root], [4.0] * 4]))
    assert made.slope[1].tolist() == [0, 0, 0, 0]


def published_ir_net(w):
    """CIFAR-10/ResNet20/1w1a/modules/ir_1w1a.py:18-23, its curve the clipped one."""
    bw = w - w.mean((1, 2, 3), keepdim=True)
    bw = bw / torch.sqrt(bw.var((1, 2, 3), keepdim=True) + 1e-5)
    scale = 2 ** torch.round(torch.log2(bw.abs().mean((1, 2, 3), keepdim=True))).detach()
    return through(torch.sign(bw), torch.where(bw.abs() <= 1, bw, bw.detach())) * scale


def published_recu(w):
    """cifar/modules/binarized_modules.py:20-32 at tau = 0.99."""
    w0 = w - w.mean([1, 2, 3], keepdim=True)
    w1 = w0 / (torch.sqrt(w0.var([1, 2, 3], keepdim=True) + 1e-5) / 2 / 2**0.5)
    bound = (-w1.abs().mean() * math.log(2 - 2 * 0.99)).item()
    w2 = torch.clamp(w1, -bound, bound)
    return through(torch.sign(w2), w2)


def published_siman(w):
    """cifar/modules/binarized_modules.py:33-59, without the clamp of the latent weights."""
    w1 = w - w.mean([1, 2, 3], keepdim=True)
    x = (w1 / torch.sqrt(w1.var([1, 2, 3], keepdim=True) + 1e-5)).abs()
    larger = x > x.flatten(1).median(dim=1).values.view(-1, 1, 1, 1)
    return through(2.0 * larger - 1, x)


@pytest.mark.parametrize(
    ("quantizer", "published"),
    [(IR_NET, published_ir_net), (ReCUQuantizer(), published_recu), (SiManQuantizer(), published_siman)],
    ids=lambda each: getattr(each, "__name__", ""),
)
def test_value_and_gradient_are_those_of_the_published_lines(quantizer, published):
    upstream = weights(seed=1)
    torch.testing.assert_close(quantizer(weights()).value, published(weights()).detach())
    torch.testing.assert_close(gradient(ours(quantizer), upstream), gradient(published, upstream))


@pytest.mark.parametrize("quantizer", STANDARDISED, ids=repr)
def test_the_gradient_of_a_standardised_weight_moves_no_channel_as_a_whole(quantizer):
    found = gradient(ours(quantizer), weights(seed=1)).flatten(1)
    x = standardised(weights(), ONE_LAYER)[0].flatten(1)
    zeros = torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(found.mean(1), zeros)
    torch.testing.assert_close((found * x).mean(1), zeros, rtol=0, atol=0.01 * found.abs().max().item())  # but for EPS


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_two_values_a_channel_are_offset_plus_and_minus_scale(quantizer):
    """One bit a weight: what the facts say, and what a deployed network multiplies with."""
    made = quantizer(weights())
    for value, scale in zip(made.value, made.scale, strict=True):
        low, high = value.unique().tolist()
        assert high - low == pytest.approx(2 * scale.flatten()[0].item())
        assert scale.unique().numel() == 1
        assert isinstance(quantizer, AdaBinQuantizer) == (abs(high + low) > 1e-6)


@pytest.mark.parametrize("quantizer", ALL, ids=repr)
def test_a_channel_of_one_weight_or_of_equal_ones_is_quantised_without_a_nan(quantizer):
    for w in (torch.full((3, 1), 0.2), torch.full((2, 4), -0.3), torch.zeros(2, 2, 1, 1)):
        assert all(part.isfinite().all() for part in quantizer(w))


def test_a_layer_used_alone_trains_as_its_quantizer_says():
    layer = QuantConv2d(3, 5, 3, quantizer=IR_NET, bias=False).double()
    with torch.no_grad():
        layer.weight.copy_(weights())
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    layer(x).square().sum().backward()
    w = weights().requires_grad_()
    torch.nn.functional.conv2d(x, published_ir_net(w)).square().sum().backward()
    torch.testing.assert_close(layer.weight.grad, w.grad)
    assert list(quantized_layers(torch.nn.Sequential(layer))) == ["0"]
