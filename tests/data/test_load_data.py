import pytest
import torch
from sklearn import datasets

from fsg.catalogue.data import DataConfig
from fsg.data import load_data, normalise
from fsg.errors import DataError
from fsg.parts import find_part, names


def test_digits_and_synthetic_images_are_never_augmented():
    assert [name for name in names("data") if find_part("data", name).fact("augmented")] == [
        "cifar10",
        "cifar100",
        "image_folder",
    ]


def test_digits_are_the_1797_images_of_sklearn_split_in_three():
    splits = load_data(DataConfig(name="digits", split="random"))
    sizes = len(splits.train), len(splits.validation), len(splits.test)
    assert sum(sizes) == 1797
    assert sizes[2] == pytest.approx(0.2 * 1797, abs=10)
    assert sizes[1] == pytest.approx(0.15 * 0.8 * 1797, abs=10)
    assert splits.image_shape == (1, 8, 8) and splits.classes == 10
    assert splits.train.images.dtype == torch.uint8 and splits.train.labels.dtype == torch.int64


def test_digits_keep_all_17_grey_levels_and_their_labels():
    splits = load_data(DataConfig(name="digits"))
    levels = {round(v * 255 / 16) for v in range(17)}
    assert set(splits.train.images.unique().tolist()) == levels and len(levels) == 17
    pixels, labels = datasets.load_digits(return_X_y=True)
    known = {tuple(p): int(label) for p, label in zip(pixels.astype(int).tolist(), labels, strict=True)}
    for part in (splits.train, splits.validation, splits.test):
        back = (part.images.double() * 16 / 255).round().long().flatten(1)
        assert [known[tuple(p)] for p in back.tolist()] == part.labels.tolist()


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_loading_twice_gives_the_same_images(name):
    config = DataConfig(name=name, image_size=8, split_seed=3)
    first, again = load_data(config), load_data(config)
    for part in ("train", "validation", "test"):
        assert torch.equal(getattr(first, part).images, getattr(again, part).images)
        assert torch.equal(getattr(first, part).labels, getattr(again, part).labels)


@pytest.mark.parametrize("image_size", [4, 9, 32])
def test_synthetic_images_have_the_promised_number_and_shape(image_size):
    splits = load_data(DataConfig(name="synthetic", image_size=image_size))
    assert splits.image_shape == (3, image_size, image_size)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (680, 120, 200)
    assert torch.bincount(splits.test.labels).tolist() == [20] * 10


def test_synthetic_labels_can_be_learnt():
    splits = load_data(DataConfig(name="synthetic", image_size=8))
    train, test = (
        normalise(p.images, splits.mean, splits.std, torch.float64).flatten(1) for p in (splits.train, splits.test)
    )
    means = torch.stack([train[splits.train.labels == c].mean(0) for c in range(10)])
    assert (torch.cdist(test, means).argmin(1) == splits.test.labels).double().mean() > 0.95


def test_synthetic_images_stay_the_same_when_only_the_split_changes():
    def pixels(seed: int) -> list[list[int]]:
        splits = load_data(DataConfig(name="synthetic", image_size=4, split_seed=seed))
        parts = (splits.train, splits.validation, splits.test)
        return sorted(torch.cat([p.images for p in parts]).flatten(1).tolist())

    assert pixels(0) == pixels(1)


def test_a_batch_larger_than_the_training_images_is_refused():
    with pytest.raises(DataError, match=r"synthetic: 680 training images .* data\.batch_size = 681; .* at most 680"):
        load_data(DataConfig(name="synthetic", image_size=4, batch_size=681))
