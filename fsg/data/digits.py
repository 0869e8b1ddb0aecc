"""scikit-learn's handwritten digits: 1,797 real images, 1x8x8, 10 classes. They ship inside the package: no download.

Pixels 0 .. 16 become uint8 as 255/16 times the value, rounded half to even (only 8 -> 127.5 -> 128 meets a half). The
17 values stay distinct, so nothing is lost.

Who wrote an image is not recorded, but can be read off the labels: everybody copied the same form, 0 to 9 three times and then
100 digits in an order of its own, and the forms lie one after the other. There are 14, each less up to 8 digits that were lost;
the source names 13 writers, so one hand may fill two of them. ``split: by_writer`` gives whole forms to each part, and the
network is tested on hands that it has not seen: docs/log.md says what that costs. Proof: ``tests/data/test_digits_writers.py``.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fsg.catalogue.data import DataConfig
from fsg.data.arrays import DataSplits, Images, make_splits

# Where each form begins; of the eighth the first 0 is lost.
FORMS = (0, 130, 256, 386, 516, 646, 776, 906, 1029, 1157, 1287, 1415, 1545, 1667)


def load_digits(config: DataConfig) -> DataSplits:
    """The digits, split by ``config``; a fifth is the test set. ``root`` and ``image_size`` say nothing here."""
    table = torch.from_numpy(np.loadtxt(_file(), np.int64, delimiter=","))
    images = (table[:, :-1] * (255 / 16)).round().to(torch.uint8).view(-1, 1, 8, 8)
    writers = form_of(len(table)) if config.split != "random" else None
    return make_splits(config, Images(images, table[:, -1].clone()), [str(d) for d in range(10)], groups=writers)


def form_of(count: int) -> Tensor:
    """(count,) int64: the number of the form that each of the first ``count`` images stands on."""
    return torch.bucketize(torch.arange(count), torch.tensor(FORMS), right=True) - 1


def _file() -> Path:
    """scikit-learn's own file, which is read as it lies: importing the package takes a trial's worker 1 to 3 s."""
    package = find_spec("sklearn")
    assert package is not None and package.origin is not None, "scikit-learn is among fsg's requirements"
    return Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
