"""Surrogate curves in the training step: the ordinary loop with autograd through the smooth function, and nothing else."""

import pytest
import torch
import torch.nn.functional as F
from smooth_curves import by_smooth
from torch import nn

from fsg.binarizers import AdaBinQuantizer, ReCUQuantizer, SiManQuantizer, XnorQuantizer
from fsg.catalogue.gradients import Ste
from fsg.catalogue.optimizers import OptimizerConfig
from fsg.catalogue.surrogates import Arctan, BiReal, Clipped, Ede, Fda, Rbnn, Reste, Surrogate, Swish, Tanh
from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.gradients import make_estimator
from fsg.layers import QuantConv2d, QuantLinear, SurrogateSign, quantized_layers
from fsg.ops.curves import curve_of
from fsg.ops.spans import Spans
from fsg.quantizers import BwnQuantizer, DorefaQuantizer
from fsg.train.optim import base_optimizer
from fsg.train.step import LookAheadStep

SHAPES = [Clipped(), BiReal(), Swish(), Ede(), Rbnn(), Reste(), Fda(), Tanh(), Arctan()]
OPTIMIZERS = [OptimizerConfig(name="sgd", lr=0.3, momentum=0.9), OptimizerConfig(name="adam", lr=0.02)]
STEPS = 6


def channels(w):
    return tuple(range(1, w.dim()))


def standardised(w):
    centred = w - w.mean(channels(w), keepdim=True)
    return centred / torch.sqrt(centred.var(channels(w), keepdim=True) + 1e-5)


def mean_of(x):
    return x.abs().mean(channels(x), keepdim=True).detach()


def dorefa(w, sign):
    return sign(torch.tanh(w) / torch.tanh(w).abs().max().detach())


def bwn(w, sign):
    return w.abs().mean().detach() * sign(w)


def xnor(w, sign):
    return mean_of(w) * sign(w)


def ir_net(w, sign):
    x = standardised(w)
    return torch.exp2(torch.round(torch.log2(mean_of(x)))) * sign(x)


def recu(w, sign):
    return sign(2 * 2**0.5 * standardised(w))


def siman(w, sign):
    x = standardised(w).abs()
    middle = x.flatten(1).median(dim=1).values.view(-1, *[1] * (w.dim() - 1)).detach()
    wq = sign(x - middle)
    return wq - 2 * (x == middle)  # the median itself counts as below


def adabin(w, sign):
    mean = w.mean(channels(w), keepdim=True).detach()
    deviation = w.std(channels(w), correction=0, keepdim=True).detach()
    return deviation * sign((w - mean) / deviation) + mean


QUANTIZERS = {
    "dorefa": (DorefaQuantizer(1), dorefa),
    "bwn": (BwnQuantizer(), bwn),
    "xnor": (XnorQuantizer(), xnor),
    "ir_net": (XnorQuantizer(standardize=True, scale="power_of_two"), ir_net),
    "recu": (ReCUQuantizer(), recu),
    "siman": (SiManQuantizer(), siman),
    "adabin": (AdaBinQuantizer(), adabin),
}


class Smooth(nn.Module):
    """A quantised layer whose weight autograd sees as the smooth function of its latent weight."""

    def __init__(self, layer, quantise):
        super().__init__()
        self.layer, self.quantise, self.sign = layer, quantise, None

    def forward(self, x):
        self.layer.weight_in_use = self.quantise(self.layer.weight, self.sign)
        return self.layer(x)


class SmoothActivation(nn.Module):
    sign = None

    def forward(self, x):
        return self.sign(x)


def network(quantizer, activation, quantise=None):
    torch.manual_seed(0)
    conv = QuantConv2d(1, 4, 3, quantizer=quantizer, bias=False)
    linear = QuantLinear(4 * 16, 10, quantizer=quantizer)
    if quantise:
        conv, linear = Smooth(conv, quantise), Smooth(linear, quantise)
    return nn.Sequential(conv, nn.BatchNorm2d(4), activation, nn.Flatten(), linear).double()


def batches():
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 1, 6, 6, generator=rng, dtype=torch.float64), torch.randint(10, (16,), generator=rng))
        for _ in range(STEPS)
    ]


def look_ahead(model, gradient, optimizer):
    layers = quantized_layers(model)
    estimator = make_estimator(gradient, Spans([x.weight.numel() for x in layers.values()])).double()
    return LookAheadStep(model, layers, estimator, optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_training_by_a_curve_is_the_ordinary_loop_through_its_smooth_function(quantizer, shape, optimizer):
    """Weights and activations, through scale, offset and standardisation, with the t / T of each step."""
    fast, quantise = QUANTIZERS[quantizer]
    ours = network(fast, SurrogateSign(curve_of(shape)))
    plain = network(None, SmoothActivation(), quantise)
    step = look_ahead(ours, Surrogate(shape=shape), optimizer)
    ordinary = base_optimizer(optimizer, plain.parameters())
    for number, (x, y) in enumerate(batches()):
        progress = number / STEPS
        for module in plain:
            if isinstance(module, Smooth | SmoothActivation):
                module.sign = lambda v, p=progress: by_smooth(v, shape, p)
        step.progress = progress
        ordinary.zero_grad()
        loss = F.cross_entropy(plain(x), y)
        loss.backward()
        torch.testing.assert_close(step(x, y).loss, loss.detach(), rtol=1e-7, atol=1e-9)
        ordinary.step()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: o.name)
def test_the_clipped_curve_is_ste_under_dorefa_bit_for_bit(optimizer):
    first, second = (network(DorefaQuantizer(1), nn.ReLU()) for _ in range(2))
    a, b = look_ahead(first, Surrogate(), optimizer), look_ahead(second, Ste(), optimizer)
    for x, y in batches():
        assert torch.equal(a(x, y).loss, b(x, y).loss)


def test_a_signal_has_what_the_sign_is_taken_of_for_those_alone_that_read_it():
    steps = [look_ahead(network(BwnQuantizer(True), nn.ReLU()), g, OPTIMIZERS[0]) for g in (Surrogate(), Ste())]
    for step in steps:
        step.progress = 0.25
        step(*batches()[0])
    read, unread = (step.signal for step in steps)
    assert read.progress == unread.progress == 0.25
    assert unread.at is unread.scale is unread.calibration is None
    assert torch.equal(read.at, read.pre)
    assert torch.equal(read.scale * read.at.sign(), steps[0].quantizer(steps[0].latent, steps[0].scope).value)


def test_a_curve_is_refused_where_the_quantizer_takes_no_sign():
    for quantizer in ({"name": "dorefa", "bits": 2}, "bwn_reference"):
        with pytest.raises(ConfigError, match=r"curve for the sign.*allowed: xnor, recu, siman, adabin, dorefa, bwn"):
            parse_trial({"gradient": "surrogate", "quantizer": quantizer})
    assert parse_trial({"gradient": "surrogate", "quantizer": "none"}).gradient.shape == Clipped()


def test_the_recorded_norm_is_that_of_the_gradient_through_the_curve():
    step = look_ahead(network(DorefaQuantizer(1), nn.ReLU()), Surrogate(shape=Ede(t_first=10.0)), OPTIMIZERS[0])
    x, y = batches()[0]
    norm = step(x, y).norms[0]
    own = [p.grad for p in step.others]
    along = step.estimator.slope(step.signal) * step.signal.grad
    torch.testing.assert_close(norm, torch.cat([along, *(g.flatten() for g in own)]).norm())
