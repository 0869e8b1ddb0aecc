"""The look-ahead step against an ordinary training loop."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg.catalogue.gradients import Ema, Fsg, MetaQuant, Scalar, Ste
from fsg.catalogue.optimizers import OptimizerConfig
from fsg.gradients import make_estimator
from fsg.layers import QuantConv2d, QuantLinear, quantized_layers
from fsg.ops.spans import Spans
from fsg.quantizers import BwnQuantizer, DorefaQuantizer
from fsg.train.optim import base_optimizer
from fsg.train.step import LookAheadStep

OPTIMIZERS = [
    OptimizerConfig(name="sgd", lr=0.5),
    OptimizerConfig(name="sgd", lr=0.1, momentum=0.9, weight_decay=1e-3),
    OptimizerConfig(name="adam", lr=0.02),
    OptimizerConfig(name="adamw", lr=0.02, weight_decay=0.1),
]


def network(quantizer, dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(
        QuantConv2d(1, 4, 3, quantizer=quantizer, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        QuantLinear(4 * 16, 10, quantizer=quantizer),
    ).to(dtype)


def batches(count, dtype=torch.float32):
    rng = torch.Generator().manual_seed(1)
    return [
        (torch.randn(16, 1, 6, 6, generator=rng, dtype=dtype), torch.randint(10, (16,), generator=rng))
        for _ in range(count)
    ]


def look_ahead(model, gradient, optimizer):
    layers = quantized_layers(model)
    torch.manual_seed(2)
    estimator = make_estimator(gradient, Spans([x.weight.numel() for x in layers.values()])).to(
        next(model.parameters()).dtype
    )
    return LookAheadStep(model, layers, estimator, optimizer)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.momentum}")
@pytest.mark.parametrize("quantizer", [DorefaQuantizer(1), DorefaQuantizer(2), BwnQuantizer(True)], ids=str)
def test_ste_in_the_look_ahead_loop_is_the_ordinary_training_loop_bit_for_bit(optimizer, quantizer):
    ours, plain = network(quantizer), network(quantizer)
    step = look_ahead(ours, Ste(), optimizer)
    ordinary = base_optimizer(optimizer, plain.parameters())
    for x, y in batches(6):
        ordinary.zero_grad()
        loss = F.cross_entropy(plain(x), y)
        loss.backward()
        ordinary.step()
        assert torch.equal(step(x, y).loss, loss.detach())


@pytest.mark.parametrize(
    "gradient", [Fsg(), Fsg(hgs=False, fsg=False), MetaQuant(), Scalar(), Ema()], ids=lambda g: g.name
)
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.name}-{o.momentum}")
def test_first_two_losses_and_the_first_move_equal_stes_bit_for_bit(gradient, optimizer):
    first, second = network(DorefaQuantizer(1)), network(DorefaQuantizer(1))
    a, b = look_ahead(first, gradient, optimizer), look_ahead(second, Ste(), optimizer)
    for x, y in batches(2):
        assert torch.equal(a(x, y).loss, b(x, y).loss)
    assert all(torch.equal(p, q) for p, q in zip(first.parameters(), second.parameters(), strict=True))


def test_without_meta_learning_fsg_is_ste_for_good_bit_for_bit():
    first, second = network(DorefaQuantizer(1)), network(DorefaQuantizer(1))
    optimizer = OPTIMIZERS[1]
    a, b = look_ahead(first, Fsg(), optimizer), look_ahead(second, Ste(), optimizer)
    for group in a.meta_optimizer.param_groups:
        group["lr"] = 0.0
    for x, y in batches(9):
        assert torch.equal(a(x, y).loss, b(x, y).loss)


def test_meta_gradient_is_the_derivative_of_the_loss_along_the_generated_direction_without_the_rate():
    """With float weights standing in for Wq the straight-through slope is the truth, so finite differences can judge."""

    class Identity:
        def __call__(self, w, scope=None):
            from fsg.quantizers import Quantized

            w = w.detach()
            return Quantized(w.clone(), w.clone(), torch.ones_like(w), torch.ones_like(w))

    lr = 1e-3
    gradient = Scalar(gain="free")
    (x0, y0), (x1, y1) = batches(2, torch.float64)

    def second_loss(logit):
        model = network(Identity(), torch.float64)
        step = look_ahead(model, gradient, OptimizerConfig(name="sgd", lr=lr))
        with torch.no_grad():
            step.estimator.logit.copy_(logit)
        step(x0, y0)
        loss = step(x1, y1).loss
        return loss, step.estimator.logit.grad

    logit = torch.tensor([0.3, -0.2], dtype=torch.float64)
    _, grad = second_loss(logit)
    for i in range(2):
        bump = torch.zeros(2, dtype=torch.float64)
        bump[i] = 1e-4
        slope = (second_loss(logit + bump)[0] - second_loss(logit - bump)[0]) / 2e-4
        torch.testing.assert_close(slope / lr, grad[i], rtol=1e-5, atol=0)


def test_meta_gradient_does_not_fade_with_the_learning_rate():
    grads = []
    for lr in (1e-1, 1e-9):
        step = look_ahead(network(DorefaQuantizer(1)), Scalar(), OptimizerConfig(name="sgd", lr=lr))
        for x, y in batches(2):
            step(x, y)
        grads.append(step.estimator.logit.grad.abs().max().item())
    assert grads[1] > grads[0] / 100


def test_flips_count_the_signs_that_changed_since_the_step_before():
    model = network(DorefaQuantizer(1))
    step = look_ahead(model, Ste(), OptimizerConfig(name="sgd", lr=5.0))
    previous = None
    for x, y in batches(4):
        result = step(x, y)
        signs = torch.cat([m.quantizer(m.weight).value.flatten() for m in quantized_layers(model).values()])
        expected = 0 if previous is None else int((signs != previous).sum())
        assert int(result.flips.sum()) == expected
        previous = signs
    assert expected > 0


def test_the_evaluated_network_needs_no_hypernetwork():
    model = network(DorefaQuantizer(1))
    step = look_ahead(model, Fsg(), OPTIMIZERS[2])
    for x, y in batches(3):
        step(x, y)
    fresh = network(DorefaQuantizer(1))
    fresh.load_state_dict(model.state_dict())
    x, _ = batches(1)[0]
    assert torch.equal(model.eval()(x), fresh.eval()(x))


def test_layers_with_different_quantisers_are_each_quantised_by_their_own():
    model = network(DorefaQuantizer(1))
    model[4].quantizer = BwnQuantizer()
    step = look_ahead(model, Ste(), OPTIMIZERS[0])
    found = step.quantizer(step.latent, step.scope)
    for layer, *stages in zip(step.layers, *(step.parts(stage) for stage in found), strict=True):
        for stage, alone in zip(stages, layer.quantizer(layer.weight), strict=True):
            assert torch.equal(stage, alone)


def test_a_network_of_quantised_weights_alone_trains():
    """No bias, no BatchNorm: torch's optimizers refuse to have nothing to optimise."""
    torch.manual_seed(0)
    quantizer = DorefaQuantizer()
    model = nn.Sequential(nn.Flatten(), QuantLinear(16, 4, bias=False, quantizer=quantizer))
    layers = quantized_layers(model)
    estimator = make_estimator(Ste(), Spans([layer.weight.numel() for layer in layers.values()]))
    step = LookAheadStep(model, layers, estimator, OptimizerConfig(name="adam", lr=0.02))
    before = step.latent.clone()
    for _ in range(2):
        step(torch.randn(8, 1, 4, 4), torch.randint(4, (8,)))
    assert not torch.equal(step.latent, before)
    step.load_state_dict(step.state_dict())
