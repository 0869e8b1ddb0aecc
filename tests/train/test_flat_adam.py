"""Adam over vectors steps as torch's own does, to the bit, whatever is done to its tensors in between."""

from copy import deepcopy

import pytest
import torch
from torch.optim import Adam, AdamW

from fsg.train.eager import eager
from fsg.train.flat_adam import flat

SHAPES = [(4, 3), (5,), (1, 7), (33,), (2, 2, 2)]


def made(make, kind, options):
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(shape, generator=generator).requires_grad_() for shape in SHAPES]
    groups = [{"params": weights[:3], "lr": 0.01}, {"params": weights[3:], "lr": 0.1}]
    return weights, make(kind)(groups, foreach=True, **options)


def step(weights, optimizer, number, without=()):
    generator = torch.Generator().manual_seed(number)
    optimizer.zero_grad()
    for place, weight in enumerate(weights):
        grad = torch.randn(weight.shape, generator=generator) * 10.0 ** (number % 5 - 4)
        weight.grad = None if place in without else grad
    optimizer.step()


def assert_equal(ours, theirs):
    (weights, optimizer), (their_weights, reference) = ours, theirs
    assert all(map(torch.equal, weights, their_weights))
    mine, known = optimizer.state_dict(), reference.state_dict()
    assert mine["param_groups"] == known["param_groups"]
    assert mine["state"].keys() == known["state"].keys()
    for place, state in known["state"].items():
        assert all(torch.equal(mine["state"][place][name], value) for name, value in state.items())


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_fifty_steps_and_states_are_those_of_torch_to_the_bit(kind, weight_decay):
    ours, theirs = (made(make, kind, {"weight_decay": weight_decay}) for make in (flat, eager))
    for number in range(50):
        for both in (ours, theirs):
            for group in both[1].param_groups:
                group["lr"] *= 0.97
            step(*both, number)
    assert_equal(ours, theirs)
    assert ours[0][0].untyped_storage().data_ptr() == ours[0][4].untyped_storage().data_ptr()  # it did step vectors


def test_tensors_that_lie_in_one_vector_already_stay_there():
    whole = torch.arange(12.0)
    weights = [torch.nn.Parameter(part.view(2, 3)) for part in whole.split(6)]
    optimizer = flat(Adam)(weights, lr=0.1, foreach=True)
    for number in range(3):
        step(weights, optimizer, number)
    assert torch.equal(whole, torch.cat([w.detach().flatten() for w in weights]))


def test_a_parameter_that_once_had_no_gradient_is_stepped_as_torch_steps_it():
    ours, theirs = (made(make, Adam, {}) for make in (flat, eager))
    for number, without in enumerate([(), (), (3,), (), ()]):
        for both in (ours, theirs):
            step(*both, number, without)
    assert_equal(ours, theirs)


def test_states_that_were_loaded_replaced_or_copied_are_gone_on_from():
    ours, theirs = (made(make, Adam, {}) for make in (flat, eager))
    for number in range(12):
        for weights, optimizer in (ours, theirs):
            if number == 4:
                optimizer.load_state_dict(deepcopy(optimizer.state_dict()))
            if number == 8:  # as a fused pack gives them back
                for weight in weights:
                    state = optimizer.state[weight]
                    state |= {"exp_avg": state["exp_avg"].clone() + 1, "step": torch.tensor(20.0)}
            step(weights, optimizer, number)
    assert_equal(ours, theirs)
    copy = deepcopy(ours[1])
    before = [weight.clone() for weight in ours[0]]
    step([p for group in copy.param_groups for p in group["params"]], copy, 13)
    assert all(map(torch.equal, ours[0], before))  # a copy moves its own weights
