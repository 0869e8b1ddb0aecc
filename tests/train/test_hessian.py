"""Traces and eigenvalues against the exact Hessian of a tiny quantised network; what a trial records of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg.config import parse_trial
from fsg.layers import QuantLinear, quantized_layers, using
from fsg.quantizers import BwnQuantizer
from fsg.report.diagnostics import MEANING
from fsg.testing.training import assert_resumes, small_images
from fsg.train import Trainer
from fsg.train.hessian import Products, spectrum
from fsg.train.seeds import generator

INPUTS, CLASSES = torch.randn(16, 3, generator=torch.Generator().manual_seed(1)).double(), torch.arange(16) % 2


def tiny():
    torch.manual_seed(0)
    layers = (QuantLinear(3, 2, quantizer=BwnQuantizer()), nn.Tanh(), QuantLinear(2, 2, quantizer=BwnQuantizer()))
    return nn.Sequential(*layers).double()


def loss_of(model):
    return F.cross_entropy(model(INPUTS), CLASSES)


def exact(model):
    layers = list(quantized_layers(model).values())
    start = [layer.quantizer(layer.weight).value for layer in layers]

    def loss(flat):
        with using(layers, [flat[:6].view(2, 3), flat[6:].view(2, 2)]):
            return loss_of(model)

    return torch.func.hessian(loss)(torch.cat([w.flatten() for w in start]))


def test_traces_and_extreme_eigenvalues_are_those_of_the_exact_hessian():
    model = tiny()
    matrix, found = exact(model), spectrum(model, loss_of, 4000, seed=0)
    values = torch.linalg.eigvalsh(matrix)
    assert found.top == pytest.approx(values[-1].item(), rel=2e-3)
    assert found.bottom == pytest.approx(values[0].item(), rel=2e-3, abs=1e-6)
    diagonal = matrix.diagonal()
    assert found.traces["0"] == pytest.approx(diagonal[:6].sum().item(), rel=0.1, abs=0.01)
    assert found.traces["2"] == pytest.approx(diagonal[6:].sum().item(), rel=0.1, abs=0.01)


def test_a_product_is_the_exact_one_layer_by_layer():
    model, vector = tiny(), torch.randn(10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    products = Products(model, loss_of, lambda layer: layer.quantizer(layer.weight).value)
    found = products([vector[:6].view(2, 3), vector[6:].view(2, 2)])
    torch.testing.assert_close(torch.cat([h.flatten() for h in found]), exact(model) @ vector)


def test_a_layer_that_shares_curvature_with_another_has_its_own_blocks_trace():
    """Of all 1,024 vectors the mean would be exact; of one, what it has of the other block is noise of mean 0."""
    model = tiny()
    products = Products(model, loss_of, lambda layer: layer.quantizer(layer.weight).value)
    many = [products.traces(1, generator(seed, "bits"))["0"] for seed in range(1500)]
    assert sum(many) / 1500 == pytest.approx(exact(model).diagonal()[:6].sum().item(), rel=0.1, abs=0.02)


SMALL = {"gradient": "ste", "quantizer": "bwn", "schedule": "constant", "device": "cpu", "epochs": 4}
SMALL |= {"data": {"name": "synthetic", "batch_size": 8, "augment": False}, "checkpoint_every_steps": 2}


def trial(**over):
    return parse_trial({**SMALL, **over})


def test_a_trial_looks_at_the_hessian_every_so_many_epochs_and_trains_as_if_it_had_not():
    looking = Trainer(trial(evaluate={"curvature": 2}), small_images())
    plain = Trainer(trial(), small_images())
    for epoch, (one, other) in enumerate(zip(looking, plain, strict=True), start=1):
        assert ("hessian_trace" in one.metrics) == (epoch % 2 == 0)
        assert one.metrics["val_loss"] == other.metrics["val_loss"]
        assert torch.equal(looking.step.latent, plain.step.latent)
    assert one.metrics["hessian_top"] >= one.metrics["hessian_bottom"]
    assert one.metrics["hessian_trace"] == pytest.approx(sum(each["trace"] for each in one.layers.values()))
    assert "trace" in MEANING and "trace" not in other.layers["classifier"]


def test_a_trial_that_looks_resumes_to_the_bit():
    assert_resumes(trial(evaluate={"curvature": 1}, epochs=2), small_images())


def test_a_trial_that_does_not_look_is_the_trial_it_was():
    assert "curvature" not in trial().identity()["evaluate"]
    assert trial(evaluate={"curvature": 5}).identity()["evaluate"]["curvature"] == 5
