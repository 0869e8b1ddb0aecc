"""Training in a contract: images made up in a moment, and whether a trial that is interrupted ends as one that is not."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from fsg.config import TrialConfig
from fsg.data import DataSplits, Images
from fsg.train.loop import Trainer

_OF_THE_CLOCK = ("step_ms", "images_per_s")
_TRAIN, _HELD_OUT = 40, 12


def small_images(image_shape: tuple[int, int, int] = (1, 8, 8), classes: int = 3) -> DataSplits:
    """A noisy pattern a class: 40 images to train, 12 each to validate and to test."""
    rng = torch.Generator().manual_seed(0)
    patterns = torch.randint(64, 192, (classes, *image_shape), generator=rng)

    def part(count: int) -> Images:
        labels = torch.arange(count) % classes
        noise = torch.randint(-60, 61, (count, *image_shape), generator=rng)
        return Images((patterns[labels] + noise).to(torch.uint8), labels)

    moments = (0.5,) * image_shape[0], (0.25,) * image_shape[0]
    return DataSplits(part(_TRAIN), part(_HELD_OUT), part(_HELD_OUT), classes, *moments)


def assert_resumes(trial: TrialConfig, data: DataSplits) -> None:
    """Train ``trial`` to its end; interrupted in an epoch and between two, it must end in the same state, bit for bit."""
    kept: list[bytes] = []
    torch.manual_seed(1)  # a trial's draws are its own: none of them may hang on this generator
    whole = Trainer(trial, data)
    while not whole.finished:
        whole.run_epoch(lambda state: kept.append(_stored(state)))
        kept.append(_stored(whole.state_dict()))
    first, last = kept[0], kept[-1]
    for name, state in (("its first steps", first), ("the middle of its training", kept[len(kept) // 2])):
        torch.manual_seed(2)
        resumed = Trainer(trial, data)
        resumed.load_state_dict(_read(state))
        while not resumed.finished:
            resumed.run_epoch()
        differs = difference(_read(last), _read(_stored(resumed.state_dict())))
        assert differs is None, (
            f"A trial that was interrupted in {name} ended otherwise than one that was not: {differs}. What the next step "
            "depends on belongs into a parameter, a buffer or a state_dict; nothing may draw from torch's global generator."
        )


def difference(one: Any, other: Any, place: str = "state") -> str | None:
    """The first place where two trees of tensors and plain data differ in a bit; None where they do not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        if one.keys() != other.keys():
            return f"{place} has {', '.join(map(str, one.keys() ^ other.keys()))} in one of them alone"
        pairs = [(one[key], other[key], f"{place}.{key}") for key in one if key not in _OF_THE_CLOCK]
    elif isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        if len(one) != len(other):
            return f"{place} has {len(one)} parts in one and {len(other)} in the other"
        pairs = [(a, b, f"{place}.{n}") for n, (a, b) in enumerate(zip(one, other, strict=True))]
    elif isinstance(one, Tensor) and isinstance(other, Tensor):
        return None if same_bits(one, other) else f"{place} differs"
    else:
        same = one == other or (one != one and other != other)
        return None if same else f"{place} is {one!r} and {other!r}"
    return next((found for a, b, at in pairs if (found := difference(a, b, at)) is not None), None)


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one shape, dtype and content; NaN is NaN."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state_dict that does not move with what it is of."""
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _stored(state: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def _read(stored: bytes) -> dict[str, Any]:
    """As a checkpoint is read: tensors, numbers, text, lists and dictionaries alone."""
    state: dict[str, Any] = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
    return state
