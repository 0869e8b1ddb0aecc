"""Networks: ``build_model`` makes the one a trial asks for, with its quantised layers and fresh weights.

Every convolution and the classifier is quantised; biases and BatchNorm stay float. Initial weights are drawn from
torch's global CPU generator: seed it under ``torch.random.fork_rng``.
Proof: ``tests/models``.
"""

from __future__ import annotations

from torch import nn

from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.parts import part_of
from fsg.quantizers import make_quantizer

__all__ = ["build_model"]


def build_model(config: TrialConfig, image_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """The network ``config.model`` names, float32 on the CPU, in training mode.

    ``image_shape``: (channels, height, width) of its input. Forward: (N, C, H, W) normalised images -> (N, classes)
    logits. The layers' weights are latent weights; ``config.quantizer`` says how the forward pass reads them.
    ConfigError where a guest's builder makes no network.
    """
    model = part_of("model", config.model)
    network = model.make(config.model, image_shape, classes, make_quantizer(config.quantizer))
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f'{model.origin}: the model "{model.name}" was built as {type(network).__name__}, expected a torch.nn.Module.'
        )
    return network
