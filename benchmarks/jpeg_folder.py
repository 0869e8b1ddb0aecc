"""An image folder of packed JPEGs: root/train/CLASS/*.jpg and root/test/CLASS/*.jpg, for ``data: {name: image_folder}``.

    python -m benchmarks.jpeg_folder TRAIN.npz TEST.npz FOLDER --train 10000 --test 5000

An archive has ``jpeg`` (the files one after the other, uint8), ``offsets`` (where each begins, and the end of the last),
``labels`` and ``classes`` (names). Of each class the first images are taken, equally many, and written as they are, undecoded.
Such an archive of CIFAR-10 is CIFAR-10-JPEG: compressed once more, so its accuracies are not those of CIFAR-10.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np


def unpack(archive: Path, folder: Path, count: int) -> None:
    """Write the first ``count`` images of ``archive``, as many of each class, as folder/CLASS/NUMBER.jpg."""
    with np.load(archive) as arrays:
        packed: dict[str, Any] = {name: arrays[name] for name in ("jpeg", "offsets", "labels", "classes")}
    each, rest = divmod(count, len(packed["classes"]))
    if rest:
        raise SystemExit(f"{count} images cannot be shared by {len(packed['classes'])} classes; take a multiple.")
    for label, name in enumerate(packed["classes"]):
        members = np.flatnonzero(packed["labels"] == label)[:each]
        if len(members) < each:
            raise SystemExit(f"{archive}: {name} has {len(members)} images, {each} were asked for.")
        (folder / str(name)).mkdir(parents=True, exist_ok=True)
        for member in members:
            start, end = packed["offsets"][member : member + 2]
            (folder / str(name) / f"{member:05d}.jpg").write_bytes(packed["jpeg"][start:end].tobytes())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("archives", nargs=2, type=Path, metavar=("TRAIN", "TEST"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=10_000, help="Training images, of all classes.")
    parser.add_argument("--test", type=int, default=5_000, help="Test images, of all classes.")
    asked = parser.parse_args()
    for archive, part, count in zip(asked.archives, ("train", "test"), (asked.train, asked.test), strict=True):
        unpack(archive, asked.folder / part, count)
