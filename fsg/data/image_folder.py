"""A folder of PNG or JPEG images of one's own: root/CLASS/*.png, or root/train/CLASS/*.png and root/test/CLASS/*.png.

Read once into memory as RGB, squeezed to image_size x image_size (bilinear, antialiased). Classes and files in sorted
order, so that the same folder gives the same labels and the same split everywhere. Passed over: hidden names, what operating
systems leave behind, files beside the class folders, and a folder that holds nothing but the one with the classes.
An archive of such a folder will do: it is unpacked once a machine.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from fsg.catalogue.data import DataConfig
from fsg.data.arrays import DataSplits, Images, make_splits
from fsg.data.unpack import unpacked
from fsg.errors import DataError
from fsg.files import user_path

SUFFIXES = (".png", ".jpg", ".jpeg")
# Folders that macOS's archiver, Synology, a disk's root and Windows make beside or among people's own.
LEFT_BEHIND = frozenset({"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"})
_LAYOUT = "Expected root/CLASS/*.png|jpg, or root/train/CLASS/*.png|jpg with root/test/CLASS/*.png|jpg."


def load_image_folder(config: DataConfig) -> DataSplits:
    """The images under ``config.root``, 3 x image_size x image_size, labelled by folder in sorted order.

    Without root/test a fifth of each class is the test set. Raises DataError for a missing or empty folder, an image
    that cannot be read, and a symbolic link that leads out of the root.
    """
    root = user_path(config.root or "").absolute()
    if root.is_file():
        root = unpacked(root)
    if not root.is_dir():
        raise DataError(f"image_folder: looked for the folder {root} (data.root) and found none. {_LAYOUT}")
    inside = root.resolve()
    root, folders = _past_wrapping(root, inside)
    if len(folders) == 1 and (part := next(iter(folders))) in ("train", "test"):
        raise DataError(f"image_folder: {root} has {part} alone. {_LAYOUT} Or let data.root name {root / part}.")
    if not {"train", "test"} <= folders.keys():
        return make_splits(config, _read(folders, inside, config.image_size), list(folders))
    if extra := sorted(folders.keys() - {"train", "test"}):
        raise DataError(f"image_folder: {root} has train and test, and beside them {', '.join(extra)}. {_LAYOUT}")
    train, test = _classes(folders["train"], inside), _classes(folders["test"], inside)
    if differing := sorted(train.keys() ^ test.keys()):
        raise DataError(
            f"image_folder: {root}/train has {len(train)} classes and {root}/test has {len(test)}; "
            f"{', '.join(differing[:5])} is in one of them only. Both need the same class folders."
        )
    size = config.image_size
    return make_splits(config, _read(train, inside, size), list(train), test=_read(test, inside, size))


def _past_wrapping(folder: Path, inside: Path) -> tuple[Path, dict[str, Path]]:
    """The folder that holds the classes, or train and test, and these: an archive often wraps it in one of its own name."""
    folders = _classes(folder, inside)
    while len(folders) == 1 and not folders.keys() & {"train", "test"}:
        (only,) = folders.values()
        entries = _entries(only, inside)
        if only.is_symlink() or not any(map(Path.is_dir, entries)) or any(map(_is_image, entries)):
            break
        folder, folders = only, _classes(only, inside)
    return folder, folders


def _classes(folder: Path, inside: Path) -> dict[str, Path]:
    """Name -> path of the subfolders of ``folder``, sorted by name; at least one."""
    found = {path.name: path for path in _entries(folder, inside) if path.is_dir()}
    if not found:
        raise DataError(f"image_folder: {folder} has no subfolders, so no classes. {_LAYOUT}")
    return found


def _entries(folder: Path, inside: Path) -> list[Path]:
    """What people put into ``folder``, sorted; DataError for an entry whose target lies outside ``inside``."""
    try:
        names = sorted(path for path in folder.iterdir() if path.name not in LEFT_BEHIND)
        entries = [path for path in names if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"image_folder: {folder} cannot be listed ({error.strerror}).") from None
    for path in entries:
        try:
            target = path.resolve()
        except (OSError, RuntimeError):  # a loop of links
            target = None
        if target is None or not target.is_relative_to(inside):
            raise DataError(
                f"image_folder: {path} is a link that leads out of {inside}; put the images themselves into the folder."
            )
    return entries


def _read(classes: dict[str, Path], inside: Path, size: int) -> Images:
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(classes.values()):
        entries = _entries(folder, inside)
        if nested := [path.name for path in entries if path.is_dir()]:
            raise DataError(
                f"image_folder: the class folder {folder} has subfolders ({', '.join(nested[:3])}). {_LAYOUT}"
            )
        found = [path for path in entries if _is_image(path)]
        if not found:
            raise DataError(f"image_folder: {folder} has no image ({', '.join(SUFFIXES)}). {_LAYOUT}")
        files += found
        labels += [label] * len(found)
    images = torch.empty(len(files), 3, size, size, dtype=torch.uint8)
    for row, path in zip(images, files, strict=True):
        row.copy_(_decode(path, size))
    return Images(images, torch.tensor(labels, dtype=torch.int64))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _decode(path: Path, size: int) -> torch.Tensor:
    """(3, size, size) uint8. DataError, naming the file, for what cannot be read as an 8-bit image."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            if image.mode.startswith("I") or image.mode == "F":  # Pillow would clip 16 bits to 255, not scale them
                raise DataError(
                    f"image_folder: {path} has more than 8 bits a pixel ({image.mode}); save it with 8 bits."
                )
            pixels = np.array(image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR))
    except DataError:
        raise
    except Exception as error:  # Pillow's decoders raise a dozen kinds for damaged files
        raise DataError(
            f"image_folder: {path} is not a readable PNG or JPEG ({error}); replace or remove it."
        ) from None
    return torch.from_numpy(pixels).permute(2, 0, 1)
