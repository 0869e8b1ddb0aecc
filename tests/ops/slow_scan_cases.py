"""One problem table for all twins of the slow-net's block: output and every gradient, by name, against the reference."""

import torch

from fsg.hypernetworks.slow_net import Mamba
from fsg.ops.slow_scan import MambaWeights, mamba_block

# B sequences, L tokens, K taps, D channels, S states; chosen so that no size divides a register, a tile or a chunk.
PER_WEIGHT = [
    (1, 1, 1, 1, 1),
    (2, 2, 8, 3, 16),
    (15, 3, 2, 100, 16),
    (17, 9, 8, 7, 5),
    (40, 6, 4, 8, 4),
    (1000, 5, 3, 2, 3),
]


def problem(b, length, taps, channels, states, seed=0):
    """Tokens, parameters away from their special initial values, and an upstream gradient; float64."""
    torch.manual_seed(seed)
    net = Mamba(1, channels, states, taps).double()
    with torch.no_grad():
        for p in net.parameters():
            p += 0.2 * torch.randn_like(p)
    tokens = 1.5 * torch.randn(b, length, dtype=torch.float64)
    return tokens, MambaWeights(*(w.detach() for w in net.weights()))


def reference(tokens, weights, outputs):
    return mamba_block(tokens[:, :, None], weights, outputs)[:, :, 0]


def everything(function, tokens, weights, upstream, dtype, device="cpu"):
    """Output and all gradients by name, back in float64."""
    tokens = tokens.to(device, dtype).clone().requires_grad_()
    weights = MambaWeights(*(w.to(device, dtype).clone().requires_grad_() for w in weights))
    output = function(tokens, weights, upstream.shape[1])
    output.backward(upstream.to(device, dtype))
    found = {"output": output.detach(), "tokens": tokens.grad, **{k: w.grad for k, w in weights._asdict().items()}}
    return {name: value.double().cpu() for name, value in found.items()}


def assert_same(found, expected, tolerance):
    """Every array within ``tolerance`` of its own scale (its largest number)."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        error = float((found[name] - value).abs().max())
        assert error <= tolerance * float(value.abs().max()), f"{name}: off by {error:.2e} of {value.abs().max():.2e}"
