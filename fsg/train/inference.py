"""A trained network as it is used: quantised weights put in for good, BatchNorm with the statistics it was tested with.

Proof: ``tests/train/test_inference.py``.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from fsg.data import normalise
from fsg.layers import quantized_layers
from fsg.train.evaluate import reestimated_batchnorm
from fsg.train.loop import Trainer


class InferenceNetwork(nn.Module):
    """(N, C, H, W) uint8 images -> (N, classes) logits. ``network`` takes them normalised by ``mean`` and ``std``."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits in the dtype that the network was trained in."""
        return self.network(normalise(images, self.mean, self.std, self.mean.dtype))


def inference_network(trainer: Trainer) -> InferenceNetwork:
    """The trainer's network as it is now, a copy of its own, in evaluation mode and without gradients."""
    reestimated = trainer.config.evaluate.batchnorm == "reestimated"
    statistics = (
        reestimated_batchnorm(trainer.model, trainer.inputs, trainer.balanced.images) if reestimated else nullcontext()
    )
    with trainer.step.at_evaluation_point(), statistics:
        network = copy.deepcopy(trainer.model)
    with torch.no_grad():
        for layer in quantized_layers(network).values():
            assert layer.quantizer is not None
            layer.weight.copy_(layer.quantizer(layer.weight).value)
            layer.quantizer = None
    mean, std = (
        torch.tensor(x, dtype=trainer.dtype, device=trainer.device) for x in (trainer.data.mean, trainer.data.std)
    )
    return InferenceNetwork(network, mean, std).requires_grad_(False).eval()
