"""What an estimator's components change, on trials of a second: a planted one that does nothing, and one that acts."""

import copy

import pytest
import torch

from fsg.config import parse_trial
from fsg.metrics import FLIPS_OTHER, MOVED, MOVED_BY
from fsg.train import Trainer
from fsg.train.influence import LOOKS, due, influence

FAST = {"slow": {"lr": 0.03, "d_conv": 8}, "fast": {"lr": 0.03}}


def trained(gradient, **more):
    config = {"gradient": gradient, "epochs": 2, "data": {"name": "digits", "batch_size": 128}, **more}
    trainer = Trainer(parse_trial(config))
    list(trainer)
    return trainer


def moved(trainer):
    return {name: value.mean().item() for name, value in influence(trainer.step).moved.items()}


def test_what_has_learnt_nothing_changes_nothing():
    """The slow-net starts at 0 and the fast-net at 1: at vanishing rates they stay there, and every part is idle."""
    found = moved(trained({"name": "fsg", "slow": {"lr": 1e-12}, "fast": {"lr": 1e-12}}))
    assert found.keys() == {MOVED, "moved_by_hgs", "moved_by_fsg", "moved_by_lre"}
    assert max(found.values()) < 1e-5


def test_what_has_learnt_changes_the_direction_part_by_part():
    found = moved(trained({"name": "fsg", **FAST}))
    assert min(found[name] for name in (MOVED, "moved_by_hgs", "moved_by_fsg")) > 0.01
    assert found["moved_by_lre"] > 1e-4


@pytest.mark.parametrize("part", ["hgs", "fsg", "lre"])
def test_a_part_that_is_switched_off_is_not_looked_for(part):
    assert MOVED_BY + part not in moved(trained({"name": "fsg", part: False}))


@pytest.mark.parametrize("part", ["hgs", "lre"])
def test_a_part_that_nobody_reads_is_idle_beside_those_that_act(part):
    """A filter whose taps on the past, or on the embedding, are planted as zeros."""
    trainer = trained({"name": "fsg", "slow_net": "fir", "init": "random", "length": 3, "lre_size": 1})
    with torch.no_grad():
        taps = trainer.step.estimator.slow.taps.fill_(0.5)  # [embedding, oldest, older, newest]
        taps[:, slice(0, 1) if part == "lre" else slice(1, 3)] = 0
    found = moved(trainer)
    assert found[MOVED_BY + part] == pytest.approx(0, abs=1e-6)
    assert found[MOVED_BY + ("hgs" if part == "lre" else "lre")] > 0.01


def test_a_layers_scale_counts_under_sgd_and_not_under_adam():
    found = {}
    for name, rate in (("sgd", 0.1), ("adam", 0.01)):
        trainer = trained("scalar", optimizer={"name": name, "lr": rate})
        with torch.no_grad():
            trainer.step.estimator.logit.fill_(1.0)  # softplus(1) / ln 2 = 1.895
        found[name] = moved(trainer)[MOVED]
    assert found["sgd"] == pytest.approx(1 - 1 / 1.8946, abs=1e-3)
    assert found["adam"] == pytest.approx(0, abs=1e-6)


def test_the_straight_through_estimator_flips_what_it_flips():
    trainer = trained("ste")
    found = influence(trainer.step)
    assert moved(trainer) == {MOVED: 0.0} and found.flips_other in (0.0, None)


def test_flips_are_those_of_the_next_step():
    """The counterfactual step is the real one, taken on copies: the trial then takes it, and flips the same weights."""
    trainer = trained("ste", epochs=1)
    step = trainer.step
    before = step.latent > 0
    expected = influence_after(step)
    batch = trainer.data.train.select(torch.arange(128))
    step(trainer.inputs(batch.images), batch.labels)
    assert torch.equal(step.latent, expected) and not torch.equal(before, step.latent > 0)


def influence_after(step):
    from fsg.train.influence import _after

    return _after(step, step.signal.slope * step.signal.grad, step.signal)


def test_a_direction_turned_around_flips_other_weights():
    trainer = trained("fc_grad")
    with torch.no_grad():
        trainer.step.estimator.outer.weight.copy_(-20 * trainer.step.estimator.inner.weight.T.sign())
    assert influence(trainer.step).flips_other > 0.5


def test_a_gate_is_told_by_the_step_it_holds_back():
    assert moved(trained("hand_gate"))[MOVED] > 0.1


@pytest.mark.parametrize("gradient", ["fsg", "gate", "ema", "lstm_fc", "mstgd"])
def test_looking_changes_nothing(gradient):
    trainer = trained(gradient)
    before, drawn = copy.deepcopy(trainer.state_dict()), torch.get_rng_state()
    influence(trainer.step)
    after = trainer.state_dict()
    assert str(before["step"]) == str(after["step"]) and torch.equal(torch.get_rng_state(), drawn)
    torch.testing.assert_close(before["step"], after["step"], rtol=0, atol=0, equal_nan=True)


def test_an_optimizer_that_cannot_be_copied_leaves_the_flips_out():
    trainer = trained("fsg", optimizer={"name": "lion", "lr": 1e-3})
    assert influence(trainer.step).flips_other is None and MOVED in moved(trainer)


def test_an_estimator_that_keeps_a_graph_is_not_looked_at():
    trainer = trained("fsg")
    weight = next(trainer.step.estimator.parameters())
    trainer.step.estimator.kept = 2 * weight
    assert influence(trainer.step) is None


@pytest.mark.parametrize("epochs", [1, 2, 5, 7, 15, 100])
def test_a_trial_is_looked_at_a_few_times_and_at_its_end(epochs):
    looks = [epoch for epoch in range(1, epochs + 1) if due(epoch, epochs)]
    assert len(looks) == min(LOOKS, epochs) and looks[-1] == epochs


def test_an_epoch_that_is_looked_at_reports_means_over_layers():
    trainer = trained({"name": "fsg", **FAST}, epochs=1)
    metrics, layers = trainer.last_result.metrics, trainer.last_result.layers
    for name in (MOVED, "moved_by_hgs", "history_share", "slow_share"):
        mean = sum(found[name] for found in layers.values()) / len(layers)
        assert metrics[name] == pytest.approx(mean)
    assert 0 <= metrics.get(FLIPS_OTHER, 0) <= 1
