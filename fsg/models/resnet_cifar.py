"""ResNets for small images: 3 stages of 16, 32 and 64 channels, 6n + 2 layers (He et al. 2016, section 4.2).

Shortcuts are 1x1 convolutions with BatchNorm where the shape changes, and quantised like every other convolution: 22
quantised layers in ResNet-20. Parameter names are those of the common CIFAR ResNets (``layer1.0.conv1``,
``layer2.0.downsample.0``, ``fc``), so that their float checkpoints load. Counts: ``tests/models/test_resnet_cifar.py``.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from fsg.catalogue.models import ModelConfig
from fsg.layers import QuantConv2d, QuantLinear, SignActivation
from fsg.quantizers import Quantizer

Activations = Literal["float", "sign"]


def _conv(in_channels: int, out_channels: int, size: int, stride: int, quantizer: Quantizer | None) -> QuantConv2d:
    conv = QuantConv2d(
        in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False, quantizer=quantizer
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Float activations: ReLU after the sum, as He et al. have it. Sign activations: the sum stays float and the sign
    stands where a convolution reads it: on the sum it would cut the shortcut's gradient wherever |sum| > 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, quantizer: Quantizer | None, activations: Activations
    ) -> None:
        super().__init__()
        sign = activations == "sign"
        self.before: nn.Module = SignActivation() if sign else nn.Identity()
        self.between: nn.Module = SignActivation() if sign else nn.ReLU()
        self.after: nn.Module = nn.Identity() if sign else nn.ReLU()
        self.conv1 = _conv(in_channels, out_channels, 3, stride, quantizer)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv(out_channels, out_channels, 3, 1, quantizer)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                _conv(in_channels, out_channels, 1, stride, quantizer), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        read = self.before(x)
        shortcut = x if self.downsample is None else self.downsample(read)
        branch = self.bn2(self.conv2(self.between(self.bn1(self.conv1(read)))))
        return self.after(branch + shortcut)


class ResNetCifar(nn.Module):
    """ResNet-20, -32, -44, -56 or -110: ``depth`` = 6n + 2, n blocks a stage. Images of any shape (C, H, W).

    The classifier reads the spatial mean of the last sum, float in both activation modes.
    """

    def __init__(
        self,
        depth: int,
        image_shape: tuple[int, int, int],
        classes: int,
        quantizer: Quantizer | None,
        activations: Activations = "float",
    ) -> None:
        super().__init__()
        blocks = (depth - 2) // 6
        self.conv1 = _conv(image_shape[0], 16, 3, 1, quantizer)
        self.bn1 = nn.BatchNorm2d(16)
        self.act: nn.Module = nn.Identity() if activations == "sign" else nn.ReLU()
        self.layer1 = _stage(16, 16, blocks, 1, quantizer, activations)
        self.layer2 = _stage(16, 32, blocks, 2, quantizer, activations)
        self.layer3 = _stage(32, 64, blocks, 2, quantizer, activations)
        self.fc = QuantLinear(64, classes, bias=True, quantizer=quantizer)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalised images -> (N, classes) logits."""
        x = self.act(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean(dim=(2, 3)))


def _stage(
    in_channels: int, out_channels: int, blocks: int, stride: int, quantizer: Quantizer | None, activations: Activations
) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride, quantizer, activations)
    rest = (BasicBlock(out_channels, out_channels, 1, quantizer, activations) for _ in range(blocks - 1))
    return nn.Sequential(first, *rest)


def resnet(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> ResNetCifar:
    """The network as a trial describes it; its name ends with its depth."""
    depth = int(config.name.removeprefix("resnet"))
    return ResNetCifar(depth, image_shape, classes, quantizer, config.activations)
