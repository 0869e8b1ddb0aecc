"""When a file counts as giving a network's results; and the times beside it."""

import time

import pytest
import torch

from fsg.export.check import agreement, logits_of
from fsg.export.speed import BATCHES, milliseconds

LABELS = torch.tensor([0, 1, 1])
EXPECTED = torch.tensor([[2.0, 1.0], [0.0, 4.0], [3.0, 1.0]])  # two of three are right


def judged(*changes):
    found = EXPECTED.clone()
    for row, column, value in changes:
        found[row, column] = value
    return agreement(found, EXPECTED, LABELS)


def test_equal_logits_hold_and_so_do_those_within_a_rounding_of_the_largest():
    assert judged().holds and str(judged()) == "the same bits"
    near = judged((1, 1, 4.0003))
    assert near.holds and near.difference == pytest.approx(0.0003 / 4, rel=1e-3)


def test_other_logits_hold_only_where_as_many_images_are_right():
    same_count = judged((0, 1, 5.0), (2, 1, 5.0))
    assert same_count.holds and (same_count.changed, same_count.correct) == (2, 2)
    assert "another class for 2 of 3 images, 2 right in both" in str(same_count)
    fewer = judged((0, 1, 5.0))
    assert not fewer.holds and "1 right, not 2" in str(fewer)


def test_a_logit_that_is_no_number_holds_only_where_it_costs_no_image():
    assert judged((1, 1, float("nan"))).difference == float("inf")
    assert not agreement(torch.full_like(EXPECTED, float("nan")), EXPECTED, LABELS).holds


def test_batches_are_put_together_in_order():
    images = torch.arange(1203).view(-1, 1, 1, 1)
    assert torch.equal(logits_of(lambda part: part.flatten(1), images), images.flatten(1))


def test_times_are_of_a_batch_in_milliseconds():
    found = milliseconds(
        {"slow": lambda images: time.sleep(0.003 * len(images)), "quick": len}, torch.zeros(8, 1, 2, 2)
    )
    assert list(found) == ["slow", "quick"] and list(found["slow"]) == list(BATCHES) == [1, 32]
    assert 3 <= found["slow"][1] < found["slow"][32] and found["slow"][32] >= 96 and found["quick"][32] < 3
