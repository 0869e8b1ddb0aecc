"""Traces and eigenvalues against the exact Hessian of a tiny quantised network; what a trial records of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fsg.config import parse_trial
from fsg.layers import QuantLinear, quantized_layers, using
from fsg.quantizers import BwnQuantizer
from fsg.report.diagnostics import MEANING
from fsg.report.figures import save
from fsg.report.landscape import draw_landscape
from fsg.testing.training import assert_resumes, small_images
from fsg.train import Trainer
from fsg.train.hessian import Products, spectrum, weight_in_use
from fsg.train.landscape import lanczos, landscape
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


def test_the_density_has_the_moments_of_the_exact_spectrum():
    """Mass 1, mean trace / n, and between the extreme eigenvalues; exact in the mean over starting vectors."""
    model = tiny()
    values = torch.linalg.eigvalsh(exact(model))
    products = Products(model, loss_of, weight_in_use)
    runs = [lanczos(products, generator(seed, "bits")) for seed in range(400)]
    for nodes, weights in runs:
        assert weights.sum() == pytest.approx(1)
        assert nodes.min() >= values[0].item() - 1e-8 and nodes.max() <= values[-1].item() + 1e-8
    for power in (1, 2):
        found = sum((weights * nodes**power).sum() for nodes, weights in runs) / len(runs)
        assert found == pytest.approx((values**power).mean().item(), rel=0.15)


def test_the_plane_goes_along_eigenvectors_and_bends_by_their_eigenvalues():
    model = tiny()
    products = Products(model, loss_of, weight_in_use)
    values, vectors = products.largest(2, generator(0, "bits"))
    for value, vector in zip(values, vectors, strict=True):
        torch.testing.assert_close(products.flat(vector), value * vector, rtol=1e-2, atol=1e-3)
        step = 1e-3
        ahead, here, behind = (products.loss_at([s, 0.0], [vector, vector]) for s in (step, 0.0, -step))
        assert (ahead - 2 * here + behind) / step**2 == pytest.approx(value, rel=1e-2)
    assert here == pytest.approx(loss_of(model).item())


def test_the_landscape_of_a_trained_network_leaves_it_as_it_is_and_is_drawn(tmp_path):
    trainer = Trainer(trial(epochs=1), small_images())
    trainer.run_epoch()
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    found = landscape(trainer)
    assert all(torch.equal(value, before[name]) for name, value in trainer.model.state_dict().items())
    assert found.losses.shape == (13, 13) and found.weights.sum() == pytest.approx(1)
    assert found.top[0] >= found.top[1] and found.nodes.max() <= found.top[0] * 1.01
    path = save(draw_landscape(found, "arm", "study, seed 0"), tmp_path / "landscape.svg")
    assert path.stat().st_size > 1000


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
