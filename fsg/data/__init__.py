"""Data sets by name, whole and in memory: ``load_data`` gives a trial's training, validation and test images.

Choices are made on validation; test is evaluated at the end. Proof: ``tests/data``.
"""

from __future__ import annotations

from pathlib import Path

from fsg.catalogue.data import DataSection
from fsg.data.arrays import DataSplits, Images, class_balanced, epoch_order, make_splits, normalise, upload
from fsg.data.augment import augment
from fsg.errors import ConfigError
from fsg.parts import part_of

__all__ = [
    "DataSplits",
    "Images",
    "augment",
    "class_balanced",
    "epoch_order",
    "load_data",
    "make_splits",
    "normalise",
    "stand_in",
    "to_download",
    "upload",
]


def load_data(config: DataSection) -> DataSplits:
    """The images ``config`` names, split by ``config.split_seed``, on the CPU.

    The same config gives the same images in the same order. Raises DataError where the data set is missing, damaged or
    too small; the message says how to get it. ConfigError where a guest's builder makes no ``DataSplits``.
    """
    data = part_of("data", config)
    loaded = data.make(config)
    if not isinstance(loaded, DataSplits):
        raise ConfigError(
            f'{data.origin}: the data set "{data.name}" was loaded as {type(loaded).__name__}, expected fsg.data.DataSplits.'
        )
    return loaded


def stand_in(config: DataSection) -> DataSplits:
    """Images in the shape and number of those that ``config`` names, to time steps by: made up where the data set is one of a
    fixed size, whether it is there or not. Downloads nothing. Raises DataError as ``load_data``.
    """
    made: DataSplits | None = part_of("data", config).fact("stand_in", config)
    return load_data(config.model_copy(update={"download": False})) if made is None else made


def to_download(config: DataSection) -> Path | None:
    """The folder into which the data set will be downloaded once it is loaded; None for one that will not."""
    folder: Path | None = part_of("data", config).fact("to_download", config)
    return folder
