"""Data sets."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fsg.parts import register
from fsg.section import Section


class DataSection(Section):
    """What every data set has: its split, and how it is read. Derive a section of your own from this one.

    Args:
        root: Folder of the data set, seen from where the command is typed; left out: ``data``.
        download: Whether it may be downloaded into ``root`` if it is not there.
        batch_size: Images of one training step.
        validation_share: Share of each class of the training images that is held out for validation.
        split_seed: Decides the split, apart from the trial's seed: every seed is tested on the same images.
        split_per_seed: Add the trial's seed to ``split_seed``: every seed has a split of its own, which its arms share.
        augment: Flip and shift training images, where classes survive that (CIFAR, ``image_folder``).
    """

    name: str
    root: str | None = None
    download: bool = False
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 64
    validation_share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    split_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    split_per_seed: bool = False
    augment: bool = True


class DataConfig(DataSection):
    """fsg's own data sets.

    Args:
        name: ``digits``: scikit-learn's 1,797 handwritten digits, 8 x 8; ``cifar10`` and ``cifar100``, by torchvision;
            ``image_folder``: a folder of images by class; ``synthetic``: 1,000 made images.
        image_size: Height and width in pixels, of ``image_folder`` and ``synthetic``.
        split: ``by_writer`` keeps each hand of ``digits`` to one part; ``random`` draws images. Left out: by writer where
            there are writers.
    """

    name: Literal["digits", "cifar10", "cifar100", "image_folder", "synthetic"] = "digits"
    image_size: Annotated[int, Field(ge=4, le=512)] = 32
    split: Literal["random", "by_writer"] | None = None

    @model_validator(mode="after")
    def _knows_its_writers(self) -> DataConfig:
        if self.split == "by_writer" and self.name != "digits":
            raise ValueError(f"split: by_writer is for digits; of {self.name} nobody knows who wrote what. Use random.")
        return self


def _as_split(config: DataConfig) -> dict[str, str]:
    """What a split that is left out amounts to: only of digits it is known who wrote them."""
    return {"split": config.split or ("by_writer" if config.name == "digits" else "random")}


_CIFAR = {
    "unused": _as_split,
    "augmented": True,
    "stand_in": "fsg.data.cifar:cifar_stand_in",
    "to_download": "fsg.data.cifar:cifar_to_download",
    "missing": "fsg.data.cifar:cifar_missing",
}

register(
    "data",
    DataConfig,
    "fsg.data.digits:load_digits",
    names=["digits"],
    shipped=True,
    unused=_as_split,
)
register("data", DataConfig, "fsg.data.cifar:load_cifar", names=["cifar10", "cifar100"], **_CIFAR)
register(
    "data",
    DataConfig,
    "fsg.data.image_folder:load_image_folder",
    names=["image_folder"],
    augmented=True,  # a mirrored digit is another digit, or none: of the others only CIFAR survives a flip
    by_folder=True,
    unused=_as_split,
)
register(
    "data",
    DataConfig,
    "fsg.data.synthetic:load_synthetic",
    names=["synthetic"],
    shipped=True,
    unused=_as_split,
)
