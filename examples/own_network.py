"""A network of one's own: two convolutions and a classifier, of any width.

    plugins: [own_network.py]
    base: {model: {name: two_convolutions, width: 24}}

A layer made as ``QuantConv2d`` or ``QuantLinear`` with the given quantizer is trained with a generated gradient; any other
module stays float.
"""

from typing import Literal

from torch import nn

from fsg import Section, register
from fsg.layers import QuantConv2d, QuantLinear


class TwoConvolutions(Section):
    """``width``: channels of the first convolution; the second has twice as many."""

    name: Literal["two_convolutions"] = "two_convolutions"
    width: int = 16


@register("model", TwoConvolutions)
def two_convolutions(config, image_shape, classes, quantizer):
    """(N, *image_shape) -> (N, classes)."""
    channels, width = image_shape[0], config.width
    return nn.Sequential(
        QuantConv2d(channels, width, 3, padding=1, bias=False, quantizer=quantizer),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        QuantConv2d(width, 2 * width, 3, padding=1, bias=False, quantizer=quantizer),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        QuantLinear(8 * width, classes, quantizer=quantizer),
    )
