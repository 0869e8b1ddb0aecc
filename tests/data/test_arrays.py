import pytest
import torch

from fsg.catalogue.data import DataConfig
from fsg.data.arrays import (
    DataSplits,
    Images,
    channel_statistics,
    class_balanced,
    epoch_order,
    make_splits,
    normalise,
    stratified_split,
)
from fsg.errors import DataError

CONFIG = DataConfig(name="synthetic", batch_size=2, validation_share=0.25)


def numbered(counts: list[int]) -> Images:
    """``counts[c]`` images of class c, shuffled; the pixels of each spell its number, so that it can be followed."""
    order = torch.randperm(sum(counts), generator=torch.Generator().manual_seed(7))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))[order]
    numbers = torch.arange(len(labels))
    return Images(torch.stack([numbers // 256, numbers % 256], dim=1).to(torch.uint8).view(-1, 2, 1, 1), labels)


def numbers(images: Images) -> list[int]:
    high, low = images.images.long().flatten(1).T
    return (high * 256 + low).tolist()


def split(config: DataConfig = CONFIG, counts: tuple[int, ...] = (100, 200, 301)) -> DataSplits:
    return make_splits(config, numbered(list(counts)), [f"c{i}" for i in range(len(counts))])


def test_split_is_disjoint_and_loses_no_image():
    splits = split()
    found = [n for part in (splits.train, splits.validation, splits.test) for n in numbers(part)]
    assert sorted(found) == list(range(601))


def test_split_is_stratified():
    splits = split()
    assert torch.bincount(splits.test.labels).tolist() == [20, 40, 60]
    assert torch.bincount(splits.validation.labels).tolist() == [20, 40, 60]
    assert torch.bincount(splits.train.labels).tolist() == [60, 120, 181]


def test_split_keeps_each_image_with_its_label():
    splits, whole = split(), numbered([100, 200, 301])
    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal(part.labels, whole.labels[numbers(part)])


def test_split_is_the_same_for_the_same_seed_and_another_for_another():
    first, again, other = split(), split(), split(CONFIG.model_copy(update={"split_seed": 1}))
    for name in ("train", "validation", "test"):
        assert numbers(getattr(first, name)) == numbers(getattr(again, name))
        assert numbers(getattr(first, name)) != numbers(getattr(other, name))


def test_test_images_do_not_depend_on_the_validation_share():
    assert numbers(split().test) == numbers(split(CONFIG.model_copy(update={"validation_share": 0.5})).test)


def test_split_draws_nothing_from_the_global_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    split()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_every_class_stays_in_both_parts_at_extreme_shares(share):
    labels = torch.tensor([0, 0, 1, 1, 1])
    for part in stratified_split(labels, share, torch.Generator().manual_seed(0)):
        assert labels[part].unique().tolist() == [0, 1]


def test_official_test_images_are_left_whole():
    test = numbered([3, 4])
    splits = make_splits(CONFIG, numbered([20, 20]), ["a", "b"], test=test)
    assert splits.test is test
    assert len(splits.train) == 30 and len(splits.validation) == 10


def test_a_class_too_small_to_split_is_refused_by_name_and_number():
    with pytest.raises(
        DataError, match=r"22 images in 3 classes.*at least 3 of them, but class 'c1' has 0, 'c2' has 2"
    ):
        split(counts=(20, 0, 2))


def test_an_official_test_set_without_some_class_is_refused():
    with pytest.raises(DataError, match=r"3 test images in 2 classes.*class 'b' has 0"):
        make_splits(CONFIG, numbered([20, 20]), ["a", "b"], test=numbered([3]))


def test_fewer_training_images_than_a_batch_are_refused_with_both_numbers():
    config = CONFIG.model_copy(update={"batch_size": 31})
    with pytest.raises(DataError, match=r"30 training images are left of 40 .* data\.batch_size = 31; .* at most 30"):
        split(config, counts=(25, 25))
    assert len(split(config.model_copy(update={"batch_size": 30}), counts=(25, 25)).train) == 30


def test_a_single_class_is_refused():
    with pytest.raises(DataError, match=r"found 1 class\(es\), expected at least 2"):
        split(counts=(20,))


def test_image_shape_is_channels_height_width():
    assert split().image_shape == (2, 1, 1)


def test_statistics_are_those_of_the_training_images():
    splits = split()
    scaled = splits.train.images.double() / 255
    assert splits.mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=1e-12)
    assert splits.std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), abs=1e-12)


def test_statistics_are_exact_across_chunks(monkeypatch):
    images = torch.randint(256, (37, 3, 5, 4), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    whole = channel_statistics(images)
    monkeypatch.setattr("fsg.data.arrays._CHUNK", 7 * 60)
    assert channel_statistics(images) == whole
    assert whole[0] == pytest.approx((images.double() / 255).mean((0, 2, 3)).tolist(), abs=1e-14)


def test_a_constant_channel_normalises_to_zero():
    images = torch.full((4, 1, 2, 2), 77, dtype=torch.uint8)
    mean, std = channel_statistics(images)
    assert std == (1.0,)
    assert normalise(images, mean, std, torch.float64).abs().max() < 1e-15


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_normalise_scales_shifts_and_divides_each_channel(dtype):
    images = torch.tensor([0, 255, 51, 102], dtype=torch.uint8).view(1, 2, 1, 2)
    result = normalise(images, (0.5, 0.2), (0.25, 0.1), dtype)
    assert result.dtype == dtype
    torch.testing.assert_close(result, torch.tensor([-2.0, 2.0, 0.0, 2.0], dtype=dtype).view(1, 2, 1, 2))


def test_epoch_order_is_a_permutation_that_the_generator_decides():
    generator = torch.Generator().manual_seed(5)
    first, second = epoch_order(50, generator), epoch_order(50, generator)
    assert sorted(first.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(50, torch.Generator().manual_seed(5)))


def test_class_balanced_takes_equally_of_unequal_classes():
    images = numbered([200, 30, 50])
    chosen = class_balanced(images, 61, seed=0)
    assert len(chosen) == len(set(numbers(chosen))) == 61
    assert sorted(torch.bincount(chosen.labels).tolist()) == [20, 20, 21]
    assert torch.equal(chosen.labels, images.labels[numbers(chosen)])


def test_every_stretch_of_a_class_balanced_choice_is_balanced():
    chosen = class_balanced(numbered([40, 40, 40]), 90, seed=1)
    assert all(torch.bincount(part).tolist() == [10, 10, 10] for part in chosen.labels.split(30))


def test_class_balanced_fills_up_from_larger_classes_and_never_repeats():
    chosen = class_balanced(numbered([50, 5]), 30, seed=0)
    assert torch.bincount(chosen.labels).tolist() == [25, 5]
    assert sorted(numbers(class_balanced(numbered([5, 4]), 100, seed=0))) == list(range(9))


def test_class_balanced_depends_on_the_seed_alone():
    images = numbered([40, 40])
    assert numbers(class_balanced(images, 20, seed=1)) == numbers(class_balanced(images, 20, seed=1))
    assert set(numbers(class_balanced(images, 20, seed=1))) != set(numbers(class_balanced(images, 20, seed=2)))


def test_class_balanced_refuses_an_empty_choice():
    with pytest.raises(DataError, match="subset of 0 images"):
        class_balanced(numbered([4, 4]), 0, seed=0)


def test_splits_move_to_another_device_as_a_whole():
    moved = split().to("meta")
    assert {t.device.type for part in (moved.train, moved.validation, moved.test) for t in vars(part).values()} == {
        "meta"
    }
    assert moved.mean == split().mean and moved.classes == 3
