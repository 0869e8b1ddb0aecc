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
    """(N, C, H, W) uint8 images -> (N, classes) logits. ``network`` takes them normalised by ``image_mean`` and ``image_std``.

    A buffer ``mean`` would be one name with what ``aten.mean`` gives in an ONNX file, which is no file then (torch 2.15).
    """

    image_mean: Tensor
    image_std: Tensor

    def __init__(self, network: nn.Module, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("image_mean", mean)
        self.register_buffer("image_std", std)

    def forward(self, images: Tensor) -> Tensor:
        """Logits in the dtype that the network was trained in."""
        return self.network(normalise(images, self.image_mean, self.image_std, self.image_mean.dtype))


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
