"""``digits_cnn``: 4 quantised layers, 5,392 quantised weights on 1x8x8 digits, a tenth of a second per epoch.

conv 3x3 (16) - conv 3x3 / 2 (16) - conv 3x3 / 2 (16) - classifier on the flattened 2x2 map; BatchNorm and ReLU after
each convolution. Strides in place of pooling: a maximum over binary activations would nearly always be +1.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fsg.catalogue.models import ModelConfig
from fsg.layers import QuantConv2d, QuantLinear, SignActivation
from fsg.quantizers import Quantizer

_WIDTH = 16
_STRIDES = (1, 2, 2)


class DigitsCnn(nn.Module):
    """The small network of the main job. Takes images of any shape (C, H, W); only the classifier grows with them.

    ``activations="sign"`` puts the sign in ReLU's place; what the first convolution reads, the image, stays as it is.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        classes: int,
        quantizer: Quantizer | None,
        activations: Literal["float", "sign"] = "float",
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        blocks: list[nn.Module] = []
        for stride in _STRIDES:
            conv = QuantConv2d(channels, _WIDTH, 3, stride=stride, padding=1, bias=False, quantizer=quantizer)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            act = SignActivation() if activations == "sign" else nn.ReLU()
            blocks += [conv, nn.BatchNorm2d(_WIDTH), act]
            channels, height, width = _WIDTH, -(-height // stride), -(-width // stride)
        self.features = nn.Sequential(*blocks)
        self.classifier = QuantLinear(_WIDTH * height * width, classes, bias=True, quantizer=quantizer)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalised images -> (N, classes) logits."""
        return self.classifier(self.features(images).flatten(1))


def digits_cnn(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> DigitsCnn:
    """The network as a trial describes it."""
    return DigitsCnn(image_shape, classes, quantizer, config.activations)
