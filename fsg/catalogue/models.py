"""Networks. Every convolution and the classifier is quantised but for ``float_layers``; biases and BatchNorm stay float."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ValidationInfo, field_validator

from fsg.catalogue.surrogates import Activations
from fsg.parts import register
from fsg.section import Section, WrittenAs

Role = Literal["first", "last", "shortcuts"]
_WITHOUT_SHORTCUTS = ("digits_cnn", "vgg_small")  # none of whose layers stands on a shortcut


def _roles(value: Any) -> Any:
    """One name is short for a list of it; order and repetition say nothing."""
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple):
        return value
    known = [role for role in get_args(Role) if role in names]
    return (*known, *(name for name in names if name not in known))


class ModelConfig(Section):
    """The network.

    Args:
        name: ``digits_cnn``: three convolutions and a classifier, for small images; ``resnet20`` to ``resnet110``: residual
            networks for CIFAR; ``resnet18``; ``vgg_small``.
        activations: ``sign`` binarises them too; ``{name: sign, surrogate: ede}`` with that curve as their gradient.
        pretrained: A checkpoint of float weights, or of a trial of ours, with this network's key names.
        float_layers: Those that stay float: ``first`` (the convolution that reads the image), ``last`` (the classifier),
            ``shortcuts`` (the 1x1 convolutions beside a block).
    """

    name: Literal[
        "digits_cnn", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet18", "vgg_small"
    ] = "digits_cnn"
    activations: Activations = "float"
    pretrained: str | None = None
    float_layers: Annotated[tuple[Role, ...], BeforeValidator(_roles), WrittenAs(lambda: Role | list[Role])] = ()

    @field_validator("float_layers")
    @classmethod
    def _are_there(cls, value: tuple[Role, ...], info: ValidationInfo) -> tuple[Role, ...]:
        name = info.data.get("name")
        if "shortcuts" in value and name in _WITHOUT_SHORTCUTS:
            raise ValueError(f'names "shortcuts", and no layer of {name} is on one; allowed: first, last.')
        return value


def _alike_in_all_channels(config: ModelConfig) -> bool:
    """Whether it can stand beside others of its kind in one program: a curve that is annealed has a clock of its own trial."""
    return config.activations in ("float", "sign") and not config.float_layers


register("model", ModelConfig, "fsg.models.small:digits_cnn", names=["digits_cnn"], fusable=_alike_in_all_channels)
register(
    "model",
    ModelConfig,
    "fsg.models.resnet_cifar:resnet",
    names=[f"resnet{n}" for n in (20, 32, 44, 56, 110)],
    fusable=_alike_in_all_channels,
)
register("model", ModelConfig, "fsg.models.resnet_cifar:resnet18", names=["resnet18"])
register("model", ModelConfig, "fsg.models.vgg_small:vgg_small", names=["vgg_small"])
