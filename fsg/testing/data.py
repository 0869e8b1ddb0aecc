"""What every data set must do."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import torch

from fsg.data import DataSplits, Images, load_data
from fsg.testing.contract import Contract

_PARTS = ("train", "validation", "test")


class DataContract(Contract):
    """Of a part of the kind ``data``. ``twice``: how many of its images are copies of others, as it came."""

    kind = "data"
    twice: ClassVar[int] = 0

    def make(self, **options: Any) -> DataSplits:
        """The data set, with these options in place of its own."""
        return load_data(self.section.model_copy(update=options))

    def test_images_are_bytes_of_one_shape_with_labels(self) -> None:
        """In each part: (N, C, H, W) uint8, and (N,) int64 from 0."""
        data = self.make()
        assert data.classes >= 2, f"classes is {data.classes}, expected at least 2."
        for name in _PARTS:
            part = getattr(data, name)
            assert part.images.dtype == torch.uint8, (
                f"the images of {name} are {part.images.dtype}, expected torch.uint8."
            )
            assert part.images.dim() == 4 and part.images.shape[1:] == data.image_shape, (
                f"the images of {name} have the shape {tuple(part.images.shape)}, expected (N, *{data.image_shape})."
            )
            assert part.labels.dtype == torch.int64 and part.labels.shape == (len(part.images),), (
                f"the labels of {name} are {part.labels.dtype} of shape {tuple(part.labels.shape)}, expected an int64 an image."
            )
            assert part.images.device.type == part.labels.device.type == "cpu", f"{name} is not on the CPU."
            assert ((part.labels >= 0) & (part.labels < data.classes)).all(), (
                f"labels of {name} go from {part.labels.min()} to {part.labels.max()}, allowed: 0 to {data.classes - 1}."
            )

    def test_each_channel_has_a_mean_and_a_deviation(self) -> None:
        """Of images scaled to [0, 1]."""
        data = self.make()
        channels = data.image_shape[0]
        assert len(data.mean) == len(data.std) == channels, (
            f"expected a mean and a std for each of {channels} channels."
        )
        assert all(0 <= mean <= 1 for mean in data.mean), f"mean is {data.mean}; images are scaled to [0, 1] first."
        assert all(0 < std <= 1 for std in data.std), f"std is {data.std}; expected above 0, at most 1."

    def test_the_three_parts_share_no_image(self) -> None:
        """And none is empty, nor has the training part less than a batch."""
        data = self.make()
        for name in _PARTS:
            assert len(getattr(data, name)), f"{name} has no images."
        assert len(data.train) >= self.section.batch_size, (
            f"{len(data.train)} training images, fewer than a batch of {self.section.batch_size}."
        )
        contents = _contents(data.train) + _contents(data.validation) + _contents(data.test)
        copies = sum(count - 1 for count in contents.values())
        assert copies <= self.twice, (
            f"{copies} images stand in more than one place, expected at most {self.twice}: the parts are not disjoint. For "
            "copies that the data set itself has, set twice = their number."
        )

    def test_every_class_is_in_the_training_part(self) -> None:
        """What was never seen cannot be told."""
        data = self.make()
        missing = set(range(data.classes)) - set(data.train.labels.tolist())
        assert not missing, (
            f"no training image of class {sorted(missing)}; split each class by itself, as make_splits does."
        )

    def test_the_same_configuration_gives_the_same_images(self) -> None:
        """Whatever was drawn before; and loading draws from no global generator."""
        torch.manual_seed(1)
        state = torch.get_rng_state()
        first = self.make().digest()
        assert torch.equal(torch.get_rng_state(), state), (
            "loading draws from torch's global generator; use torch.Generator().manual_seed(config.split_seed)."
        )
        torch.manual_seed(2)
        assert self.make().digest() == first, "two loads of one configuration gave two data sets."

    def test_another_split_seed_splits_the_same_images_otherwise(self) -> None:
        """``split_seed`` chooses among images; it makes none."""
        seed = self.section.split_seed
        first, other = self.make(), self.make(split_seed=seed + 1)
        assert first.digest() != other.digest(), "another split_seed gives the same split; split by config.split_seed."
        whole, again = (
            _contents(data.train) + _contents(data.validation) + _contents(data.test) for data in (first, other)
        )
        assert whole == again, "another split_seed gives other images; draw them from a seed that never changes."

    def test_the_validation_share_is_heeded(self) -> None:
        """A larger share validates on more images, of those that are not tested on."""
        small, large = self.make(validation_share=0.15), self.make(validation_share=0.5)
        assert len(small.validation) < len(large.validation), (
            f"validation has {len(small.validation)} images at a share of 0.15 and {len(large.validation)} at 0.5."
        )
        assert len(small.test) == len(large.test), (
            "validation_share changes the test images: results cannot be compared."
        )

    def test_its_facts_are_of_their_kind(self) -> None:
        """What others ask without loading it."""
        for name in ("augmented", "shipped", "by_folder"):
            assert isinstance(self.fact(name), bool), f"the fact {name} is {self.fact(name)!r}, expected True or False."
        stand_in, folder = self.fact("stand_in"), self.fact("to_download")
        assert stand_in is None or isinstance(stand_in, DataSplits), (
            f"the fact stand_in gave {type(stand_in).__name__}, expected None or fsg.data.DataSplits."
        )
        assert folder is None or isinstance(folder, Path), (
            f"the fact to_download gave {type(folder).__name__}, expected None or a pathlib.Path."
        )
        assert not (self.fact("shipped") and folder), "the data set is shipped, and yet to be downloaded."


def _contents(part: Images) -> Counter[bytes]:
    return Counter(image.numpy().tobytes() for image in part.images)
