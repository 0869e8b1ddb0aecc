"""``network.safetensors``: every tensor of a network by its name, its quantised weights as bits.

A weight ``W`` that was packed is there as ``W.bits`` and ``W.values`` (fsg/export/packing.py has the layout), all else as it is,
in float32. The file's metadata has one entry, ``fsg``, in JSON: the ``format``, what the network is built from, the ``shape`` of
each packed weight, and the SHA-256 of all tensors. Proof: ``tests/export/test_weights.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fsg.errors import CheckpointCorrupt, NewerFormat
from fsg.export.packages import need
from fsg.export.packing import Packed, unpack
from fsg.files import write_atomically

WEIGHTS = "network.safetensors"
FORMAT = 1
_KEY = "fsg"


def write_weights(
    path: Path, state: Mapping[str, Tensor], packed: Mapping[str, Packed], described: Mapping[str, Any]
) -> None:
    """Write a network's ``state`` with the weights in ``packed`` as bits; ``described`` is plain data that reading gives back."""
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name in packed:
            tensors |= {f"{name}.bits": packed[name].bits, f"{name}.values": packed[name].values}
        else:
            tensors[name] = tensor
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    shapes = {name: list(one.shape) for name, one in packed.items()}
    about = {"format": FORMAT, **described, "packed": shapes, "sha256": _digest(tensors)}
    write_atomically(path, need("safetensors.torch").save(tensors, metadata={_KEY: json.dumps(about)}))


def read_weights(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What was described, and the state with every weight unpacked.

    CheckpointCorrupt for a file that is damaged or none of fsg's, NewerFormat for one of a later fsg, OSError for none at all.
    """
    safe_open = need("safetensors").safe_open
    path.stat()
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, it is no mapping
    except OSError:
        raise
    except Exception as error:
        raise CheckpointCorrupt(
            f"{path}: not readable as a network that fsg exported ({type(error).__name__}: {error}). Export it again."
        ) from None
    if about["format"] > FORMAT:
        raise NewerFormat(f"{path}: its format is {about['format']}, this fsg knows {FORMAT}; take a newer fsg.")
    if _digest(tensors) != about["sha256"]:
        raise CheckpointCorrupt(f"{path}: its tensors are not those that were written: damaged. Export it again.")
    for name, shape in about["packed"].items():
        tensors[name] = unpack(Packed(tensors.pop(f"{name}.bits"), tensors.pop(f"{name}.values"), tuple(shape)))
    return about, tensors


def _digest(tensors: Mapping[str, Tensor]) -> str:
    hashed = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hashed.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return hashed.hexdigest()
