"""The Mamba block: scalar loops, closed forms, finite differences."""

import math

import pytest
import torch

from fsg.hypernetworks.slow_net import Mamba
from fsg.ops.slow_scan import mamba_block

SIZES = [(1, 1, 1, 1, 1), (2, 7, 1, 3, 2), (3, 5, 4, 5, 3), (1, 3, 17, 2, 1)]  # B, L, M, D, S


def block(m=1, d=3, s=2, k=4, seed=0):
    torch.manual_seed(seed)
    return Mamba(m, d, s, k).double()


def by_scalar_loops(x, net):
    """The block's definition, one number at a time."""
    w = {name: p.detach() for name, p in net.named_parameters()}
    (batch, length, width), (channels, states), rank = x.shape, w["A_log"].shape, net.dt_rank
    taps = w["conv1d.weight"].shape[-1]
    y = torch.zeros(batch, length, width, dtype=x.dtype)
    for b in range(batch):
        h = [[0.0] * states for _ in range(channels)]
        xs, zs = [], []
        for t in range(length):
            both = w["in_proj.weight"] @ x[b, t]
            xs.append(both[:channels])
            zs.append(both[channels:])
            u = []
            for d in range(channels):
                pre = float(w["conv1d.bias"][d])
                for k in range(taps):
                    at = t - taps + 1 + k
                    pre += float(w["conv1d.weight"][d, 0, k]) * float(xs[at][d]) if at >= 0 else 0.0
                u.append(pre / (1 + math.exp(-pre)))
            low = w["x_proj.weight"] @ torch.tensor(u, dtype=x.dtype)
            step = w["dt_proj.weight"] @ low[:rank] + w["dt_proj.bias"]
            out = []
            for d in range(channels):
                dt = math.log1p(math.exp(float(step[d])))
                total = float(w["D"][d]) * u[d]
                for s in range(states):
                    decay = math.exp(-math.exp(float(w["A_log"][d, s])) * dt)
                    h[d][s] = decay * h[d][s] + dt * float(low[rank + s]) * u[d]
                    total += float(low[rank + states + s]) * h[d][s]
                z = float(zs[t][d])
                out.append(total * z / (1 + math.exp(-z)))
            y[b, t] = w["out_proj.weight"] @ torch.tensor(out, dtype=x.dtype)
    return y


@pytest.mark.parametrize(("b", "length", "m", "d", "s"), SIZES)
@pytest.mark.parametrize("k", [1, 4, 8])
def test_reference_equals_scalar_loops(b, length, m, d, s, k):
    net = block(m, d, s, k)
    x = torch.randn(b, length, m, dtype=torch.float64)
    torch.testing.assert_close(net(x).detach(), by_scalar_loops(x, net), rtol=0, atol=1e-13)


def test_gradients_of_input_and_every_parameter_pass_gradcheck():
    net = block(m=2, d=3, s=2, k=3)
    x = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    weights = net.weights()
    assert torch.autograd.gradcheck(lambda x, *w: mamba_block(x, type(weights)(*w)), (x, *weights))


def test_zero_decay_is_a_cumulative_sum():
    net = block(d=3, s=2, k=1)
    with torch.no_grad():
        net.A_log.fill_(-torch.inf)  # A = 0
        net.x_proj.weight[0] = 0  # the step size is the same at every token
        net.D.zero_()
    x = torch.randn(1, 9, 1, dtype=torch.float64)
    w = net.weights()
    u = torch.nn.functional.silu(x @ w.in_proj[:3].T * w.conv_weight[:, 0, 0] + w.conv_bias)
    low = u @ w.x_proj.T
    b, c = low[..., 1:3], low[..., 3:5]
    dt = torch.nn.functional.softplus(w.dt_bias)
    h = (dt[:, None] * u[..., None] * b[:, :, None, :]).cumsum(1)
    y = (h * c[:, :, None, :]).sum(-1) * torch.nn.functional.silu(x @ w.in_proj[3:].T)
    torch.testing.assert_close(net(x), y @ w.out_proj.T)


def test_infinite_decay_forgets_everything_but_the_taps():
    net = block(d=3, s=2, k=2)
    with torch.no_grad():
        net.A_log.fill_(40.0)
    x = torch.randn(1, 9, 1, dtype=torch.float64)
    torch.testing.assert_close(net(x)[:, -1:], net(x[:, -2:])[:, -1:], rtol=0, atol=1e-12)


def test_last_outputs_are_the_tail_of_all_outputs():
    net, x = block(), torch.randn(4, 6, 1, dtype=torch.float64)
    for n in (1, 3, 6):
        assert torch.equal(net(x, outputs=n), net(x)[:, -n:])


def test_the_future_does_not_reach_the_past():
    net, x = block(), torch.randn(2, 6, 1, dtype=torch.float64)
    later = x.clone()
    later[:, 4:] += 1
    assert torch.equal(net(x)[:, :4], net(later)[:, :4])
    assert not torch.equal(net(x)[:, 4:], net(later)[:, 4:])


def test_a_token_width_or_output_count_that_does_not_fit_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="tokens have width 3, expected 1"):
        block()(torch.zeros(1, 2, 3, dtype=torch.float64))
    with pytest.raises(ValueError, match="5 outputs asked of 2 tokens"):
        block()(torch.zeros(1, 2, 1, dtype=torch.float64), outputs=5)


def test_parameters_have_the_names_and_shapes_of_mamba_ssm():
    shapes = {name: tuple(p.shape) for name, p in Mamba(17, 34, 5, 4).named_parameters()}
    assert shapes == {
        "A_log": (34, 5),
        "D": (34,),
        "in_proj.weight": (68, 17),
        "conv1d.weight": (34, 1, 4),
        "conv1d.bias": (34,),
        "x_proj.weight": (12, 34),
        "dt_proj.weight": (34, 2),
        "dt_proj.bias": (34,),
        "out_proj.weight": (17, 34),
    }
