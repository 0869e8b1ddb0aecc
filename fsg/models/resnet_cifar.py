"""ResNets for small images: 3 stages of 16, 32 and 64 channels, 6n + 2 layers (He et al. 2016, section 4.2), or of another
width; and ResNet-18.

ResNet-18 has 4 stages of 64 to 512 channels, two blocks each, and for small images a 3x3 stem without pooling, as in the
published one-bit networks on CIFAR. Shortcuts are 1x1 convolutions with BatchNorm where the shape changes, and quantised like
every other convolution: 22 quantised layers in ResNet-20, 21 in ResNet-18. Shortcuts of the published ResNet-20s have no weights
(every second pixel, or means of 2x2, and zeros for new channels): ``float_layers: [shortcuts]`` comes closest to them.
Parameter names are those of the common CIFAR ResNets (``layer1.0.conv1``, ``layer2.0.downsample.0``, ``fc``), so that their
float checkpoints load. Counts: ``tests/models/test_resnet_cifar.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fsg.catalogue.models import ModelConfig
from fsg.layers import QuantConv2d, QuantLinear, make_activation, unless_float
from fsg.quantizers import Quantizer

_STAGES_18 = (64, 128, 256, 512)


def _conv(in_channels: int, out_channels: int, size: int, stride: int, quantizer: Quantizer | None) -> QuantConv2d:
    conv = QuantConv2d(
        in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False, quantizer=quantizer
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut.

    Float activations: ReLU after the sum, as He et al. have it. Sign activations: the sum stays float and the sign
    stands where a convolution reads it: on the sum it would cut the shortcut's gradient wherever |sum| > 1. A shortcut that
    stays float reads the sum itself.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        quantizer: Quantizer | None,
        activations: Any,
        float_layers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.before = make_activation(activations, nn.Identity)
        self.between = make_activation(activations, nn.ReLU)
        self.after: nn.Module = nn.ReLU() if activations == "float" else nn.Identity()
        self.float_shortcut = "shortcuts" in float_layers
        self.conv1 = _conv(in_channels, out_channels, 3, stride, quantizer)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _conv(out_channels, out_channels, 3, 1, quantizer)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or in_channels != out_channels:
            own = unless_float(quantizer, "shortcuts", float_layers)
            self.downsample = nn.Sequential(
                _conv(in_channels, out_channels, 1, stride, own), nn.BatchNorm2d(out_channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels, H, W) -> (N, out_channels, ceil(H / stride), ceil(W / stride))."""
        read = self.before(x)
        shortcut = x if self.downsample is None else self.downsample(x if self.float_shortcut else read)
        branch = self.bn2(self.conv2(self.between(self.bn1(self.conv1(read)))))
        return self.after(branch + shortcut)


class ResNetCifar(nn.Module):
    """Stages of ``channels``, ``blocks`` blocks each, all but the first at half the size. Images of any shape (C, H, W).

    The classifier reads the spatial mean of the last sum, float in both activation modes.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: int,
        image_shape: tuple[int, int, int],
        classes: int,
        quantizer: Quantizer | None,
        activations: Any = "float",
        float_layers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        first, *_, last = channels
        self.conv1 = _conv(image_shape[0], first, 3, 1, unless_float(quantizer, "first", float_layers))
        self.bn1 = nn.BatchNorm2d(first)
        self.act: nn.Module = nn.ReLU() if activations == "float" else nn.Identity()
        self.stages = [f"layer{number}" for number in range(1, len(channels) + 1)]
        for name, before, width in zip(self.stages, (first, *channels), channels, strict=False):
            stride = 1 if name == "layer1" else 2
            inner = (before, *[width] * (blocks - 1))
            stage = [
                BasicBlock(come, width, 1 if number else stride, quantizer, activations, float_layers)
                for number, come in enumerate(inner)
            ]
            self.add_module(name, nn.Sequential(*stage))
        self.fc = QuantLinear(last, classes, bias=True, quantizer=unless_float(quantizer, "last", float_layers))

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) normalised images -> (N, classes) logits."""
        x = self.act(self.bn1(self.conv1(images)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean(dim=(2, 3)))


def resnet(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> ResNetCifar:
    """ResNet-8 to -110: its name ends with its depth, 6n + 2 for n blocks a stage; three stages from ``width`` channels on."""
    blocks = (int(config.name.removeprefix("resnet")) - 2) // 6
    stages = [config.width, 2 * config.width, 4 * config.width]
    return ResNetCifar(stages, blocks, image_shape, classes, quantizer, config.activations, config.float_layers)


def resnet18(
    config: ModelConfig, image_shape: tuple[int, int, int], classes: int, quantizer: Quantizer | None
) -> ResNetCifar:
    """ResNet-18 with a 3x3 stem."""
    return ResNetCifar(_STAGES_18, 2, image_shape, classes, quantizer, config.activations, config.float_layers)
