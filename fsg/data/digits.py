"""scikit-learn's handwritten digits: 1,797 real images, 1x8x8, 10 classes. They ship inside the package: no download.

Pixels 0 .. 16 become uint8 as 255/16 times the value, rounded half to even (only 8 -> 127.5 -> 128 meets a half). The
17 values stay distinct, so nothing is lost.
"""

from __future__ import annotations

import numpy as np
import torch

from fsg.config import DataConfig
from fsg.data.arrays import DataSplits, Images, make_splits


def load_digits(config: DataConfig) -> DataSplits:
    """The digits, split by ``config``; a fifth is the test set. ``root`` and ``image_size`` say nothing here."""
    from sklearn import datasets  # a second of imports that the other data sets do not need

    pixels, labels = datasets.load_digits(return_X_y=True)
    images = torch.from_numpy(np.rint(pixels * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    return make_splits(config, Images(images, torch.from_numpy(labels.astype(np.int64))), [str(d) for d in range(10)])
