"""Long sequences on the CPU: against the reference, and with a prefix that is cut off."""

import math

import pytest
import torch
from slow_scan_cases import assert_same, everything, problem, reference

from fsg.ops.slow_scan import MambaWeights, slow_scan, slow_scan_flat

flat = pytest.importorskip("fsg.ops.slow_scan.cpu_flat", reason="numba is not installed")

# B, L, K, D, S and outputs; a segment is 128 tokens in float32, 64 in float64
SIZES = [
    ((1, 1, 1, 1, 1), 1),
    ((2, 2, 8, 3, 16), 2),
    ((3, 40, 4, 8, 4), 7),
    ((2, 300, 8, 7, 5), 300),
    ((1, 131, 3, 100, 16), 129),
    ((1, 1000, 2, 17, 3), 200),
]
TOLERANCE = [(torch.float64, 1e-12), (torch.float32, 1e-5)]


def twin(tokens, weights, outputs):
    return slow_scan(tokens, weights, outputs, backend="cpu") if outputs > 1 else as_one(tokens, weights, outputs)


def as_one(tokens, weights, outputs):
    batch, length = tokens.shape
    flattened = slow_scan_flat(tokens.flatten(), [length] * batch, [outputs] * batch, weights, backend="cpu")
    return flattened.view(batch, outputs)


@pytest.mark.parametrize(("size", "outputs"), SIZES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE, ids=["float64", "float32"])
def test_flat_twin_matches_the_reference_in_output_and_every_gradient(size, outputs, dtype, tolerance):
    tokens, weights = problem(*size)
    upstream = torch.randn(size[0], outputs, dtype=torch.float64)
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    assert_same(everything(twin, tokens, weights, upstream, dtype), expected, tolerance)


def forgetful(b, length, taps, channels, states):
    """Steps near one: a few dozen tokens are as good as all."""
    tokens, weights = problem(b, length, taps, channels, states)
    return tokens, weights._replace(dt_bias=torch.linspace(0.5, 1.5, channels, dtype=torch.float64))


def starts(tokens, weights, outputs, dtype):
    batch, length = tokens.shape
    weights = MambaWeights(*(w.to(dtype) for w in weights))
    flattened = tokens.flatten().to(dtype).requires_grad_()
    output = slow_scan_flat(flattened, [length] * batch, [outputs] * batch, weights, backend="cpu")
    return [s.start - s.begin for s in output.grad_fn.sequences]


@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCE, ids=["float64", "float32"])
def test_a_cut_prefix_changes_nothing_beyond_rounding(dtype, tolerance):
    tokens, weights = forgetful(2, 900, 4, 9, 3)
    upstream = torch.randn(2, 100, dtype=torch.float64)
    first = min(starts(tokens, weights, 100, dtype))
    assert first > 600
    expected = everything(reference, tokens, weights, upstream, torch.float64)
    found = everything(as_one, tokens, weights, upstream, dtype)
    assert_same(found, expected, tolerance)
    assert not found["tokens"][:, : first - 3].any()


@pytest.mark.parametrize(("dtype", "lanes", "threshold"), [(torch.float64, 8, 40), (torch.float32, 16, 20)])
def test_the_cut_keeps_the_shortest_prefix_that_some_channel_still_remembers(dtype, lanes, threshold):
    tokens, w = forgetful(1, 700, 4, 5, 3)
    x = torch.nn.functional.pad(tokens[0, :, None] * w.in_proj[:5, 0], (0, 0, 3, 0))
    u = torch.nn.functional.silu(w.conv_bias + sum(w.conv_weight[:, 0, k] * x[k : k + 700] for k in range(4)))
    dt = torch.nn.functional.softplus((u @ w.x_proj[0])[:, None] * w.dt_weight[:, 0] + w.dt_bias)
    ahead = dt[:650].flip(0).cumsum(0).flip(0)  # the steps from each token to the first output
    forgotten = (w.A_log.exp().min(1).values * ahead).min(1).values > threshold
    last = int(forgotten.nonzero().max())
    (start,) = starts(tokens, w, 50, dtype)
    assert last - lanes < start <= last  # to a vector of tokens


def test_a_block_that_forgets_slowly_keeps_every_token():
    tokens, weights = problem(2, 300, 4, 5, 3)
    assert starts(tokens, weights, 50, torch.float32) == [0, 0]


def test_sequences_of_all_lengths_in_one_call_are_the_sequences_alone():
    _, weights = problem(1, 1, 4, 6, 3)
    lengths, outputs = [1, 70, 5, 333, 128], [1, 20, 5, 111, 128]
    tokens = torch.randn(sum(lengths), dtype=torch.float64)
    together = slow_scan_flat(tokens, lengths, outputs, weights, backend="cpu")
    alone = [reference(t[None], weights, n)[0] for t, n in zip(tokens.split(lengths), outputs, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-12)
    by_reference = slow_scan_flat(tokens, lengths, outputs, weights, backend="reference")
    torch.testing.assert_close(by_reference, torch.cat(alone), rtol=0, atol=0)


def test_scratch_memory_is_never_read_before_it_is_written(monkeypatch):
    tokens, weights = problem(2, 300, 4, 9, 5)
    upstream = torch.randn(2, 120, dtype=torch.float64)
    clean = everything(as_one, tokens, weights, upstream, torch.float32)
    empty = torch.Tensor.new_empty

    def poisoned(self, *size, **options):
        return empty(self, *size, **options).fill_(math.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    assert_same(everything(as_one, tokens, weights, upstream, torch.float32), clean, 0.0)


def test_the_same_call_gives_the_same_bits_with_any_number_of_threads():
    tokens, weights = problem(5, 200, 4, 9, 5)
    upstream = torch.randn(5, 100, dtype=torch.float64)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 1, 3):
            torch.set_num_threads(threads)
            found.append(everything(as_one, tokens, weights, upstream, torch.float32))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_same(other, found[0], 0.0)


def test_denormal_numbers_are_flushed_in_the_kernel_alone():
    tokens, weights = problem(1, 200, 4, 3, 2)
    tiny = torch.tensor([1e-310], dtype=torch.float64)
    slow_scan_flat(tokens[0], [200], [10], weights, backend="cpu")
    assert (tiny * 1.0).item() > 0  # an equality would hold of zero too: comparisons flush as well


def test_lengths_that_do_not_add_up_are_refused_with_both():
    _, weights = problem(1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"tokens have shape \(5,\), expected \(7,\) for 2 sequences with 2"):
        slow_scan_flat(torch.zeros(5, dtype=torch.float64), [3, 4], [1, 1], weights)
