"""What two trials must share to be a fair pair: their initial weights and their first batches, as short hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fsg.data import augment, epoch_order

if TYPE_CHECKING:
    from fsg.train.loop import Trainer

BATCHES = 2


def fingerprint(trainer: Trainer) -> dict[str, str]:
    """12 hexadecimal digits each of ``weights`` and ``batches`` of a trainer that has not trained yet; draws nothing from it."""
    order, augmentation = _copy(trainer.order), _copy(trainer.augmentation)
    size = trainer.config.data.batch_size
    index = epoch_order(len(trainer.data.train), order)[: BATCHES * size].to(trainer.device)
    seen: list[Tensor] = []
    for part in index.split(size):
        images = trainer.data.train.images[part]
        seen += [augment(images, augmentation) if trainer.augmented else images, trainer.data.train.labels[part]]
    return {"weights": _hash(p.detach() for p in trainer.model.parameters()), "batches": _hash(seen)}


def _copy(generator: torch.Generator) -> torch.Generator:
    twin = torch.Generator()
    twin.set_state(generator.get_state())
    return twin


def _hash(tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.contiguous().cpu().numpy().tobytes())
    return found.hexdigest()[:12]
