"""Per-layer arithmetic on the flat vector of all weights."""

import torch

from fsg.ops.spans import Spans, unit

SPANS = Spans([3, 1, 4])
X = torch.arange(8.0) - 2


def test_reductions_equal_those_of_each_layer_alone():
    parts = [X[:3], X[3:4], X[4:]]
    assert torch.equal(torch.cat(SPANS.split(X)), X)
    torch.testing.assert_close(SPANS.norm(X), torch.stack([p.norm() for p in parts]))
    torch.testing.assert_close(SPANS.rms(X), torch.stack([p.square().mean().sqrt() for p in parts]))
    assert SPANS.largest(X).tolist() == [p.max() for p in parts]
    torch.testing.assert_close(SPANS.sum(X), torch.stack([p.sum() for p in parts]))
    torch.testing.assert_close(SPANS.mean(X), torch.stack([p.mean() for p in parts]))
    torch.testing.assert_close(SPANS.dot(X, 2 * X), torch.stack([2 * p.square().sum() for p in parts]))


def test_rms_of_a_window_is_taken_over_all_its_rows():
    window = torch.stack([X, 3 * X])
    expected = torch.stack([torch.cat([p, 3 * p]).square().mean().sqrt() for p in SPANS.split(X)])
    torch.testing.assert_close(SPANS.rms(window), expected)


def test_expand_gives_every_weight_its_layers_value():
    assert SPANS.expand(torch.tensor([5.0, 6.0, 7.0])).tolist() == [5, 5, 5, 6, 7, 7, 7, 7]
    assert (SPANS.total, len(SPANS), SPANS.starts) == (8, 3, [0, 3, 4])


def test_unit_replaces_zero_scales_alone():
    assert unit(torch.tensor([0.0, 2.0])).tolist() == [1, 2]
