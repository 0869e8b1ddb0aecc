"""A trial that goes on from another's checkpoint: every value that may change is read afresh, and nothing else may differ."""

import pytest
import torch

from fsg.config import CHANGEABLE, merge, nested, parse_trial
from fsg.errors import CheckpointCorrupt
from fsg.formats import FORMAT
from fsg.train import Trainer
from fsg.train.checkpoint import CheckpointStore, load_checkpoint, save_checkpoint

BASE = {"epochs": 4, "device": "cpu", "data": {"name": "digits", "batch_size": 256}}
SGD = {"optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.01}}
FLOAT = {"optimizer": {"name": "adam", "float": {**SGD["optimizer"]}}}
CHANGES = [
    ("optimizer.lr", {}, 0.003),
    ("optimizer.momentum", SGD, 0.9),
    ("optimizer.weight_decay", SGD, 0.2),
    ("optimizer.weight_decay", {"optimizer": {"name": "adamw", "weight_decay": 0.01}}, 1.0),
    ("optimizer.float.lr", FLOAT, 0.003),
    ("optimizer.float.momentum", FLOAT, 0.9),
    ("optimizer.float.weight_decay", FLOAT, 0.2),
    ("gradient.beta", {}, 0.9),
    ("gradient.beta", {"gradient": "ema"}, 0.9),
    ("gradient.gain", {}, "locked"),
    ("gradient.lr", {"gradient": "scalar"}, 1.0),
    ("gradient.lr", {"gradient": "gate"}, 1.0),
    ("gradient.fast.lr", {}, 1.0),
    ("gradient.fast.lr", {"gradient": "multi_fc"}, 1.0),
    ("gradient.slow.lr", {}, 1.0),
]


def trial(*over):
    data = BASE
    for part in over:
        data = merge(data, part)
    return parse_trial(data)


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


def after(state, config):
    trainer = Trainer(config)
    trainer.take_over(state())
    return trainer


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """The state after an epoch of a trial, by what it changes in the base; from disk, as a worker gets it."""
    folder, made = tmp_path_factory.mktemp("states"), {}

    def of(over):
        if str(over) not in made:
            trainer = Trainer(trial(over))
            trainer.run_epoch()
            made[str(over)] = folder / f"{len(made)}.pt"
            save_checkpoint(trainer.state_dict(), made[str(over)])
        return lambda: load_checkpoint(made[str(over)])

    return of


def test_every_value_that_may_change_has_a_case_here():
    assert {path for path, _, _ in CHANGES} == set(CHANGEABLE)


@pytest.mark.parametrize(("path", "over", "value"), CHANGES)
def test_a_changed_value_is_read_afresh_from_the_next_step_on(states, path, over, value):
    state = states(over)
    same, other = after(state, trial(over)), after(state, trial(over, nested(path, value)))
    assert torch.equal(weights(same), weights(other)), "what was learnt is kept"
    same.run_epoch(), other.run_epoch()
    assert not torch.equal(weights(same), weights(other))
    own = other.config.optimizer
    for optimizer, section in zip(other.step.base_optimizers(), (own, own.float or own), strict=True):
        for group in optimizer.param_groups:
            assert group["weight_decay"] == section.weight_decay
            assert group.get("momentum", 0.0) == section.momentum


def test_taking_over_without_a_change_is_going_on(states):
    state = states({})
    plain = Trainer(trial())
    plain.load_state_dict(state())
    taken = after(state, trial())
    plain.run_epoch(), taken.run_epoch()
    assert torch.equal(weights(plain), weights(taken))


@pytest.mark.parametrize(
    "over", [{"gradient": {"length": 3}}, {"seed": 1}, {"epochs": 9}, {"gradient": "ste"}], ids=str
)
def test_a_trial_that_differs_in_more_is_refused(states, over):
    with pytest.raises(CheckpointCorrupt, match="belongs to another trial"):
        after(states({}), trial(over))


def test_an_adopted_checkpoint_is_the_only_one(tmp_path):
    save_checkpoint({"of": "donor"}, tmp_path / "donor" / "last.pt")
    store = CheckpointStore(tmp_path / "loser" / "last.pt")
    store.save({"of": "loser"}), store.save({"of": "loser, later"})
    store.adopt(tmp_path / "donor" / "last.pt")
    assert store.load() == {"format": FORMAT, "of": "donor"}
    store.path.write_bytes(b"damaged since")
    assert store.load() is None, "the loser's own weights came back"


def test_a_damaged_checkpoint_is_not_adopted(tmp_path):
    donor = tmp_path / "donor.pt"
    save_checkpoint({"of": "donor"}, donor)
    donor.write_bytes(donor.read_bytes()[:-1])
    store = CheckpointStore(tmp_path / "last.pt")
    store.save({"of": "loser"})
    with pytest.raises(CheckpointCorrupt, match="digest"):
        store.adopt(donor)
    assert store.load() == {"format": FORMAT, "of": "loser"}
