"""Networks. Every convolution and the classifier is quantised but for ``float_layers``; biases and BatchNorm stay float."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from fsg.catalogue.surrogates import Activations
from fsg.parts import register
from fsg.section import Section, WrittenAs

Role = Literal["first", "last", "shortcuts"]
_WITHOUT_SHORTCUTS = ("digits_cnn", "vgg_small")  # none of whose layers stands on a shortcut
_THREE_STAGES = [f"resnet{depth}" for depth in (8, 20, 32, 44, 56, 110)]
_WIDTH = 16


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
        name: ``digits_cnn``: three convolutions and a classifier, for small images; ``resnet8`` to ``resnet110``: residual
            networks for CIFAR; ``resnet18``; ``vgg_small``.
        width: Channels of the first of three stages of ``resnet8`` to ``resnet110``; the next have twice and four times those.
        activations: ``sign`` binarises them too; ``{name: sign, surrogate: ede}`` with that curve as their gradient.
        pretrained: A checkpoint of float weights, or of a trial of ours, with this network's key names.
        float_layers: Those that stay float: ``first`` (the convolution that reads the image), ``last`` (the classifier),
            ``shortcuts`` (the 1x1 convolutions beside a block).
    """

    name: Literal[
        "digits_cnn", "resnet8", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet18", "vgg_small"
    ] = "digits_cnn"
    width: Annotated[int, Field(ge=1, le=1024)] = _WIDTH
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

    @model_validator(mode="after")
    def _has_a_width(self) -> ModelConfig:
        if self.width != _WIDTH and self.name not in _THREE_STAGES:
            raise ValueError(f"width: is for {', '.join(_THREE_STAGES)}; {self.name} has one width. Leave it out.")
        return self


def _alike_in_all_channels(config: ModelConfig) -> bool:
    """Whether it can stand beside others of its kind in one program: a curve that is annealed has a clock of its own trial."""
    return config.activations in ("float", "sign") and not config.float_layers


register("model", ModelConfig, "fsg.models.small:digits_cnn", names=["digits_cnn"], fusable=_alike_in_all_channels)
register(
    "model",
    ModelConfig,
    "fsg.models.resnet_cifar:resnet",
    names=_THREE_STAGES,
    fusable=_alike_in_all_channels,
)
register("model", ModelConfig, "fsg.models.resnet_cifar:resnet18", names=["resnet18"])
register("model", ModelConfig, "fsg.models.vgg_small:vgg_small", names=["vgg_small"])
