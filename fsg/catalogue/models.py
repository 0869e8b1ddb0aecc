"""Networks. Every convolution and the classifier is quantised; biases and BatchNorm stay float."""

from __future__ import annotations

from typing import Literal

from fsg.parts import register
from fsg.section import Section


class ModelConfig(Section):
    """The network. ``activations: sign`` binarises them too (straight-through, clipped to |x| <= 1).

    ``pretrained`` is a checkpoint of float weights, or of a trial of ours, with this network's key names.
    """

    name: Literal["digits_cnn", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"] = "digits_cnn"
    activations: Literal["float", "sign"] = "float"
    pretrained: str | None = None


register("model", ModelConfig, "fsg.models.small:digits_cnn", names=["digits_cnn"], fusable=True)
register(
    "model",
    ModelConfig,
    "fsg.models.resnet_cifar:resnet",
    names=[f"resnet{n}" for n in (20, 32, 44, 56, 110)],
    fusable=True,
)
