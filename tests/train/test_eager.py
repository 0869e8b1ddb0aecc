"""Optimizers that import no compiler step as torch's own do."""

import subprocess
import sys

import pytest
import torch
from torch.optim import SGD, Adam, AdamW

from fsg.train.eager import eager

OPTIONS = {SGD: {"momentum": 0.9, "weight_decay": 1e-3}, Adam: {"weight_decay": 1e-3}, AdamW: {}}


def stepped(kind, options):
    torch.manual_seed(0)
    weights = [torch.randn(4, 3, requires_grad=True), torch.randn(5, requires_grad=True)]
    optimizer = kind(weights[:1], lr=0.01, foreach=True, **options)
    optimizer.add_param_group({"params": weights[1:], "lr": 0.1})
    for _ in range(5):
        optimizer.zero_grad()
        sum((w**2).sum() for w in weights).backward()
        optimizer.step()
    return weights, optimizer


@pytest.mark.parametrize("kind", OPTIONS)
def test_steps_and_states_are_those_of_torch_to_the_bit(kind):
    theirs, reference = stepped(kind, OPTIONS[kind])
    ours, optimizer = stepped(eager(kind), OPTIONS[kind])
    assert isinstance(optimizer, kind)
    assert all(map(torch.equal, ours, theirs))
    mine, known = optimizer.state_dict(), reference.state_dict()
    assert mine["param_groups"] == known["param_groups"]
    for place, state in known["state"].items():
        assert all(torch.equal(torch.as_tensor(mine["state"][place][name]), torch.as_tensor(value))
                   for name, value in state.items() if value is not None)  # fmt: skip


def test_a_state_goes_over_from_one_to_the_other():
    _, optimizer = stepped(eager(Adam), {})
    _, reference = stepped(Adam, {})
    reference.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(reference.state_dict())
    optimizer.step()
    assert optimizer.state[optimizer.param_groups[0]["params"][0]]["step"] == 6


def test_a_trial_imports_no_compiler():
    code = """
import sys, fsg
from fsg.config import parse_trial
config = {"gradient": "fsg", "epochs": 1, "data": {"name": "synthetic", "image_size": 4, "batch_size": 256}}
for _ in fsg.Trainer(parse_trial(config)):
    pass
assert "torch._dynamo" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
