"""Data of one's own: noisy stripes in four directions, made anew from a fixed seed; and a metric, the error of the worst class.

    plugins: [own_data.py]
    base: {data: {name: stripes, noise: 80}}
    metric: {name: val_worst_class_error, mode: min}

``make_splits`` holds a share of every class out for validation, and a fifth for the test, by ``split_seed``.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from fsg import DataSection, register
from fsg.data import Images, make_splits

CLASSES = ("horizontal", "vertical", "falling", "rising")
SIZE, PER_CLASS = 12, 100


class Stripes(DataSection):
    """``noise``: its standard deviation, in grey levels of 255."""

    name: Literal["stripes"] = "stripes"
    noise: Annotated[int, Field(ge=0, le=200)] = 60


@register("data", Stripes, shipped=True)
def stripes(config):
    """400 images of 1 x 12 x 12."""
    generator = torch.Generator().manual_seed(0)
    row, column = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    along = torch.stack([row, column, row + column, row - column]).repeat_interleave(PER_CLASS, 0)
    phase = torch.randint(6, (len(along), 1, 1), generator=generator)
    clean = 128 + 60 * torch.sin((along + phase) * torch.pi / 3)
    noisy = clean + config.noise * torch.randn(clean.shape, generator=generator)
    labels = torch.arange(len(CLASSES)).repeat_interleave(PER_CLASS)
    return make_splits(config, Images(noisy.clamp(0, 255).to(torch.uint8)[:, None], labels), list(CLASSES))


@register("metric", "worst_class_error")
def worst_class_error(logits, labels):
    """Percent; ``logits`` (N, classes) and ``labels`` (N,) of all validation or test images."""
    wrong = (logits.argmax(1) != labels).double()
    return 100 * max(wrong[labels == label].mean().item() for label in labels.unique())
