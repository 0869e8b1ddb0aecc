"""Hutchinson's estimate against the exact Hessian of a tiny quantised network, and what optimizers are told of it."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.layers import QuantLinear, join, quantized_layers, using
from fsg.quantizers import AllLayers, BwnQuantizer, DorefaQuantizer
from fsg.testing.training import assert_resumes, small_images
from fsg.train import Trainer
from fsg.train.curvature import backward_twice, by_kernel

QUANTIZERS = pytest.mark.parametrize("quantizer", [BwnQuantizer(), DorefaQuantizer(2)], ids=["bwn", "dorefa2"])


class Tiny:
    """Two quantised layers, 6 and 4 weights, in float64: its loss as a function of the flat vector of Wq."""

    def __init__(self, quantizer):
        torch.manual_seed(0)
        self.model = nn.Sequential(
            QuantLinear(3, 2, quantizer=quantizer), nn.Tanh(), QuantLinear(2, 2, quantizer=quantizer)
        )
        self.model.double()
        self.layers = list(quantized_layers(self.model).values())
        weights = [layer.weight for layer in self.layers]
        self.shapes = [weight.shape for weight in weights]
        self.quantized = quantizer(join(weights), AllLayers(self.shapes))
        self.inputs, self.labels = torch.randn(8, 3, dtype=torch.float64), torch.arange(8) % 2

    def parts(self, flat):
        sizes = [shape.numel() for shape in self.shapes]
        return [part.view(shape) for part, shape in zip(flat.split(sizes), self.shapes, strict=True)]

    def loss(self, flat):
        with using(self.layers, self.parts(flat)):
            return F.cross_entropy(self.model(self.inputs), self.labels)

    def exact(self):
        return torch.func.hessian(self.loss)(self.quantized.value)

    def estimate(self, noise):
        leaf = self.quantized.value.clone().requires_grad_()
        (found,) = backward_twice(self.loss(leaf), [leaf], [noise])
        return found, leaf.grad


def every_sign(count):
    return torch.tensor(list(itertools.product((-1.0, 1.0), repeat=count)), dtype=torch.float64)


@QUANTIZERS
def test_the_estimates_of_all_signs_have_the_exact_diagonal_as_mean_and_its_row_as_variance(quantizer):
    """1,024 vectors of signs are all there are for 10 weights: their mean is the expectation, with nothing left to chance."""
    tiny = Tiny(quantizer)
    exact = tiny.exact()
    estimates = torch.stack([tiny.estimate(z)[0] for z in every_sign(10)])
    torch.testing.assert_close(estimates.mean(0), exact.diagonal())
    row = exact.square().sum(1) - exact.diagonal().square()
    torch.testing.assert_close(estimates.var(0, correction=0), row)
    assert exact.diagonal().abs().max() > 1e-3, "a quantised network's loss has curvature in its quantised weights"


@QUANTIZERS
def test_one_estimate_is_the_exact_product_with_its_noise_and_leaves_the_gradient(quantizer):
    tiny, z = Tiny(quantizer), torch.randn(10, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    found, gradient = tiny.estimate(z)
    torch.testing.assert_close(found, z * (tiny.exact() @ z))
    torch.testing.assert_close(gradient, torch.func.grad(tiny.loss)(tiny.quantized.value))


def test_noise_in_one_layer_alone_sees_the_block_of_that_layer():
    """The estimate of a layer has no part of the other's block where z is zero there: blocks of layers do not mix."""
    tiny = Tiny(BwnQuantizer())
    exact = tiny.exact()
    z = torch.cat([every_sign(6), torch.zeros(64, 4, dtype=torch.float64)], 1)
    estimates = torch.stack([tiny.estimate(row)[0] for row in z])
    torch.testing.assert_close(estimates.mean(0)[:6], exact.diagonal()[:6])
    block = exact[:6, :6]
    torch.testing.assert_close(estimates.var(0, correction=0)[:6], block.square().sum(1) - block.diagonal().square())
    assert torch.equal(estimates[:, 6:], torch.zeros(64, 4, dtype=torch.float64))


def test_parameters_that_nobody_probes_or_reads_get_their_gradients_all_the_same():
    x, y = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in ([1.0, 2.0], [3.0]))
    unread, linear = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = (x**3).sum() * y.sum() + 2 * linear.sum()
    h, flat = backward_twice(
        loss, [x, linear], [torch.tensor([1.0, -1.0]).double(), torch.ones(1).double()], [y, unread]
    )
    assert h.tolist() == [18, 36] and flat.tolist() == [0]
    assert x.grad.tolist() == [9, 36] and y.grad.tolist() == [9] and linear.grad.tolist() == [2] and unread.grad is None


def test_a_convolutions_curvature_is_averaged_over_each_kernel_and_nothing_elses():
    h = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    found = by_kernel(h)
    for o, i in itertools.product(range(4), range(3)):
        torch.testing.assert_close(found[o, i], h[o, i].abs().mean().expand(3, 3))
    assert torch.equal(by_kernel(h[:, :, 0, 0]), h[:, :, 0, 0].abs())


# What optimizers are told ---------------------------------------------------------------------------------------------
def trainer_of(optimizer, **over):
    pytest.importorskip("pytorch_optimizer", reason="the extra `optimizers` is not installed")
    plain = {"gradient": "ste", "quantizer": "bwn", "data": {"name": "synthetic", "batch_size": 8, "augment": False}}
    plain |= {"schedule": "constant", "epochs": 2, "device": "cpu", "optimizer": optimizer, "checkpoint_every_steps": 2}
    return Trainer(parse_trial({**plain, **over}), small_images())


def told(trainer, steps):
    """What the latent weights' optimizer was told at each step, as one vector; None for nothing."""
    latent, seen = trainer.step.guests()[0], []
    see = latent.see

    def note(loss, diagonal=None):
        seen.append(None if diagonal is None else torch.cat([h.flatten() for h in diagonal]))
        see(loss, diagonal)

    latent.see = note
    images, labels = trainer.inputs(trainer.data.train.images[:8]), trainer.data.train.labels[:8]
    for _ in range(steps):
        trainer.step(images, labels)
    return seen


def test_the_stand_in_is_the_squared_gradient_of_each_latent_weight_and_costs_no_second_pass(monkeypatch):
    trainer = trainer_of({"name": "sophiah", "lr": 0.01, "curvature": {"name": "squared_gradient", "every": 1}})
    monkeypatch.setattr("fsg.train.step.backward_twice", None)
    (seen,) = told(trainer, 1)
    signal = trainer.step.signal
    torch.testing.assert_close(seen, (signal.slope * signal.grad) ** 2)


def test_curvature_is_measured_every_so_many_steps_as_the_study_says():
    for name, every, asked in (("sophiah", None, [0]), ("sophiah", 3, [0, 3, 6]), ("adahessian", 4, [0, 4, 8])):
        trainer = trainer_of({"name": name, "lr": 0.01, **({"curvature": {"every": every}} if every else {})})
        assert [step for step, diagonal in enumerate(told(trainer, 9)) if diagonal is not None] == asked


def test_adahessian_steps_as_published_whether_it_measures_at_every_step_or_at_some():
    """m / sqrt(v), bias taken out of both, v of the kernel's mean abs h; between estimates the last one counts again."""
    trainer = trainer_of({"name": "adahessian", "lr": 0.1, "curvature": {"every": 3}})
    latent = trainer.step.latent_optimizer
    p, draws = latent.params[0], torch.Generator().manual_seed(0)
    place, m, v = p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)
    for t in range(1, 8):
        if latent.asks_curvature:
            h = torch.randn(p.shape, generator=draws)
            latent.see(torch.tensor(1.0), [h, *(torch.ones_like(q) for q in latent.params[1:])])
        p.grad.copy_(torch.randn(p.shape, generator=draws))
        m = 0.9 * m + 0.1 * p.grad
        v = 0.999 * v + 0.001 * by_kernel(h) ** 2
        place -= 0.1 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-16)
        latent.step()
        torch.testing.assert_close(p.detach(), place, rtol=1e-4, atol=1e-5)


def test_sophia_clips_the_ratio_of_average_gradient_and_average_curvature():
    """w - eta clip(m / max(h, eps), rho): Sophia-H's equation (6), h averaged in the steps that measure it alone."""
    trainer = trainer_of({"name": "sophiah", "lr": 0.5, "curvature": {"every": 2}})
    latent = trainer.step.latent_optimizer
    p, draws = latent.params[0], torch.Generator().manual_seed(0)
    place, m, average = p.detach().clone(), torch.zeros_like(p), torch.zeros_like(p)
    for _ in range(6):
        if latent.asks_curvature:
            h = torch.randn(p.shape, generator=draws)
            average = 0.99 * average + 0.01 * h
            latent.see(torch.tensor(1.0), [h, *(torch.ones_like(q) for q in latent.params[1:])])
        p.grad.copy_(1e-4 * torch.randn(p.shape, generator=draws))
        m = 0.96 * m + 0.04 * p.grad
        place -= 0.5 * (m / average.clamp(min=1e-12)).clamp(-0.01, 0.01)
        latent.step()
        torch.testing.assert_close(p.detach(), place, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ["adahessian", "sophiah", "vsgd_schaul", "gns"])
@pytest.mark.parametrize("curvature", [{"every": 3}, {"name": "squared_gradient", "every": 2}], ids=str)
def test_a_trial_resumes_to_the_bit_between_two_estimates(name, curvature):
    assert_resumes(trainer_of({"name": name, "lr": 0.01, "curvature": curvature}).config, small_images())


@pytest.mark.parametrize("quantizer", ["none", "dorefa"])
def test_float_and_quantised_networks_train_by_curvature(quantizer):
    *_, last = trainer_of({"name": "adahessian", "lr": 0.05}, quantizer=quantizer)
    assert 0 < last.metrics["val_loss"] < 10


def test_curvature_is_refused_for_what_does_not_step_by_it():
    with pytest.raises(ConfigError, match="curvature is given, but adam does not step by it"):
        parse_trial({"optimizer": {"name": "adam", "curvature": "hutchinson"}})
    with pytest.raises(ConfigError, match=r"optimizer\.curvature is given, but lion does not step by it"):
        trainer_of({"name": "lion", "curvature": "squared_gradient"})
    with pytest.raises(ConfigError, match=r"optimizer\.curvature\.every"):
        parse_trial({"optimizer": {"name": "adahessian", "curvature": {"every": 0}}})
