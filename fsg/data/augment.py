"""The standard augmentation of small images: a random crop after padding by 4, and a random horizontal flip.

One gather for the whole batch, on the images' device. Proof: ``tests/data/test_augment.py``, against a slow loop.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from fsg.data.arrays import upload

PADDING = 4


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by -4 .. 4 pixels in both directions, black where nothing was, and mirror half of them.

    ``images``: (N, C, H, W) uint8; the result has its shape, dtype and device. ``generator``: on the CPU, so
    that a trial sees the same crops on every device.
    """
    n, channels, height, width = images.shape
    shifts = torch.randint(2 * PADDING + 1, (2, n, 1), generator=generator)
    mirrored = torch.randint(2, (1, n, 1), generator=generator)
    tops, lefts, flips = upload(torch.cat([shifts, mirrored]), images.device)
    rows_NH = tops + torch.arange(height, device=images.device)
    columns_NW = lefts + torch.arange(width, device=images.device)
    columns_NW = torch.where(flips.bool(), columns_NW.flip(1), columns_NW)
    pixels = rows_NH[:, :, None] * (width + 2 * PADDING) + columns_NW[:, None, :]
    pixels = pixels.view(n, 1, height * width).expand(n, channels, -1)
    padded = functional.pad(images, (PADDING,) * 4).flatten(2)
    return padded.gather(2, pixels).view(images.shape)
