import io

import numpy as np
import pytest
import torch
from PIL import Image

from fsg.catalogue.data import DataConfig
from fsg.data import load_data
from fsg.errors import DataError


def paint(path, colour=(200, 10, 60), size=(10, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, tuple(colour)).save(path)


def fill(root, classes=("cat", "dog"), count=10, suffix="png"):
    """A uniform colour for each class and image: (10 times class, image, 0)."""
    for label, name in enumerate(classes):
        for i in range(count):
            paint(root / name / f"{i:02}.{suffix}", (100 * label, i, 0))
    return root


def config(root, **options) -> DataConfig:
    return DataConfig(**{"name": "image_folder", "root": str(root), "image_size": 8, "batch_size": 2, **options})


def test_class_folders_become_labels_in_sorted_order_and_split_three_ways(tmp_path):
    splits = load_data(config(fill(tmp_path, ("zebra", "ape"))))
    assert splits.image_shape == (3, 8, 8) and splits.classes == 2
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (14, 2, 4)
    for part in (splits.train, splits.validation, splits.test):
        assert torch.equal((part.images[:, 0, 0, 0] == 0).long(), part.labels)  # zebra, painted 0, sorts after ape


def test_jpeg_grey_palette_and_transparent_images_are_read_as_rgb(tmp_path):
    fill(tmp_path)
    rgb = Image.new("RGB", (9, 9), (255, 0, 0))
    rgb.save(tmp_path / "cat" / "a.jpg")
    rgb.convert("L").save(tmp_path / "cat" / "b.JPEG")
    rgb.convert("P").save(tmp_path / "dog" / "c.png")
    rgb.convert("RGBA").save(tmp_path / "dog" / "d.png")
    splits = load_data(config(tmp_path))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 24


def test_images_are_resized_with_antialiasing(tmp_path):
    fill(tmp_path)
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    for i in range(5):
        Image.fromarray(stripes).save(tmp_path / "dog" / f"s{i}.png")
    images = load_data(config(tmp_path)).train.images
    striped = images[images[:, 2].float().mean((1, 2)) > 50]
    assert len(striped) and ((striped > 110) & (striped < 145)).all()


def test_train_and_test_folders_are_kept_apart(tmp_path):
    fill(tmp_path / "train", count=10)
    fill(tmp_path / "test", count=3)
    splits = load_data(config(tmp_path))
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (16, 4, 6)


def test_train_and_test_with_different_classes_are_refused(tmp_path):
    fill(tmp_path / "train", ("cat", "dog"))
    fill(tmp_path / "test", ("cat", "cow"))
    with pytest.raises(DataError, match="cow, dog is in one of them only"):
        load_data(config(tmp_path))


def test_a_third_folder_beside_train_and_test_is_refused(tmp_path):
    for part in ("train", "test", "val"):
        fill(tmp_path / part)
    with pytest.raises(DataError, match="beside them val"):
        load_data(config(tmp_path))


def test_missing_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=rf"looked for the folder {tmp_path}/none \(data\.root\).*root/CLASS"):
        load_data(config(tmp_path / "none"))


def test_folder_without_classes_and_class_without_images_are_refused(tmp_path):
    with pytest.raises(DataError, match=f"{tmp_path} has no subfolders, so no classes"):
        load_data(config(tmp_path))
    fill(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("soon")
    with pytest.raises(DataError, match=r"empty has no image \(\.png, \.jpg, \.jpeg\)"):
        load_data(config(tmp_path))


def test_class_with_too_few_images_is_named(tmp_path):
    fill(tmp_path)
    paint(tmp_path / "yak" / "only.png")
    with pytest.raises(DataError, match=r"21 images in 3 classes.*class 'yak' has 1"):
        load_data(config(tmp_path))


def test_images_below_a_class_folder_are_not_silently_left_out(tmp_path):
    paint(fill(tmp_path) / "cat" / "more" / "x.png")
    with pytest.raises(DataError, match=r"cat has subfolders \(more\)"):
        load_data(config(tmp_path))


def test_hidden_names_are_passed_over(tmp_path):
    fill(tmp_path)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "cat" / ".hidden.png").write_bytes(b"no image")
    assert load_data(config(tmp_path)).classes == 2


@pytest.mark.parametrize("wrapping", ["images", "archive/images"])
@pytest.mark.parametrize("parts", [("",), ("train", "test")])
def test_folders_that_hold_nothing_but_another_are_looked_into(tmp_path, wrapping, parts):
    plain, wrapped = tmp_path / "plain", tmp_path / "wrapped"
    for root in (plain, wrapped / wrapping):
        for part in parts:
            fill(root / part)
    for beside in (wrapped / "README.txt", wrapped / wrapping / "labels.csv"):
        beside.write_text("no image")
    (wrapped / "__MACOSX" / "images").mkdir(parents=True)
    assert load_data(config(wrapped)).digest() == load_data(config(plain)).digest()


@pytest.mark.parametrize("name", ["__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_that_systems_leave_behind_are_no_classes(tmp_path, name):
    before = load_data(config(fill(tmp_path))).digest()
    paint(tmp_path / name / "x.png")
    paint(tmp_path / "cat" / name / "x.png")
    assert load_data(config(tmp_path)).digest() == before


def test_a_single_class_and_a_folder_wrapped_in_itself_are_refused_in_words(tmp_path):
    with pytest.raises(DataError, match=r"found 1 class\(es\), expected at least 2"):
        load_data(config(fill(tmp_path / "one", ("cat",))))
    (tmp_path / "round").mkdir()
    (tmp_path / "round" / "again").symlink_to(tmp_path / "round")
    with pytest.raises(DataError, match="again has subfolders"):
        load_data(config(tmp_path / "round"))


def test_train_without_test_is_refused_with_what_to_do(tmp_path):
    fill(tmp_path / "train")
    with pytest.raises(DataError, match=f"{tmp_path} has train alone.*Or let data.root name {tmp_path}/train"):
        load_data(config(tmp_path))


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "flipped", "disguised"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_damaged_image_is_named(tmp_path, suffix, damage):
    path = fill(tmp_path) / "cat" / f"x.{suffix}"
    noise, gif = Image.effect_noise((40, 40), 90), io.BytesIO()
    noise.save(path)
    noise.save(gif, "GIF")
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "truncated": whole[:middle],
        "text": b"this is not an image",
        "empty": b"",
        "flipped": bytes(b ^ 0xFF for b in whole),
        "disguised": gif.getvalue(),
    }
    path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=rf"{path} is not a readable PNG or JPEG .*; replace or remove it"):
        load_data(config(tmp_path))


def test_sixteen_bit_image_is_refused_rather_than_clipped(tmp_path):
    path = fill(tmp_path) / "cat" / "05.png"
    Image.fromarray(np.full((6, 6), 3000, dtype=np.uint16)).save(path)
    with pytest.raises(DataError, match=rf"{path} has more than 8 bits"):
        load_data(config(tmp_path))


@pytest.mark.parametrize("kind", ["image", "class"])
def test_link_that_leaves_the_folder_is_refused(tmp_path, kind):
    root, outside = fill(tmp_path / "root"), tmp_path / "outside"
    paint(outside / "x.png")
    link, target = (root / "cat" / "x.png", outside / "x.png") if kind == "image" else (root / "cow", outside)
    link.symlink_to(target)
    with pytest.raises(DataError, match=rf"{link} is a link that leads out of {root}"):
        load_data(config(root))


def test_link_that_goes_round_in_circles_is_refused(tmp_path):
    root = fill(tmp_path)
    (root / "cat" / "x.png").symlink_to(root / "cat" / "y.png")
    (root / "cat" / "y.png").symlink_to(root / "cat" / "x.png")
    with pytest.raises(DataError, match=r"x\.png"):
        load_data(config(root))


def test_links_inside_the_folder_and_a_linked_root_are_followed(tmp_path):
    root = fill(tmp_path / "root")
    (root / "cat" / "again.png").symlink_to(root / "cat" / "00.png")
    (tmp_path / "link").symlink_to(root)
    splits = load_data(config(tmp_path / "link"))
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 21
