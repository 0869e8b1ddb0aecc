"""Quantised layers."""

import torch
import torch.nn.functional as F
from torch import nn

from fsg.layers import QuantConv2d, QuantLinear, SignActivation, join, quantized_layers, using
from fsg.quantizers import BwnQuantizer, DorefaQuantizer


def test_a_layer_multiplies_with_its_quantised_weight():
    conv = QuantConv2d(3, 5, 3, stride=2, padding=1, bias=False, quantizer=DorefaQuantizer(1))
    linear = QuantLinear(4, 2, quantizer=BwnQuantizer())
    x, y = torch.randn(2, 3, 9, 9), torch.randn(3, 4)
    assert torch.equal(conv(x), F.conv2d(x, conv.quantizer(conv.weight).value, stride=2, padding=1))
    assert torch.equal(linear(y), F.linear(y, linear.quantizer(linear.weight).value, linear.bias))


def test_a_layer_by_itself_trains_its_latent_weight_straight_through():
    layer = QuantLinear(4, 2, quantizer=DorefaQuantizer(1))
    x = torch.randn(3, 4)
    layer(x).sum().backward()
    expected = layer.quantizer(layer.weight).slope * x.sum(0)
    torch.testing.assert_close(layer.weight.grad, expected)


def test_a_weight_put_in_use_receives_the_gradient_and_is_taken_out_again_even_after_an_error():
    layer = QuantLinear(4, 2, quantizer=DorefaQuantizer(1))
    weight = torch.randn(2, 4, requires_grad=True)
    try:
        with using([layer], [weight]):
            layer(torch.ones(1, 4)).sum().backward()
            raise RuntimeError
    except RuntimeError:
        pass
    assert torch.equal(weight.grad, torch.ones(2, 4))
    assert layer.weight.grad is None
    assert layer.weight_in_use is None


def test_a_layer_without_quantizer_is_an_ordinary_float_layer_and_not_counted():
    layer = QuantLinear(4, 2, quantizer=None)
    x = torch.randn(3, 4)
    assert torch.equal(layer(x), F.linear(x, layer.weight, layer.bias))
    assert quantized_layers(nn.Sequential(layer, QuantLinear(2, 2, quantizer=BwnQuantizer()))).keys() == {"1"}


def test_sign_activation_is_plus_minus_one_and_its_gradient_the_clipped_identity():
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    y = SignActivation()(x)
    y.backward(torch.arange(1.0, 8.0))
    assert y.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_joined_weights_are_views_of_one_vector():
    layers = [QuantLinear(3, 2, quantizer=BwnQuantizer()), QuantConv2d(2, 2, 3, quantizer=BwnQuantizer())]
    before = [layer.weight.detach().clone() for layer in layers]
    flat = join([layer.weight for layer in layers])
    assert all(torch.equal(layer.weight, w) for layer, w in zip(layers, before, strict=True))
    flat += 1
    assert all(torch.equal(layer.weight, w + 1) for layer, w in zip(layers, before, strict=True))
