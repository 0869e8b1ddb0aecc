"""Whose hand wrote a digit, read off the labels, and splits that keep each hand to one part."""

import numpy as np
import pytest
import torch

from fsg.config import load_trial, parse_trial
from fsg.data import load_data
from fsg.data.arrays import held_apart
from fsg.data.digits import FORMS, _file, form_of
from fsg.errors import ConfigError
from fsg.formats import FORMAT
from fsg.fusing import shape_of
from fsg.train import Trainer

LABELS = "".join(map(str, np.loadtxt(_file(), int, delimiter=",")[:, -1]))
FORM = LABELS[: FORMS[1]]  # as the first writer filled it


def digits(*settings):
    return load_trial(None, list(settings))


def parts(config):
    splits = load_data(config.images)
    return [part.images.flatten(1) for part in (splits.train, splits.validation, splits.test)]


def common(a, b):
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, start=1):
            row[j], before = (before + 1 if x == y else max(row[j], row[j - 1])), row[j]
    return row[-1]


@pytest.mark.parametrize("number", range(len(FORMS)))
def test_every_form_holds_the_same_digits_in_the_same_order(number):
    """But for at most 8 that were lost or added: no boundary lies within a form."""
    stretch = LABELS[FORMS[number] : [*FORMS, len(LABELS)][number + 1]]
    shared = common(stretch, FORM)
    assert len(FORM) - shared <= 8 and len(stretch) - shared <= 1
    assert stretch.startswith("0123456789" if number != 7 else "1234567890")


def test_each_image_has_the_number_of_its_form():
    forms = form_of(len(LABELS))
    assert forms[0] == 0 and forms[129] == 0 and forms[130] == 1 and forms[-1] == 13
    assert forms.bincount().tolist()[:3] == [130, 126, 130]


def test_no_hand_is_in_two_parts_and_no_image_is_lost():
    found = parts(digits())
    assert sum(map(len, found)) == 1797
    assert load_data(digits("data.split=random").data).digest() != load_data(digits().data).digest()
    assert load_data(digits("data.split=by_writer").data).digest() == load_data(digits().data).digest()
    table = torch.from_numpy(np.loadtxt(_file(), np.int64, delimiter=","))[:, :-1]
    known = {tuple(row): int(form) for row, form in zip(table.tolist(), form_of(1797), strict=True)}
    forms = [{known[tuple((row * 16 / 255).round().long().tolist())] for row in part.double()} for part in found]
    assert [len(each) for each in forms] == [9, 2, 3] and len(set.union(*forms)) == 14


def test_groups_are_held_out_until_their_images_come_nearest_to_the_share():
    groups = torch.arange(10).repeat(10)
    for share, count in ((0.01, 10), (0.2, 20), (0.26, 30), (0.99, 90)):
        kept, held = held_apart(torch.zeros(100), groups, share, torch.Generator().manual_seed(0))
        assert not set(groups[kept].tolist()) & set(groups[held].tolist()) and len(kept) + len(held) == 100
        assert len(held) == count


def test_a_split_per_seed_gives_every_seed_its_own_and_every_arm_the_same():
    one, two = digits("data.split_per_seed=true", "seed=1"), digits("data.split_per_seed=true", "seed=2")
    assert load_data(one.images).digest() == load_data(digits("data.split_seed=1").data).digest()
    assert load_data(one.images).digest() != load_data(two.images).digest()
    assert Trainer(two).data.digest() == load_data(two.images).digest()
    assert shape_of(one) == shape_of(two), "each has images of its own in a pack, too"


def test_a_split_has_one_key_however_it_is_said():
    assert digits().identity() == digits("data.split=by_writer").identity()
    assert digits("data.split=random").identity()["data"].keys() & {"split", "split_per_seed"} == set()
    assert load_trial(None, ["data=synthetic"]).identity()["data"].keys() & {"split", "split_per_seed"} == set()


def test_digits_were_split_at_random_where_nothing_was_said_in_earlier_formats():
    assert digits().in_format(FORMAT).images.split is None
    assert [digits().in_format(format).images.split for format in (1, 2)] == ["random", "random"]
    assert digits("data.split=by_writer").in_format(1).images.split == "by_writer"
    assert digits().in_format(2).identity()["data"] == digits("data.split=random").identity()["data"]


def test_writers_of_other_images_are_unknown():
    with pytest.raises(ConfigError, match="split: by_writer is for digits; of cifar10 nobody knows"):
        parse_trial({"data": {"name": "cifar10", "split": "by_writer"}})
