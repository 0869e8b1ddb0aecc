"""Data sets by name, whole and in memory: ``load_data`` gives a trial's training, validation and test images.

Choices are made on validation; test is evaluated at the end. Proof: ``tests/data``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fsg.config import DataConfig
from fsg.data.arrays import DataSplits, Images, class_balanced, epoch_order, normalise, upload
from fsg.data.augment import augment
from fsg.data.cifar import cifar_stand_in, cifar_to_download, load_cifar
from fsg.data.digits import load_digits
from fsg.data.image_folder import load_image_folder
from fsg.data.synthetic import load_synthetic

__all__ = [
    "AUGMENTED",
    "LOADERS",
    "DataSplits",
    "Images",
    "augment",
    "class_balanced",
    "epoch_order",
    "load_data",
    "normalise",
    "stand_in",
    "to_download",
    "upload",
]

LOADERS: Mapping[str, Callable[[DataConfig], DataSplits]] = MappingProxyType(
    {
        "digits": load_digits,
        "cifar10": load_cifar,
        "cifar100": load_cifar,
        "image_folder": load_image_folder,
        "synthetic": load_synthetic,
    }
)

# The data sets whose classes survive a flip and a shift: a mirrored digit is another digit, or none.
AUGMENTED = frozenset({"cifar10", "cifar100", "image_folder"})


def load_data(config: DataConfig) -> DataSplits:
    """The images ``config`` names, split by ``config.split_seed``, on the CPU.

    The same config gives the same images in the same order. Raises DataError where the data set is missing, damaged or
    too small; the message says how to get it.
    """
    return LOADERS[config.name](config)


def stand_in(config: DataConfig) -> DataSplits:
    """Images in the shape and number of those that ``config`` names, to time steps by: made up where the data set is one of a
    fixed size that would have to be downloaded. Raises DataError as ``load_data``.
    """
    return cifar_stand_in(config) if LOADERS[config.name] is load_cifar else load_data(config)


def to_download(config: DataConfig) -> Path | None:
    """The folder into which the data set will be downloaded once it is loaded; None for one that will not."""
    return cifar_to_download(config) if LOADERS[config.name] is load_cifar else None
