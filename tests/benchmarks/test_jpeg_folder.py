"""Packed JPEGs become a folder of images that fsg reads, as they are and equally many of each class."""

import io

import numpy as np
import pytest
from PIL import Image

from benchmarks.jpeg_folder import unpack
from fsg.config import parse_trial
from fsg.data import load_data


@pytest.fixture
def packed(tmp_path):
    """Twelve images of two classes in turn, each of one grey of its own."""
    files = []
    for shade in range(12):
        Image.new("RGB", (8, 8), (20 * shade,) * 3).save(out := io.BytesIO(), "JPEG")
        files.append(out.getvalue())
    np.savez(
        tmp_path / "packed.npz",
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=np.arange(12, dtype=np.uint8) % 2,
        classes=np.array(["cat", "dog"]),
    )
    return tmp_path / "packed.npz", files


def test_each_class_has_its_first_images_byte_for_byte(packed, tmp_path):
    archive, files = packed
    unpack(archive, tmp_path / "images" / "train", 8)
    unpack(archive, tmp_path / "images" / "test", 4)
    found = {path.name: path.read_bytes() for path in (tmp_path / "images" / "train" / "dog").iterdir()}
    assert found == {f"{number:05d}.jpg": files[number] for number in (1, 3, 5, 7)}
    data = {"name": "image_folder", "root": str(tmp_path / "images"), "image_size": 8, "batch_size": 2}
    splits = load_data(parse_trial({"data": data | {"validation_share": 0.5}}).data)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 4, 4]


def test_more_images_than_there_are_and_unequal_shares_are_refused(packed, tmp_path):
    with pytest.raises(SystemExit, match="cat has 6 images, 7 were asked for"):
        unpack(packed[0], tmp_path / "images", 14)
    with pytest.raises(SystemExit, match="5 images cannot be shared by 2 classes"):
        unpack(packed[0], tmp_path / "images", 5)
