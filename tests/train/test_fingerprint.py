"""Hashes that show which trials are fair pairs."""

import torch

from fsg.config import parse_trial
from fsg.train import Trainer
from fsg.train.fingerprint import fingerprint


def print_of(**over):
    base = {"epochs": 1, "device": "cpu", "data": {"name": "synthetic", "image_size": 8, "batch_size": 64}}
    return fingerprint(Trainer(parse_trial({**base, **over})))


def test_all_arms_of_a_seed_share_weights_and_batches():
    assert print_of(gradient="ste") == print_of(gradient="fsg") == print_of(gradient="gate")


def test_another_seed_shares_neither_and_another_batch_size_only_the_weights():
    first, other = print_of(), print_of(seed=1)
    assert first["weights"] != other["weights"] and first["batches"] != other["batches"]
    larger = print_of(data={"name": "synthetic", "image_size": 8, "batch_size": 65})
    assert larger["weights"] == first["weights"] and larger["batches"] != first["batches"]


def test_taking_it_draws_nothing():
    trainer = Trainer(parse_trial({"epochs": 1, "device": "cpu"}))
    before = trainer.order.get_state()
    fingerprint(trainer)
    assert torch.equal(trainer.order.get_state(), before)
