"""``load_exported``: an exported network, from its ``network.safetensors``, without Ray, MLflow or Optuna.

Proof: ``tests/export/test_export_folder.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch

from fsg.config import parse_trial
from fsg.errors import StudyError
from fsg.export.weights import WEIGHTS, read_weights
from fsg.files import user_path
from fsg.layers import quantized_layers
from fsg.models import build_model
from fsg.plugins import PluginRef, load_installed, load_kept
from fsg.train.inference import InferenceNetwork


def load_exported(folder: str | Path) -> InferenceNetwork:
    """The network that ``fsg export`` wrote into a folder, on the processor, in evaluation mode and without gradients.

    Args:
        folder: The folder. Plug-ins that lie in it are Python and are executed, so it must be from someone you trust.

    Returns:
        A module: (N, C, H, W) uint8 images -> (N, classes) float32 logits, normalisation included.

    StudyError where there is no such folder; CheckpointCorrupt where its file is damaged; ConfigError where a part that it is
    built from is not there.
    """
    folder = user_path(folder)
    try:
        about, state = read_weights(folder / WEIGHTS)
    except FileNotFoundError:
        raise StudyError(f"{folder}: no exported network, as it has no {WEIGHTS}; make one with fsg export.") from None
    load_installed()
    for ref in about["parts"].get("plugins", ()):
        load_kept(PluginRef.model_validate(ref), folder)
    config = parse_trial(about["parts"])
    with torch.random.fork_rng(devices=[]):  # of the weights that are drawn and then replaced
        network = build_model(config, tuple(about["image_shape"]), about["classes"])
    for layer in quantized_layers(network).values():
        layer.quantizer = None
    whole = InferenceNetwork(network, torch.empty_like(state["image_mean"]), torch.empty_like(state["image_std"]))
    whole.load_state_dict(state)
    return whole.requires_grad_(False).eval()
