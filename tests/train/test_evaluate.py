"""Reading a network: whatever the number of images and however they fall into batches."""

import pytest
import torch
from torch import nn

from fsg.config import TrialConfig, parse_trial
from fsg.data import DataSplits, Images
from fsg.models import build_model
from fsg.train.evaluate import reestimated_batchnorm, score
from fsg.train.loop import Trainer


def scaled(images):
    return images.double() / 255


def network(name="digits_cnn", activations="float", size=8, channels=1):
    """Weights, factors and shifts of a network that has been trained a little."""
    torch.manual_seed(7)
    config = parse_trial({"model": {"name": name, "activations": activations}})
    model = build_model(config, (channels, size, size), 10).double()
    for norm in norms_of(model):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias)
    return model


def norms_of(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


def pictures(count, size=8, channels=1):
    return torch.randint(256, (count, channels, size, size), dtype=torch.uint8, generator=torch.manual_seed(3))


def moments_by_hand(model, images, batch):
    """Layer by layer, with sums over batches: the mean and unbiased variance of what reaches each layer."""
    moments = []
    model.eval()
    for norm in norms_of(model):
        count, total, squares = 0, 0.0, 0.0

        def add(module, arguments):
            nonlocal count, total, squares
            x = arguments[0].transpose(0, 1).flatten(1)
            count, total, squares = count + x.shape[1], total + x.sum(1), squares + x.square().sum(1)

        hook = norm.register_forward_pre_hook(add)
        with torch.no_grad():
            for part in images.split(batch):
                model(scaled(part))
        hook.remove()
        mean = total / count
        variance = squares / count - mean.square()
        norm.running_mean.copy_(mean), norm.running_var.copy_(variance)  # as a batch is normalised
        moments.append((mean, variance * count / (count - 1)))
    return moments


SMALL = [("digits_cnn", activations, count) for activations in ("float", "sign") for count in (2, 3, 499, 501, 1001)]


@pytest.mark.parametrize(("name", "activations", "count"), [*SMALL, ("resnet20", "float", 5)])
def test_every_layer_has_the_moments_of_all_images_whatever_the_batches(name, activations, count):
    model, images = network(name, activations), pictures(count)
    with reestimated_batchnorm(model, scaled, images):
        found = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms_of(model)]
    for batch in (500, 37, 2):
        for (mean, variance), (expected, spread) in zip(found, moments_by_hand(model, images, batch), strict=True):
            torch.testing.assert_close(mean, expected, rtol=1e-8, atol=1e-8)
            torch.testing.assert_close(variance, spread, rtol=1e-8, atol=1e-8)


def test_order_of_the_images_is_nothing_to_the_moments():
    model, images = network(), pictures(501)
    found = []
    for some in (images, images.flip(0)):
        with reestimated_batchnorm(model, scaled, some):
            found.append(torch.cat([norm.running_var for norm in norms_of(model)]))
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)


def test_statistics_that_overflowed_are_read_past_and_put_back():
    model = network()
    norm = norms_of(model)[0]
    norm.running_mean.fill_(float("inf")), norm.num_batches_tracked.fill_(3)
    with reestimated_batchnorm(model, scaled, pictures(5)):
        assert torch.isfinite(norm.running_mean).all()
    assert torch.isinf(norm.running_mean).all()
    assert (norm.num_batches_tracked, norm.momentum, model.training) == (3, 0.1, True)


@pytest.mark.parametrize("batch", [1, 2, 7, 500, 1001, 5000])
def test_score_weighs_every_image_alike_whatever_the_batches(batch):
    model, images = network(), pictures(1001)
    labels = torch.arange(1001) % 10
    model.eval()
    with torch.no_grad():
        logits = model(scaled(images))
    loss = nn.functional.cross_entropy(logits, labels).item()
    found = score(model, scaled, images, labels, batch)
    assert found.accuracy == 100 * (logits.argmax(1) == labels).sum().item() / 1001
    assert found.loss == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("count", [501, 502, 1001])
@pytest.mark.parametrize("size", [4, 8])
def test_a_trial_of_any_number_of_images_is_read_with_the_moments_of_all(count, size):
    """Of 4x4 images one value a channel reaches the last layer: a last batch of one image had no variance."""
    images = pictures(count, size)
    part = Images(images, torch.arange(count) % 10)
    data = DataSplits(part, part, part, 10, (0.5,), (0.25,))
    trainer = Trainer(TrialConfig.model_validate({"gradient": "ste", "epochs": 1, "dtype": "float64"}), data)
    assert len(trainer.balanced) == count
    metrics = trainer.run_epoch().metrics
    with torch.no_grad():
        logits = trainer.model(trainer.inputs(images))  # in training mode: by the moments of all, as one batch
    assert metrics["val_loss"] == pytest.approx(nn.functional.cross_entropy(logits, part.labels).item(), rel=5e-3)


@pytest.mark.parametrize(("size", "expected"), [(4, 4000), (32, 4000), (64, 1000), (128, 500)])
def test_large_images_are_fewer_but_no_fewer_than_a_batch_of_evaluation(size, expected):
    part = Images(torch.zeros(4001, 1, 1, 1, dtype=torch.uint8).expand(-1, -1, size, size), torch.arange(4001) % 10)
    small = Images(part.images[:10], part.labels[:10])
    data = DataSplits(part, small, small, 10, (0.5,), (0.25,))
    assert len(Trainer(TrialConfig.model_validate({"gradient": "ste"}), data).balanced) == expected
