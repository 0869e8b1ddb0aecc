"""Networks by name: ``build_model`` makes the one a trial asks for, with its quantised layers and fresh weights.

Every convolution and the classifier is quantised; biases and BatchNorm stay float. Initial weights are drawn from
torch's global CPU generator: seed it under ``torch.random.fork_rng``.
Proof: ``tests/models``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from torch import nn

from fsg.config import TrialConfig
from fsg.models.resnet_cifar import ResNetCifar
from fsg.models.small import DigitsCnn
from fsg.quantizers import make_quantizer

__all__ = ["MODELS", "build_model"]

# name -> constructor(image_shape, classes, quantizer, activations)
MODELS: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"digits_cnn": DigitsCnn} | {f"resnet{depth}": partial(ResNetCifar, depth) for depth in (20, 32, 44, 56, 110)}
)


def build_model(config: TrialConfig, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network ``config.model`` names, float32 on the CPU, in training mode.

    ``image_shape``: (channels, height, width) of its input. Forward: (N, C, H, W) normalised images -> (N, classes)
    logits. The layers' weights are latent weights; ``config.quantizer`` says how the forward pass reads them.
    """
    return MODELS[config.model.name](image_shape, classes, make_quantizer(config.quantizer), config.model.activations)
