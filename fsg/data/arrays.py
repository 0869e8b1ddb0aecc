"""Images in memory, and the pure functions on them: stratified splits, statistics, normalisation, order, balance.

Letters: N images, C channels, H x W pixels. Images are uint8 until a batch is normalised, so that a whole data set fits
on the device it is trained on. Every random choice takes a seed or a CPU generator: the same on every device.
Proof: ``tests/data/test_arrays.py``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fsg.catalogue.data import DataConfig
from fsg.errors import DataError

TEST_SHARE = 0.2  # of a data set that has no official test set
_CHUNK = 2**22  # values widened to int64 at a time: 32 MB


@dataclass(frozen=True, eq=False)
class Images:
    """``images``: (N, C, H, W) uint8; ``labels``: (N,) int64, from 0."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: Tensor) -> Images:
        """The images at ``indices``: (M,) int64, on any device."""
        indices = indices.to(self.labels.device)
        return Images(self.images[indices], self.labels[indices])

    def to(self, device: torch.device | str) -> Images:
        """These images on ``device``."""
        return Images(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class DataSplits:
    """Disjoint training, validation and test images. ``mean``, ``std``: per channel, of images scaled to [0, 1]."""

    train: Images
    validation: Images
    test: Images
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        _, channels, height, width = self.train.images.shape
        return channels, height, width

    def digest(self) -> str:
        """16 hex digits that two machines agree on if they have the same images, labels and split."""
        hashed = hashlib.sha256(repr((self.classes, self.mean, self.std)).encode())
        for part in (self.train, self.validation, self.test):
            for tensor in (part.images, part.labels):
                hashed.update(repr(tuple(tensor.shape)).encode())
                hashed.update(tensor.cpu().contiguous().numpy().data)
        return hashed.hexdigest()[:16]

    def to(self, device: torch.device | str) -> DataSplits:
        """These splits on ``device``."""
        return replace(
            self, train=self.train.to(device), validation=self.validation.to(device), test=self.test.to(device)
        )


def make_splits(
    config: DataConfig,
    images: Images,
    class_names: Sequence[str],
    *,
    test: Images | None = None,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    groups: Tensor | None = None,
) -> DataSplits:
    """Split ``images`` by ``config.split_seed``; ``statistics`` is (mean, std), measured on the training part if None.

    Without an official ``test`` set, a fifth of each class is the test set, whatever the validation share; then
    ``config.validation_share`` of the rest of each class is held out for validation. With ``groups``, (N,) int64, whole groups
    are held out instead, so many that their images come nearest to these shares; nothing of one is in two parts.
    Raises DataError for a class that cannot be in every part, or a training part smaller than one batch.
    """
    classes = len(class_names)
    if classes < 2:
        raise DataError(f"{config.name}: found {classes} class(es), expected at least 2.")
    _refuse_small_classes(config, images, class_names, least=2 if test else 3)
    generator = torch.Generator().manual_seed(config.split_seed)
    if test is None:
        kept, held_out = held_apart(images.labels, groups, TEST_SHARE, generator)
        groups = groups[kept] if groups is not None else None
        images, test = images.select(kept), images.select(held_out)
    else:
        _refuse_small_classes(config, test, class_names, least=1, part="test ")
    kept, held_out = held_apart(images.labels, groups, config.validation_share, generator)
    train, validation = images.select(kept), images.select(held_out)
    if len(train) < config.batch_size:
        raise DataError(
            f"{config.name}: {len(train)} training images are left of {len(kept) + len(held_out)} after the validation "
            f"split, fewer than data.batch_size = {config.batch_size}; choose a batch size of at most {len(train)}."
        )
    mean, std = statistics or channel_statistics(train.images)
    return DataSplits(train, validation, test, classes, mean, std)


def _refuse_small_classes(
    config: DataConfig, images: Images, class_names: Sequence[str], least: int, part: str = ""
) -> None:
    counts = torch.bincount(images.labels, minlength=len(class_names)).tolist()
    small = [f"{name!r} has {n}" for name, n in zip(class_names, counts, strict=True) if n < least]
    if small:
        shown = ", ".join(small[:5]) + (f" and {len(small) - 5} more" if len(small) > 5 else "")
        raise DataError(
            f"{config.name}: {len(images)} {part}images in {len(class_names)} classes; every class needs at least "
            f"{least} of them, but class {shown}. Add images, or leave the class out."
        )


def held_apart(
    labels: Tensor, groups: Tensor | None, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), ascending: of each class, or with ``groups`` of whole groups, at least one and not all."""
    if groups is None:
        return stratified_split(labels, share, generator)
    found, sizes = groups.unique(return_counts=True)
    order = torch.randperm(len(found), generator=generator)
    held = sizes[order].cumsum(0)[:-1]
    count = int((held - share * len(labels)).abs().argmin()) + 1
    held_out = torch.isin(groups, found[order[:count]])
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def stratified_split(labels: Tensor, share: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices (kept, held out), ascending; of each class the rounded ``share`` is held out, but at least 1 and not all.

    ``labels``: (N,) int64 on the CPU, every class that occurs at least twice. Random choice by ``generator``.
    """
    held_out = torch.zeros(len(labels), dtype=torch.bool)
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        held_out[members[torch.randperm(len(members), generator=generator)[:count]]] = True
    return (~held_out).nonzero().flatten(), held_out.nonzero().flatten()


def channel_statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel of (N, C, H, W) uint8, scaled to [0, 1].

    Summed in int64, so exact and the same on every machine. A constant channel gets deviation 1: it normalises to 0.
    """
    total = torch.zeros(images.shape[1], dtype=torch.int64)
    squares = torch.zeros_like(total)
    for chunk in images.cpu().split(max(1, _CHUNK // images[0].numel())):
        wide = chunk.to(torch.int64)
        total += wide.sum(dim=(0, 2, 3))
        squares += (wide * wide).sum(dim=(0, 2, 3))
    count = images.numel() // images.shape[1]
    mean = total.double() / count
    # count * squares - total^2 in Python's integers: no cancellation, no overflow
    variance = [(count * s - t * t) / count**2 for s, t in zip(squares.tolist(), total.tolist(), strict=True)]
    return tuple((mean / 255).tolist()), tuple(v**0.5 / 255 if v > 0 else 1.0 for v in variance)


def normalise(
    images: Tensor, mean: Sequence[float] | Tensor, std: Sequence[float] | Tensor, dtype: torch.dtype
) -> Tensor:
    """(N, C, H, W) uint8 -> (x / 255 - mean) / std of each channel, in ``dtype``, on the images' device."""
    shape = (1, len(mean), 1, 1)
    mean_C = torch.as_tensor(mean, dtype=dtype, device=images.device).view(shape)
    std_C = torch.as_tensor(std, dtype=dtype, device=images.device).view(shape)
    return (images.to(dtype) / 255 - mean_C) / std_C


def upload(values: Tensor, device: torch.device) -> Tensor:
    """Values of the CPU on ``device``, without waiting for the copy: to CUDA from pinned memory, as others are waited for."""
    values = values.pin_memory() if device.type == "cuda" else values
    return values.to(device, non_blocking=True)


def epoch_order(n: int, generator: torch.Generator) -> Tensor:
    """A random permutation of 0 .. n-1: (n,) int64 on the CPU, drawn from the CPU ``generator``."""
    return torch.randperm(n, generator=generator)


def class_balanced(images: Images, count: int, seed: int) -> Images:
    """``count`` images, as many of each class as there are, in an order that keeps every stretch balanced.

    Drawn class by class in turn: of classes with enough images, any two differ by at most one. A ``count`` beyond the
    data set gives all of it. The choice depends on ``labels`` and ``seed`` alone, not on the device.
    Raises DataError for a count below 1.
    """
    if count < 1:
        raise DataError(f"A class-balanced subset of {count} images was asked for; expected at least 1.")
    order = epoch_order(len(images), torch.Generator().manual_seed(seed))
    labels = images.labels.cpu()[order]
    rank = torch.empty_like(labels)  # the how-manieth of its class each image is, in this order
    for label in labels.unique():
        members = labels == label
        rank[members] = torch.arange(int(members.sum()))
    return images.select(order[rank.argsort(stable=True)[:count]])
