"""Starting from trained float weights: a checkpoint of the common CIFAR ResNets, or of a trial of ours."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fsg.errors import CheckpointCorrupt, ConfigError
from fsg.files import user_path
from fsg.train.checkpoint import load_checkpoint


def load_pretrained(model: nn.Module, path: str | Path) -> None:
    """Copy the weights in ``path`` into ``model``. Loaded with weights_only: the file cannot run code.

    Accepts a state_dict, one under the key "state_dict" or "model", keys that begin with "module.", and a checkpoint
    of a trial. ConfigError, naming keys and shapes, for a file that is missing, damaged, or of another network.
    """
    stored, own = stored_weights(model, path), model.state_dict()
    wrong = [
        f"{n} {tuple(stored[n].shape)} for {tuple(own[n].shape)}"
        for n in own
        if n in stored and stored[n].shape != own[n].shape
    ]
    if wrong:
        raise ConfigError(f"model.pretrained {path}: shapes differ: {_some(wrong)}.")
    model.load_state_dict(stored, strict=False)


def stored_weights(model: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """The weights in ``path``, if they have the names of those of ``model``; ConfigError otherwise."""
    stored, own = _strip(_read(user_path(path))), model.state_dict()
    optional = {name for name in own if name.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - stored.keys() - optional)
    unexpected = sorted(stored.keys() - own.keys())
    if missing or unexpected:
        raise ConfigError(
            f"model.pretrained {path}: its weights are of another network; "
            f"missing {_some(missing)}, not known {_some(unexpected)}."
        )
    return stored


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ConfigError(f"model.pretrained {path}: no such file.")
    try:
        state = load_checkpoint(path)
        return state.get("evaluated") or state["model"]
    except (CheckpointCorrupt, KeyError):
        pass  # not a checkpoint of ours
    try:
        content = torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception as error:  # torch's reader takes any bytes for instructions, and fails at them in any way
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"model.pretrained {path}: no checkpoint of weights, or one that is damaged or cut short ({reason[:120]})."
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(isinstance(v, Tensor) for v in content.values()):
        raise ConfigError(f"model.pretrained {path}: holds {type(content).__name__}, expected tensors by name.")
    return content


def _strip(state: dict[str, Any]) -> dict[str, Tensor]:
    return {name.removeprefix("module."): value for name, value in state.items()}


def _some(names: list[str], most: int = 3) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
