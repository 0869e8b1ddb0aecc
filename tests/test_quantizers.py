"""Quantisers against their closed forms."""

import pytest
import torch

from fsg.catalogue.quantizers import Bwn, Dorefa, FloatWeights
from fsg.quantizers import (
    AllLayers,
    BwnQuantizer,
    DorefaQuantizer,
    ReferenceBwnQuantizer,
    make_quantizer,
    straight_through,
)

ALL = [DorefaQuantizer(k) for k in range(1, 9)] + [BwnQuantizer(False), BwnQuantizer(True)]


def weights(dtype=torch.float64, shape=(5, 3, 3, 3), seed=0):
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def stages(quantized):
    return [part for part in quantized if part is not None]


@pytest.mark.parametrize("bits", range(1, 9))
def test_dorefa_takes_evenly_spaced_values_from_minus_one_to_one(bits):
    values = DorefaQuantizer(bits)(weights(shape=(4000,))).value.unique()
    levels = torch.linspace(-1, 1, 2**bits, dtype=torch.float64)
    assert len(values) == 2**bits if bits < 8 else len(values) > 200
    assert all((levels - v).abs().min() < 1e-12 for v in values)


def test_dorefa_at_one_bit_is_the_sign_and_ties_fall_to_minus_one():
    w = torch.tensor([-2.0, -1e-3, 0.0, 1e-3, 2.0])
    assert DorefaQuantizer(1)(w).value.tolist() == [-1, -1, -1, 1, 1]


def test_dorefa_calibration_is_the_derivative_of_the_rounded_map_with_its_maximum_held():
    w = weights().requires_grad_()
    largest = torch.tanh(w).abs().max().detach()
    (torch.tanh(w) / largest).sum().backward()  # 2 W~ - 1
    torch.testing.assert_close(DorefaQuantizer(1)(w).calibration, w.grad)


def test_bwn_is_the_sign_times_the_mean_magnitude_and_zero_counts_as_positive():
    w = torch.tensor([[1.0, -3.0], [0.0, 0.0]])
    assert BwnQuantizer(False)(w).value.tolist() == [[1.0, -1.0], [1.0, 1.0]]
    assert BwnQuantizer(True)(w).value.tolist() == [[2.0, -2.0], [0.0, 0.0]]


def test_ste_gradient_is_the_clipped_identity():
    w = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.7, 1.0, 1.0000001], requires_grad=True)
    upstream = torch.arange(1.0, 8.0)
    (straight_through(w, BwnQuantizer(False)(w)) * upstream).sum().backward()
    assert w.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_dorefa_ste_gradient_is_upstream_times_calibration():
    w = weights().requires_grad_()
    upstream = weights(seed=1)
    q = DorefaQuantizer(2)(w)
    (straight_through(w, q) * upstream).sum().backward()
    assert torch.equal(w.grad, q.calibration * upstream)


@pytest.mark.parametrize("quantizer", ALL, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_quantizer_is_finite_keeps_shape_and_dtype_and_leaves_the_latent_weight_alone(quantizer, dtype):
    for w in (weights(dtype), torch.zeros(2, 3, dtype=dtype), 100 * weights(dtype, (7, 2)), weights(dtype, (1, 1))):
        before = w.clone()
        for part in stages(quantizer(w)):
            assert part.shape == w.shape and part.dtype == dtype and torch.isfinite(part).all()
        assert torch.equal(w, before)


@pytest.mark.parametrize("quantizer", ALL[:1] + ALL[8:], ids=str)
def test_a_quantised_weight_has_the_sign_of_its_latent_weight(quantizer):
    w = weights()
    assert torch.equal(quantizer(w).value.sign(), w.sign())


def test_quantizers_are_named_as_in_the_configuration():
    assert make_quantizer(Dorefa(bits=3)) == DorefaQuantizer(3)
    assert make_quantizer(Bwn(name="bwn")) == BwnQuantizer(False)
    assert make_quantizer(Bwn(name="bwn_channel")) == BwnQuantizer(True)
    assert make_quantizer(FloatWeights()) is None


@pytest.mark.parametrize("quantizer", [*ALL[:2], *ALL[8:], ReferenceBwnQuantizer("channel")], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_layers_in_one_call_are_each_layer_alone_bit_for_bit(quantizer, dtype):
    layers = [weights(dtype, s, seed=i) for i, s in enumerate([(16, 1, 3, 3), (7, 5), (1, 1), (10, 301)])]
    layers.append(torch.zeros(3, 2, dtype=dtype))
    together = quantizer(torch.cat([w.flatten() for w in layers]), AllLayers([w.shape for w in layers]))
    alones = zip(*(stages(quantizer(w)) for w in layers), strict=True)
    for part, alone in zip(stages(together), alones, strict=True):
        assert torch.equal(part, torch.cat([x.flatten() for x in alone]))


def test_the_gate_of_bwn_is_open_at_its_ends():
    """Where clipping holds a latent weight; the derivative of torch.clamp is 0 there from torch 2.14 on."""
    weight = torch.tensor([[-1.0, 1.0, 1.5, 0.5]], requires_grad=True)
    straight_through(weight, BwnQuantizer()(weight)).sum().backward()
    assert weight.grad.tolist() == [[1.0, 1.0, 0.0, 1.0]]
