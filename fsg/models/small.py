"""``digits_cnn``: 4 quantised layers, 5,392 quantised weights on 1x8x8 digits, a tenth of a second per epoch.

conv 3x3 (16) - conv 3x3 / 2 (16) - conv 3x3 / 2 (16) - classifier on the flattened 2x2 map; BatchNorm and ReLU after
each convolution. Strides in place of pooling: a maximum over binary activations would nearly always be +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fsg.catalogue.models import ModelConfig
from fsg.layers import QuantConv2d, QuantLinear, make_activation, unless_float
from fsg.quantizers import Quantizer

_WIDTH = 16
_STRIDES = (1, 2, 2)


class DigitsCnn(nn.Module):
    """The small network of the main job. Takes images of any shape (C, H, W); only the classifier grows with them.

    ``activations="sign"``, or a section of it, puts the sign in ReLU's place; what the first convolution reads, the image,
    stays as it is.
    """

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
        for number, stride in enumerate(_STRIDES):
            own = quantizer if number else unless_float(quantizer, "first", float_layers)
            conv = QuantConv2d(channels, _WIDTH, 3, stride=stride, padding=1, bias=False, quantizer=own)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            blocks += [conv, nn.BatchNorm2d(_WIDTH), make_activation(activations, nn.ReLU)]
            channels, height, width = _WIDTH, -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*blocks)
        last = unless_float(quantizer, "last", float_layers)
        self.classifier = QuantLinear(_WIDTH * height * width, classes, bias=True, quantizer=last)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalised images -> (N, classes) logits."""
        return self.classifier(self.features(images).flatten(1))


def digits_cnn(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> DigitsCnn:
    """The network as a trial describes it."""
    return DigitsCnn(image_shape, classes, quantizer, config.activations, config.float_layers)
