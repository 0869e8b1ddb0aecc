"""VGG-Small: six 3x3 convolutions of 128, 128, 256, 256, 512 and 512 channels, 2x2 maxima after every second, a classifier.

The network of the published one-bit tables on CIFAR-10: 4.6 million weights on 32x32 images. A maximum is taken of what a
convolution gives, before BatchNorm and the activation (IR-Net ``CIFAR-10/VGG-Small/vgg.py:195-220``, ReCU
``cifar/models_cifar/vgg.py:59-83``): of signs it would nearly always be +1. Where those have a hard tanh, a float activation here
is ReLU. Counts: ``tests/models/test_vgg_small.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fsg.catalogue.models import ModelConfig
from fsg.layers import QuantConv2d, QuantLinear, make_activation, unless_float
from fsg.quantizers import Quantizer

_WIDTHS = (128, 128, 256, 256, 512, 512)


class VggSmall(nn.Module):
    """Takes images of any shape (C, H, W) of at least 8 x 8; only the classifier grows with them."""

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        quantizer: Quantizer | None,
        activations: Any = "float",
        float_layers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        blocks: list[nn.Module] = []
        for number, own in enumerate(_WIDTHS):
            layer = quantizer if number else unless_float(quantizer, "first", float_layers)
            conv = QuantConv2d(channels, own, 3, padding=1, bias=False, quantizer=layer)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            pool = [nn.MaxPool2d(2)] if number % 2 else []
            blocks += [conv, *pool, nn.BatchNorm2d(own), make_activation(activations, nn.ReLU)]
            channels = own
        self.features = nn.Sequential(*blocks)
        last = unless_float(quantizer, "last", float_layers)
        self.classifier = QuantLinear(channels * (height // 8) * (width // 8), classes, bias=True, quantizer=last)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalised images -> (N, classes) logits."""
        return self.classifier(self.features(images).flatten(1))


def vgg_small(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> VggSmall:
    """The network as a trial describes it."""
    return VggSmall(image_shape, classes, quantizer, config.activations, config.float_layers)
