"""CIFAR-10 and CIFAR-100 through torchvision: 32x32 RGB, the official test set, validation held out from training.

torchvision checks every file's md5 before it reads it. An intact archive that lies in the folder is unpacked; nothing
is downloaded unless ``data.download`` says so. Normalised as in the reference experiment (design/method.md, section 8).
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fsg.catalogue.data import DataConfig
from fsg.data.arrays import DataSplits, Images, make_splits
from fsg.errors import BackendUnavailable, DataError
from fsg.files import user_path

DEFAULT_ROOT = "data"
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def load_cifar(config: DataConfig) -> DataSplits:
    """CIFAR from ``config.root`` (default ``data``, seen from the working directory).

    Raises DataError, with what was looked for, where, and how to get it, where the folder is missing or damaged;
    BackendUnavailable where torchvision cannot be imported.
    """
    dataset = _torchvision_class(config.name)
    root = user_path(config.root or DEFAULT_ROOT).absolute()
    if _missing_or_damaged(dataset, root):
        _fetch(dataset, root, config)
    try:
        train, test = (dataset(root, train=train) for train in (True, False))
    except Exception as error:  # the files passed their md5: whatever it is, the folder cannot be read
        raise DataError(f"{config.name}: {root / dataset.base_folder} cannot be read ({error}).") from None
    statistics = STATISTICS[config.name]
    return make_splits(config, _images(train), train.classes, test=_images(test), statistics=statistics)


def cifar_stand_in(config: DataConfig) -> DataSplits:
    """Noise in the shape and number of CIFAR's images, split as they would be: to time a step by. Nothing is read."""
    classes = {"cifar10": 10, "cifar100": 100}[config.name]
    generator = torch.Generator().manual_seed(0)
    train, test = (
        Images(
            torch.randint(256, (count, 3, 32, 32), generator=generator, dtype=torch.uint8),
            torch.arange(count) % classes,
        )
        for count in (50_000, 10_000)
    )
    names = [str(number) for number in range(classes)]
    return make_splits(config, train, names, test=test, statistics=STATISTICS[config.name])


def cifar_to_download(config: DataConfig) -> Path | None:
    """The folder into which CIFAR will be downloaded; None where it is there, or must not be."""
    dataset = _torchvision_class(config.name)
    root = user_path(config.root or DEFAULT_ROOT).absolute()
    absent = config.download and not (root / dataset.filename).is_file() and _missing_or_damaged(dataset, root)
    return root if absent else None


def cifar_missing(config: DataConfig) -> str | None:
    """What is wrong with CIFAR's folder, and how to get it; None where it is whole, or will be unpacked or downloaded."""
    dataset = _torchvision_class(config.name)
    root = user_path(config.root or DEFAULT_ROOT).absolute()
    if config.download or not _missing_or_damaged(dataset, root):
        return None
    try:
        _refuse_absent(dataset, root, config.name)
    except DataError as error:
        return str(error)
    return None


def _torchvision_class(name: str) -> Any:
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError) as error:  # RuntimeError: "operator torchvision::nms does not exist"
        raise BackendUnavailable(
            f"{name}: torchvision cannot be imported ({error}). It must be the build that belongs to the installed "
            f"torch {torch.__version__}: install both together."
        ) from None
    return {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]


def _images(dataset: Any) -> Images:
    images = torch.from_numpy(np.ascontiguousarray(dataset.data.transpose(0, 3, 1, 2)))
    return Images(images, torch.tensor(dataset.targets, dtype=torch.int64))


def _missing_or_damaged(dataset: Any, root: Path) -> str:
    """What is wrong with the unpacked files, in words; empty where nothing is."""
    files = {name: md5 for name, md5 in [*dataset.train_list, *dataset.test_list]}
    files[dataset.meta["filename"]] = dataset.meta["md5"]
    folder = root / dataset.base_folder
    missing = [name for name in files if not (folder / name).is_file()]
    damaged = [name for name, md5 in files.items() if name not in missing and _md5(folder / name) != md5]
    if len(missing) == len(files):
        return f"looked for {', '.join(files)} in {folder}: found none of them"
    problems = [f"{', '.join(missing)} missing"] * bool(missing) + [f"{', '.join(damaged)} damaged"] * bool(damaged)
    return f"looked for {len(files)} files in {folder}: {' and '.join(problems)}" if problems else ""


def _md5(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}).") from None


def _how_to_get(dataset: Any, root: Path) -> str:
    return (
        f"Get it with `--set data.download=true`, or put the archive {dataset.filename} "
        f"(md5 {dataset.tgz_md5}) into {root} and run again; data.root names another folder."
    )


def _refuse_absent(dataset: Any, root: Path, name: str) -> None:
    """DataError unless an intact archive lies in the folder: nothing is downloaded unasked."""
    archive = root / dataset.filename
    archive_md5 = _md5(archive) if archive.is_file() else None
    if archive_md5 == dataset.tgz_md5:
        return
    problem = _missing_or_damaged(dataset, root)
    if archive_md5 is not None:
        problem += f", and the archive {archive} is damaged (md5 {archive_md5}): delete it"
    raise DataError(f"{name}: {problem}. {_how_to_get(dataset, root)}")


def _fetch(dataset: Any, root: Path, config: DataConfig) -> None:
    """Unpack the archive, or download it first where that is allowed. DataError where neither leads to whole files."""
    how = _how_to_get(dataset, root)
    if not config.download:
        _refuse_absent(dataset, root, config.name)
    if not (root / dataset.base_folder).resolve().is_relative_to(root.resolve()):
        raise DataError(
            f"{config.name}: {root / dataset.base_folder} is a link that leads out of {root}; remove it. {how}"
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(root / f".{config.name}.lock"):
            if _missing_or_damaged(dataset, root):  # or else another trial was faster
                dataset(root, train=True, download=True)
            problem = _missing_or_damaged(dataset, root)
    except Exception as error:  # no network, a broken connection, no space, a wrong archive: each raises its own kind
        raise DataError(f"{config.name}: the archive could not be had or unpacked ({error}). {how}") from None
    if problem:
        raise DataError(f"{config.name}: {problem}, after unpacking. Delete {root / dataset.base_folder}. {how}")


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Trials that start together on one machine unpack once, not over one another."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
