"""Fast-net, slow-net, history and layer embedding."""

import pytest
import torch

from fsg.hypernetworks.fast_net import FastNet, positive
from fsg.hypernetworks.history import GradientHistory
from fsg.hypernetworks.layer_embedding import LayerEmbedding
from fsg.hypernetworks.slow_net import MambaSlowNet


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [1, 7, 8, 9, 1000])
def test_fast_net_starts_at_exactly_one_and_stays_positive(dtype, n):
    net = FastNet(16).to(dtype)
    w = torch.randn(n, dtype=dtype)
    assert torch.equal(net(w), torch.ones_like(w))
    torch.nn.init.normal_(net.outer.weight, std=5)
    assert (net(w) > 0).all()


def test_positive_is_softplus_in_units_of_its_value_at_zero():
    z = torch.linspace(-5, 5, 11, dtype=torch.float64)
    torch.testing.assert_close(positive(z), torch.log2(1 + torch.exp(z)))


def test_slow_net_starts_at_zero_and_still_learns():
    net = MambaSlowNet(8, 4, 4)
    y = net(torch.randn(10, 6))
    assert torch.equal(y, torch.zeros(10, 1))
    y.sum().backward()
    assert net.mamba.out_proj.weight.grad.abs().sum() > 0


def test_history_keeps_the_last_gradients_oldest_first():
    history = GradientHistory(3, 2)
    seen = [history.append(torch.full((2,), float(t))).clone()[:, 0].tolist() for t in range(5)]
    assert seen == [[0], [0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_history_of_one_holds_the_newest_alone():
    history = GradientHistory(1, 2)
    history.append(torch.zeros(2))
    assert history.append(torch.ones(2)).tolist() == [[1, 1]]


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_history_survives_a_state_dict_at_any_fill(steps):
    first, second = GradientHistory(3, 2), GradientHistory(3, 2)
    second.append(torch.full((2,), 9.0))
    for t in range(steps):
        first.append(torch.full((2,), float(t)))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.append(torch.ones(2)), second.append(torch.ones(2)))


def test_layer_embedding_is_one_learnt_vector_per_layer():
    embedding = LayerEmbedding(4, 3)
    assert embedding().shape == (4, 3) and embedding().requires_grad
