"""Bop, LCAM, vSGD and GNS against their authors' equations; an optimizer of its own for biases and BatchNorm."""

import math

import pytest
import torch

from fsg.config import load_trial, parse_trial
from fsg.errors import ConfigError
from fsg.study.optimizers import check_optimizers
from fsg.study.spec import load_study
from fsg.testing.training import assert_resumes, small_images
from fsg.train import Trainer, optimizers
from fsg.train.optim import base_optimizer

SMALL = {
    "gradient": "ste",
    "data": {"name": "synthetic", "batch_size": 8, "augment": False},
    "schedule": "constant",
    "epochs": 2,
    "device": "cpu",
}


def trial(optimizer, **over):
    return parse_trial({**SMALL, "optimizer": optimizer, **over})


def driven(section, start, epoch=None):
    p = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    return p, base_optimizer(trial(section, quantizer="bwn").optimizer, [p], epoch=epoch)


def steps(p, optimizer, gradients, losses=None, curvature=None):
    """Where ``p`` is after each step."""
    places = []
    for number, gradient in enumerate(gradients):
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        h = None if curvature is None else [torch.tensor(curvature[number], dtype=torch.float64)]
        optimizer.see(torch.tensor(1.0 if losses is None else losses[number]), h)
        optimizer.step()
        places.append(p.detach().tolist())
    return places


# Bop ------------------------------------------------------------------------------------------------------------------
def test_bop_flips_a_sign_where_the_average_of_gradients_points_along_it_beyond_the_threshold():
    """m = 0.5 g, then 0.75 g: 0.5, 0.05, -0.5 and 0.15 against 0.1, of weights +, +, + and -."""
    p, optimizer = driven({"name": "bop", "lr": 0.5, "threshold": 0.1}, [0.3, 0.3, 0.3, -0.7])
    first, second = steps(p, optimizer, [[1.0, 0.1, -1.0, -0.1]] * 2)
    assert first == [-0.3, 0.3, 0.3, -0.7]
    assert second == [-0.3, 0.3, 0.3, -0.7]  # 0.075 is not beyond it
    (third,) = steps(p, optimizer, [[1.0, 0.5, -1.0, -0.5]])
    assert third == [-0.3, -0.3, 0.3, 0.7]


def test_bops_average_is_exponential_with_the_rate_of_its_group():
    p, optimizer = driven({"name": "bop", "lr": 0.25}, [1.0])
    steps(p, optimizer, [[1.0], [2.0]])
    assert optimizer.optimizer.state[p]["average"].item() == 0.75 * 0.25 + 0.25 * 2


def test_bop_changes_signs_alone_and_the_float_parameters_are_stepped_by_their_own():
    trainer = Trainer(trial({"name": "bop", "float": {"name": "sgd", "lr": 0.1}}, quantizer="bwn"), small_images())
    before = trainer.step.latent.clone()
    floats = [p.detach().clone() for p in trainer.step.others]
    list(trainer)
    assert torch.equal(trainer.step.latent.abs(), before.abs())
    assert 0 < (trainer.step.latent != before).sum() < len(before)
    assert not any(torch.equal(p, was) for p, was in zip(trainer.step.others, floats, strict=True))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"quantizer": {"name": "dorefa", "bits": 2}}, "quantizer dorefa has 2 bits"),
        ({"quantizer": "none"}, "quantizer none leaves weights float"),
        ({"gradient": "hand_gate"}, "gradient hand_gate would take back a part of a flip"),
        ({"optimizer": {"name": "bop", "float": None}}, "no step for biases and BatchNorm; give optimizer.float"),
    ],
)
def test_bop_is_refused_where_it_makes_no_sense(over, said):
    with pytest.raises(ConfigError, match=said):
        trial(**{"optimizer": "bop"} | over)


# LCAM -----------------------------------------------------------------------------------------------------------------
def test_lcam_has_the_momentum_that_the_loss_before_decided():
    """Losses 2, 1 (below 1.5), 3 (above 2): momenta of the steps 0.5, 0.5, 0.8, 0.5; a new epoch after three."""
    p, optimizer = driven({"name": "lcam", "lr": 0.1, "below": 0.8, "above": 0.5}, [0.0], epoch=3)
    places = steps(p, optimizer, [[1.0]] * 5, [2.0, 1.0, 3.0, 2.5, 2.4])
    velocity, place, expected = 0.0, 0.0, []
    for momentum in (0.5, 0.5, 0.8, 0.5, 0.5):
        velocity = momentum * velocity + 1
        place -= 0.1 * velocity
        expected.append([pytest.approx(place)])
    assert places == expected
    assert optimizer.param_groups[0]["momentum"] == 0.8, "2.4 is below 2.45, the average of the new epoch"


def test_lcam_with_equal_momenta_is_sgd():
    def trained(optimizer):
        trainer = Trainer(trial(optimizer), small_images())
        list(trainer)
        return trainer.step.latent

    sgd = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
    lcam = {"name": "lcam", "lr": 0.05, "below": 0.9, "above": 0.9, "weight_decay": 0.01}
    torch.testing.assert_close(trained(lcam), trained(sgd))


def test_lcam_is_told_the_losses_of_its_gradients_and_how_long_an_epoch_is():
    trainer = Trainer(trial("lcam"), small_images())
    latent, rest = trainer.step.guests()
    assert latent.optimizer.epoch_iterations == rest.optimizer.epoch_iterations == trainer.steps_per_epoch
    images, labels = trainer.inputs(trainer.data.train.images[:8]), trainer.data.train.labels[:8]
    losses = [trainer.step(images, labels).loss.item() for _ in range(3)]
    assert rest.param_groups[0]["losses"] == pytest.approx(sum(losses))
    assert latent.param_groups[0]["losses"] == pytest.approx(sum(losses[:2])), "a latent weight steps one batch later"


# vSGD -----------------------------------------------------------------------------------------------------------------
def test_vsgd_follows_the_authors_algorithm():
    """Their py-optim, written out for one weight in plain numbers."""
    draws = torch.Generator().manual_seed(0)
    gradients = (0.3 + 0.2 * torch.randn(25, generator=draws, dtype=torch.float64)).tolist()
    curvatures = (2 + torch.rand(25, generator=draws, dtype=torch.float64)).tolist()
    p, optimizer = driven({"name": "vsgd_schaul", "lr": 0.5}, [1.0])
    places = steps(p, optimizer, [[g] for g in gradients], curvature=[[-h] for h in curvatures])

    eps, first = 1e-9, 10
    gbar = sum(gradients[:first]) / first
    vbar = (sum(g * g for g in gradients[:first]) / first + eps) * 2
    hbar = sum(curvatures[:first]) / first * 2
    tau, place = first + eps, 1.0
    assert places[first - 1] == [1.0], "no weight moves before its averages have begun"
    for step in range(first, 25):
        share = 1 / tau
        gbar = (1 - share) * gbar + share * gradients[step]
        vbar = (1 - share) * vbar + share * gradients[step] ** 2 + eps
        hbar = (1 - share) * hbar + share * (curvatures[step] + eps)
        signal = gbar**2 / vbar
        tau = tau * (1 - signal) + 1 + eps
        place -= 0.5 * signal / hbar * gradients[step]
        assert places[step] == [pytest.approx(place, rel=1e-12)]


def test_vsgd_takes_newtons_step_where_there_is_no_noise_and_hardly_any_where_there_is_nothing_else():
    p, optimizer = driven("vsgd_schaul", [3.0, 3.0])
    noise = torch.Generator().manual_seed(1)
    for step in range(400):
        p.grad = torch.stack([2 * p.detach()[0], torch.randn((), generator=noise, dtype=torch.float64)])
        optimizer.see(torch.tensor(1.0), [torch.full((2,), 2.0, dtype=torch.float64)])
        optimizer.step()
        if step == 30:
            assert abs(p[0].item()) < 0.2, "a quadratic without noise is nearly solved"
    assert abs(p[1].item() - 3) < 1, "pure noise: the rate falls to the share of signal in it"
    assert optimizer.optimizer.state[p]["tau"][1] > 100


def test_the_packages_vsgd_points_to_this_one(caplog):
    pytest.importorskip("pytorch_optimizer", reason="the extra `optimizers` is not installed")
    optimizers._say.cache_clear()
    with caplog.at_level("WARNING", "fsg"):
        Trainer(trial({"name": "vsgd", "lr": 0.1}), small_images())
    assert "vsgd is Variational SGD" in caplog.text and "vsgd_schaul" in caplog.text


# GNS ------------------------------------------------------------------------------------------------------------------
BOWL = [2.0, 8.0]  # f = sum of a w^2 / 2


def bowl(place):
    """Loss, gradient and curvature of it."""
    pairs = list(zip(BOWL, place, strict=True))
    return sum(a * w * w / 2 for a, w in pairs), [a * w for a, w in pairs], BOWL


def hills(place):
    """A sum of log cosh, whose curvature is far from constant."""
    slopes = [math.tanh(w) for w in place]
    return sum(math.log(math.cosh(w)) for w in place), slopes, [1 - s * s for s in slopes]


def walk(section, function, start, steps):
    """(places, radii) of GNS on a function that is measured without noise."""
    p, optimizer = driven({"name": "gns", **section}, start)
    places, radii = [], []
    for _ in range(steps):
        loss, gradient, curvature = function(p.detach().tolist())
        p.grad = torch.tensor(gradient, dtype=torch.float64)
        optimizer.see(torch.tensor(loss), [torch.tensor(curvature, dtype=torch.float64)])
        optimizer.step()
        places.append(p.detach().tolist())
        radii.append(optimizer.param_groups[0]["gamma"])
    return places, radii


def test_gns_takes_newtons_step_within_its_radius_and_a_shorter_one_where_that_is_too_long():
    (there,), _ = walk({"gamma": 1e9}, bowl, [3.0, -1.0], 1)
    assert there == pytest.approx([0, 0], abs=1e-6)
    (near,), _ = walk({"gamma": 0.5}, bowl, [3.0, -1.0], 1)
    damping = 10 / 0.5  # the gradient is (6, -8)
    assert near == pytest.approx([3 - 6 / (2 + damping), -1 + 8 / (8 + damping)])
    assert math.dist(near, [3.0, -1.0]) < 0.5


def test_gns_takes_the_steps_of_its_authors_search_where_that_accepts_them_at_once():
    """Their algorithm 1 written out, its line search first: gamma from 0.1, doubled after every step."""
    places, radii = walk({"gamma": 0.1}, hills, [3.0, -2.0, 0.5], 8)
    place, gamma, expected = [3.0, -2.0, 0.5], 0.1, []
    for _ in range(8):
        loss, gradient, curvature = hills(place)
        damping = math.hypot(*gradient) / gamma
        new = [w - g / (h + damping) for w, g, h in zip(place, gradient, curvature, strict=True)]
        after, led_to, _ = hills(new)
        assert loss - after >= math.hypot(*led_to) ** 2 / (8 * damping), "this start was chosen so that no step fails"
        place, gamma = new, 2 * gamma
        expected.append(new)
    assert places == [pytest.approx(where) for where in expected]
    assert radii == [0.1 * 2**k for k in range(8)], "a step is judged by what the next one measures"


def test_gns_halves_its_radius_after_a_step_that_did_not_help_and_keeps_the_step():
    """Newton's method on log cosh from 1.5 goes to -3.5, where the loss is larger."""
    places, radii = walk({"gamma": 1e6}, hills, [1.5], 3)
    assert places[0][0] == pytest.approx(1.5 - math.tanh(1.5) * math.cosh(1.5) ** 2, rel=1e-4)
    assert hills(places[0])[0] > hills([1.5])[0]
    assert radii[:2] == [1e6, 5e5]


def test_a_rate_of_gns_is_another_curvature_and_another_radius():
    def steeper(place):
        loss, gradient, curvature = hills(place)
        return loss, gradient, [h / 0.25 for h in curvature]

    places, radii = walk({"gamma": 0.4, "lr": 0.25}, hills, [2.0, -1.0], 6)
    others, small = walk({"gamma": 0.1}, steeper, [2.0, -1.0], 6)
    assert places == [pytest.approx(place) for place in others]
    assert radii == [pytest.approx(4 * radius) for radius in small]


def test_gns_learns_from_batches_and_signs():
    *_, last = Trainer(trial("gns", quantizer="bwn", epochs=8), small_images())
    assert last.metrics["val_accuracy"] > 0.9


# optimizer.float ------------------------------------------------------------------------------------------------------
def test_float_parameters_have_an_optimizer_of_their_own_where_it_is_named():
    own = {"name": "sgd", "lr": 0.1, "float": {"name": "adam", "lr": 0.02}}
    step = Trainer(trial(own), small_images()).step
    assert [type(o).__name__ for o in step.base_optimizers()] == ["SGD", "Adam"]
    assert [o.param_groups[0]["lr"] for o in step.base_optimizers()] == [0.1, 0.02]
    step.set_rates(0.5, 1.0)
    assert [o.param_groups[0]["lr"] for o in step.base_optimizers()] == [0.05, 0.01]


def test_the_same_optimizer_named_twice_trains_as_one_named_once():
    once = {"name": "sgd", "lr": 0.05, "momentum": 0.9}
    runs = [Trainer(trial(o), small_images()) for o in (once, {**once, "float": once})]
    first, second = ([r.metrics["val_loss"] for r in run] for run in runs)
    assert first == second
    assert torch.equal(runs[0].step.latent, runs[1].step.latent)


def test_a_trial_without_it_is_the_trial_it_was_and_one_with_it_is_another():
    plain, own = trial("adam"), trial({"name": "adam", "float": {"name": "sgd", "lr": 0.1}})
    assert plain.identity()["optimizer"] == {"name": "adam", "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}
    assert own.identity()["optimizer"]["float"] == {"name": "sgd", "lr": 0.1}
    assert parse_trial(own.model_dump()) == own


@pytest.mark.parametrize(
    "pair", [("bop", "adahessian"), ("adahessian", "sgd"), ("vsgd_schaul", "lion"), ("gns", "adam"), ("sgd", "emonavi")]
)
def test_two_optimizers_that_ask_for_different_things_are_each_given_theirs(pair):
    pytest.importorskip("pytorch_optimizer", reason="the extra `optimizers` is not installed")
    latent, rest = pair
    config = trial({"name": latent, "float": {"name": rest, "lr": 0.01}}, epochs=3, checkpoint_every_steps=2)
    assert_resumes(config, small_images())
    assert all(math.isfinite(result.metrics["val_loss"]) for result in Trainer(config, small_images()))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "optimizer.float=lcam",
            "lcam has a section of its own, which optimizer.float does not take; allowed are sgd, adam",
        ),
        ("optimizer.float=lomo", 'optimizer.float.name is "lomo", which cannot train here'),
        ("optimizer.float.momentum=0.9", "momentum is 0.9, but adam takes none here"),
        ("optimizer.float.lr=-1", "optimizer.float.lr"),
        ("optimizer.float.rate=1", 'unknown key "optimizer.float.rate"'),
    ],
)
def test_an_impossible_optimizer_of_float_parameters_is_refused_where_it_was_typed(setting, said):
    with pytest.raises(ConfigError, match=said) as refused:
        load_trial(None, ["gradient=ste", setting])
    assert f"--set {setting}" in str(refused.value)


def test_float_weights_alone_have_one_optimizer():
    with pytest.raises(ConfigError, match="quantizer none leaves none; leave it out"):
        trial({"name": "sgd", "float": "adam"}, quantizer="none")


def test_a_study_is_refused_with_the_line_of_the_float_optimizer(tmp_path):
    pytest.importorskip("pytorch_optimizer", reason="the extra `optimizers` is not installed")
    text = """name: small
seeds: [0, 1]
metric: {name: val_accuracy, mode: max}
base: {gradient: ste, epochs: 2}
arms:
  plain: {}
  other:
    optimizer:
      name: sgd
      float:
        name: NAME
"""
    path = tmp_path / "study.yaml"
    path.write_text(text.replace("NAME", "lomo"))
    with pytest.raises(ConfigError, match=r'study.yaml:11: optimizer.float.name is "lomo", which cannot train here'):
        load_study(path)
    path.write_text(text.replace("NAME", "adabelif"))
    with pytest.raises(ConfigError, match=r'study.yaml:11: .*"adabelif", which is no optimizer'):
        check_optimizers(load_study(path))
