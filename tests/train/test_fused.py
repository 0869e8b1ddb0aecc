"""Trials trained as one program: as they are trained apart, to a tolerance; among themselves to the bit, whatever the pack."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from torch import nn

from fsg import Section, register
from fsg.config import TrialConfig
from fsg.data import Images
from fsg.errors import ConfigError, TrialDiverged, TrialPreempted
from fsg.layers import QuantConv2d, QuantLinear
from fsg.parts import forget
from fsg.testing.training import difference, small_images
from fsg.train import Trainer
from fsg.train.fused import FusedTrainer, run_epoch

DATA = small_images()
ODD = small_images((3, 7, 5))

ESTIMATORS: dict[str, dict[str, Any]] = {
    "ste": {"name": "ste"},
    "ema": {"name": "ema", "beta": 0.7},
    "scalar": {"name": "scalar", "lr": 0.05},
    "scalar_free": {"name": "scalar", "lr": 0.05, "gain": "free"},
    "multi_fc": {"name": "multi_fc", "fast": {"lr": 0.05}},
    "fc_grad": {"name": "fc_grad", "fast": {"lr": 0.05}},
    "hand_gate": {"name": "hand_gate"},
    "fsg": {"name": "fsg", "fast": {"lr": 0.02}, "slow": {"lr": 0.02}},
    "fsg_random": {"name": "fsg", "init": "random", "length": 3},
    "no_hgs": {"name": "fsg", "hgs": False},
    "no_fsg": {"name": "fsg", "fsg": False, "slow": {"lr": 0.05}},
    "no_lre": {"name": "fsg", "lre": False},
    "lre_2": {"name": "fsg", "lre_size": 2, "gain": "locked"},
    "fir": {"name": "fsg", "slow_net": "fir", "slow": {"lr": 0.05}},
    "raw": {"name": "fsg", "normalization": "none", "meta_schedule": "constant"},
}


def trial(gradient: str = "fsg", seed: int = 0, **over: Any) -> TrialConfig:
    data = {"gradient": ESTIMATORS[gradient], "seed": seed, "epochs": 4, "fused": True, "data": {"batch_size": 8}}
    return TrialConfig.model_validate(data | {"optimizer": {"name": "adam", "lr": 0.01 * (1 + seed)}} | over)


def alone(config: TrialConfig) -> TrialConfig:
    return config.model_copy(update={"fused": False})


def state(trainer: Trainer) -> dict[str, Any]:
    """As it is read back from a checkpoint."""
    buffer = io.BytesIO()
    torch.save(trainer.state_dict(), buffer)
    buffer.seek(0)
    found: dict[str, Any] = torch.load(buffer, weights_only=True)
    return found


def far(one: Any, other: Any) -> float:
    """The largest difference of two states' tensors, relative to each tensor's largest number."""
    if isinstance(one, dict):
        return max((far(one[k], other[k]) for k in one if k not in ("step_ms", "images_per_s", "config")), default=0.0)
    if isinstance(one, list):
        return max((far(a, b) for a, b in zip(one, other, strict=True)), default=0.0)
    if isinstance(one, torch.Tensor) and one.is_floating_point() and one.numel():
        return float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))
    return 0.0


def trained(configs: list[TrialConfig], epochs: int, data: Any = DATA) -> list[Trainer]:
    pack = FusedTrainer(configs, data)
    for _ in range(epochs):
        pack.run_epoch()
    return pack.trainers


@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_fused_trials_are_trained_as_trials_apart(gradient):
    configs = [trial(gradient, seed, dtype="float64") for seed in range(3)]
    for trainer in trained(configs, 3):
        by_itself = Trainer(alone(trainer.config), DATA)
        results = [by_itself.run_epoch() for _ in range(3)]
        assert far(state(by_itself), state(trainer)) < 5e-6
        assert trainer.last_result is not None
        for name, value in results[-1].metrics.items():
            if name not in ("step_ms", "images_per_s"):
                assert trainer.last_result.metrics[name] == pytest.approx(value, rel=1e-6), name
        for layer, columns in results[-1].layers.items():
            assert trainer.last_result.layers[layer] == pytest.approx(columns, rel=1e-5, abs=1e-9), layer


@pytest.mark.parametrize(
    "over",
    [
        {"optimizer": {"name": "sgd", "lr": 0.1}},
        {"optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 1e-3}},
        {"optimizer": {"name": "adam", "weight_decay": 1e-2}},
        {"optimizer": {"name": "adamw", "weight_decay": 1e-2}},
        {"quantizer": {"name": "dorefa", "bits": 2}},
        {"quantizer": {"name": "bwn"}},
        {"quantizer": {"name": "bwn_channel"}},
        {"quantizer": {"name": "bwn_reference"}},
        {"model": {"name": "digits_cnn", "activations": "sign"}},
        {"model": {"name": "resnet20"}},
        {"evaluate": {"batchnorm": "running", "ema_weights": 0}},
        {"schedule": {"name": "linear", "warmup_epochs": 1}},
    ],
    ids=str,
)
def test_networks_optimizers_and_quantizers_are_those_of_trials_apart(over):
    configs = [trial("ste", seed, dtype="float64", **over) for seed in range(2)]
    for trainer in trained(configs, 2):
        by_itself = Trainer(alone(trainer.config), DATA)
        for _ in range(2):
            by_itself.run_epoch()
        assert far(state(by_itself), state(trainer)) < 1e-6


def test_augmented_images_are_those_of_trials_apart():
    def cifar_like(seed):
        return trial("ste", seed, dtype="float64", data={"name": "cifar10", "batch_size": 8})

    for trainer in trained([cifar_like(0), cifar_like(1)], 2, ODD):
        by_itself = Trainer(alone(trainer.config), ODD)
        for _ in range(2):
            by_itself.run_epoch()
        assert trainer.augmented and far(state(by_itself), state(trainer)) < 1e-6


class Odd(Section):
    """Channels, classes and inputs that fill no vector."""

    name: Literal["odd_network"] = "odd_network"


def odd_network(config, image_shape, classes, quantizer):
    return nn.Sequential(
        QuantConv2d(image_shape[0], 5, 3, padding=1, bias=True, quantizer=quantizer),
        nn.BatchNorm2d(5),
        nn.Hardtanh(),
        QuantConv2d(5, 7, 3, stride=2, bias=False, quantizer=quantizer),
        nn.BatchNorm2d(7),
        nn.ReLU(),
        nn.Flatten(),
        QuantLinear(7 * 3 * 2, 9, bias=True, quantizer=quantizer),
        nn.ReLU(),
        QuantLinear(9, classes, bias=True, quantizer=quantizer),
    )


@pytest.fixture
def odd():
    register("model", Odd, odd_network, fusable=True)
    yield {"name": "odd_network"}
    forget(Odd.__module__)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("gradient", ESTIMATORS)
def test_a_trial_has_the_same_bits_in_every_pack_and_place(gradient, threads, odd, of_threads):
    with of_threads(threads):
        known = state(trained([trial(gradient, model=odd)], 3, ODD)[0])
        for members, place in [(2, 1), (5, 4)]:
            seeds = [*range(1, members)]
            seeds.insert(place, 0)
            found = state(trained([trial(gradient, seed, model=odd) for seed in seeds], 3, ODD)[place])
            assert difference(known, found) is None, (members, place)


MIXED = [*((name, 0) for name in ESTIMATORS), ("fsg", 1), ("ste", 1), ("no_lre", 1), ("fsg", 2)]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_trial_has_the_same_bits_whatever_estimators_are_beside_it(threads, odd, of_threads):
    """As in a pack of its own kind: in a group of its own or with others, in packs of 2 to 32, at any place."""
    with of_threads(threads):
        known = {name: state(trained([trial(name, model=odd)], 3, ODD)[0]) for name in ESTIMATORS}
        packs = [MIXED[::-1], [*MIXED[7:], *MIXED[:7], *(("fsg", seed) for seed in range(3, 32 - len(MIXED) + 3))]]
        for pack in (*packs, [("ste", 0), ("fsg", 0)], [("no_lre", 0), ("scalar", 0), ("no_lre", 5)]):
            found = trained([trial(name, seed, model=odd) for name, seed in pack], 3, ODD)
            for (name, seed), trainer in zip(pack, found, strict=True):
                assert seed or difference(known[name], state(trainer)) is None, (name, len(pack))


def test_trials_that_split_the_images_otherwise_stand_side_by_side():
    """Validation and test have other sizes in each split; an epoch has 18 steps in all."""
    digits = {"name": "digits", "split": "by_writer", "split_per_seed": True}
    configs = [
        trial(name, seed, data=digits, epochs=2, dtype="float64") for seed in (3, 4, 5) for name in ("ste", "fsg")
    ]
    pack = trained(configs, 2, None)
    assert len({len(trainer.data.validation) for trainer in pack}) == 3
    for trainer in pack:
        (own,) = trained([trainer.config], 2, None)
        assert difference(state(own), state(trainer)) is None, trainer.config.seed
        by_itself = Trainer(alone(trainer.config))
        result = [by_itself.run_epoch() for _ in range(2)][-1]
        for name in ("train_loss", "val_loss", "test_loss"):
            assert trainer.last_result.metrics[name] == pytest.approx(result.metrics[name], rel=1e-6), name


def test_trials_whose_epochs_are_longer_are_trained_apart(monkeypatch):
    packs = []
    monkeypatch.setattr("fsg.train.fused.trainer._epoch", lambda trainers, *_: packs.append(trainers) or trainers)
    short = replace(DATA, train=Images(DATA.train.images[:20], DATA.train.labels[:20]))
    run_epoch([Trainer(trial("ste", seed), data) for seed, data in enumerate((short, DATA, short))])
    assert [[trainer.config.seed for trainer in pack] for pack in packs] == [[0, 2], [1]]


def test_networks_of_many_weights_have_the_same_bits_beside_other_estimators(of_threads):
    """Two threads share the sum of a single row out where it has more than 32,768 numbers."""
    with of_threads(2):
        names = ["multi_fc", "scalar", "no_hgs"]
        pack = trained([trial(name, model="resnet20") for name in names], 1)
        for name, trainer in zip(names, pack, strict=True):
            own = trained([trial(name, seed, model="resnet20") for seed in (3, 0)], 1)[1]
            assert difference(state(own), state(trainer)) is None, name


@pytest.mark.parametrize("name", ["digits_cnn", "resnet20"])
def test_own_networks_have_the_same_bits_in_every_pack(name):
    known = state(trained([trial("ste", model=name)], 1)[0])
    for members, place in [(2, 1), (3, 2), (7, 4)]:
        seeds = [*range(1, members)]
        seeds.insert(place, 0)
        assert difference(known, state(trained([trial("ste", s, model=name) for s in seeds], 1)[place])) is None


@pytest.mark.parametrize("gradient", ["ste", "ema", "fsg"])
def test_a_trial_that_moves_to_another_pack_goes_on_to_the_bit(gradient):
    """Between epochs, in the middle of one, alone, and beside trials that are further on."""
    known = state(trained([trial(gradient, seed) for seed in (3, 0)], 4)[1])
    kept: list[dict[str, Any]] = []
    first = FusedTrainer([trial(gradient, seed, checkpoint_every_steps=2) for seed in (0, 1, 2)], DATA)
    first.run_epoch([lambda s: kept.append(_stored(s)), None, None])
    for middle in kept:
        again = Trainer(trial(gradient, checkpoint_every_steps=2), DATA)
        again.load_state_dict(middle)
        again.run_epoch()
        further = FusedTrainer([trial(gradient, seed) for seed in (5, 6, 7)], DATA)
        further.run_epoch()
        trainers = [*further.trainers, Trainer(trial(gradient), DATA)]
        trainers[-1].load_state_dict(state(again))
        while not trainers[-1].finished:
            run_epoch(trainers)
        assert difference(known, state(trainers[-1])) is None


def test_a_neighbour_that_leaves_changes_nothing():
    known = state(trained([trial("fsg")], 4)[0])
    pack = FusedTrainer([trial("fsg", seed) for seed in (0, 1, 2)], DATA)
    pack.run_epoch()
    del pack.trainers[1]
    while not pack.trainers[0].finished:
        pack.run_epoch()
    assert difference(known, state(pack.trainers[0])) is None


def test_a_trial_that_diverges_changes_nothing_for_its_neighbour():
    over = {"quantizer": {"name": "bwn"}, "schedule": {"name": "constant"}, "epochs": 8}
    wild, calm = (
        trial("ste", optimizer={"name": "sgd", "lr": rate, "weight_decay": decay}, **over)
        for rate, decay in ((100.0, 1.0), (0.01, 1e-4))
    )
    known = state(trained([calm], 8)[0])
    pack = FusedTrainer([wild, calm], DATA)
    while not isinstance(lost := pack.run_epoch()[0], TrialDiverged):
        pass
    assert "Lower the learning rate" in str(lost) and 0 < pack.trainers[1].epoch < 8
    del pack.trainers[0]
    while not pack.trainers[0].finished:
        pack.run_epoch()
    assert difference(known, state(pack.trainers[0])) is None


def test_a_pack_that_is_asked_to_leave_saves_all_its_trials_in_the_middle_of_an_epoch():
    known = [state(t) for t in trained([trial("fsg", seed) for seed in (0, 1)], 2)]
    kept: dict[int, dict[str, Any]] = {}
    asked = iter([False, False, True])
    pack = FusedTrainer([trial("fsg", seed) for seed in (0, 1)], DATA)
    with pytest.raises(TrialPreempted):
        pack.run_epoch([lambda s, k=k: kept.update({k: _stored(s)}) for k in (0, 1)], lambda: next(asked))
    again = FusedTrainer([trial("fsg", seed) for seed in (1, 0)], DATA)
    for trainer, k in zip(again.trainers, (1, 0), strict=True):
        trainer.load_state_dict(kept[k])
        assert trainer.steps_done == 3
    again.run_epoch()
    again.run_epoch()
    assert difference(known[0], state(again.trainers[1])) is None
    assert difference(known[1], state(again.trainers[0])) is None


def test_a_fused_trial_by_itself_is_trained_by_the_fused_program():
    known = state(trained([trial("fsg", seed) for seed in (0, 1)], 1)[0])
    by_itself = Trainer(trial("fsg"), DATA)
    by_itself.run_epoch()
    assert difference(known, state(by_itself)) is None


def test_the_time_of_a_pack_is_shared_out_by_what_each_estimator_takes():
    begun = time.perf_counter()
    pack = trained([trial(name, model="digits_cnn") for name in ("no_lre", "ste", "scalar", "ste")], 1)
    results = [trainer.last_result for trainer in pack]
    assert all(result is not None for result in results)
    slow, plain, scalar, other = (result.metrics["step_ms"] for result in results if result is not None)
    assert slow > scalar > plain > 0 and other == plain, "equal estimators share alike"
    assert (slow + scalar + plain + other) / 1000 * pack[0].steps_per_epoch < time.perf_counter() - begun


def test_trials_that_do_not_fit_together_are_refused():
    lstm = TrialConfig.model_validate({"gradient": "lstm_fc", "fused": True})
    with pytest.raises(ConfigError, match="equal shapes"):
        FusedTrainer([trial("fsg"), trial("fsg", quantizer={"name": "bwn"})], DATA).run_epoch()
    with pytest.raises(ConfigError, match="gradient lstm_fc has no twin"):
        FusedTrainer([lstm], DATA)


def _stored(found: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(found, buffer)
    buffer.seek(0)
    read: dict[str, Any] = torch.load(buffer, weights_only=True)
    return read


@pytest.fixture
def of_threads():
    from contextlib import contextmanager

    @contextmanager
    def inside(count):
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return inside
