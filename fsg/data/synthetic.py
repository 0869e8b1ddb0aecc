"""Made-up images that a network can learn: the data of tests and dry runs, never of a result.

1,000 images, 100 of each of 10 classes, 3 x image_size x image_size. A class is a prototype of 4x4 coloured squares; an
image is its prototype plus triangular noise. Whole numbers throughout, so the pixels are the same on every machine.
"""

from __future__ import annotations

import torch

from fsg.catalogue.data import DataConfig
from fsg.data.arrays import DataSplits, Images, make_splits

CLASSES = 10
PER_CLASS = 100
_SEED = 20_241_217  # of the images themselves: like a real data set they never change, only their split does
_NOISE = 64


def load_synthetic(config: DataConfig) -> DataSplits:
    """The synthetic images of ``config.image_size``, split by ``config``; a fifth is the test set."""
    generator = torch.Generator().manual_seed(_SEED)
    size = config.image_size
    squares = torch.randint(64, 192, (CLASSES, 3, 4, 4), generator=generator, dtype=torch.int16)
    stretch = torch.arange(size) * 4 // size
    prototypes = squares[:, :, stretch][:, :, :, stretch]
    images = torch.empty(CLASSES, PER_CLASS, 3, size, size, dtype=torch.uint8)
    for prototype, row in zip(prototypes, images, strict=True):  # class by class: large images stay within memory
        first, second = (
            torch.randint(-_NOISE, _NOISE + 1, row.shape, generator=generator, dtype=torch.int16) for _ in range(2)
        )
        row.copy_((prototype + first + second).clamp_(0, 255))
    labels = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    return make_splits(config, Images(images.flatten(0, 1), labels), [str(c) for c in range(CLASSES)])
