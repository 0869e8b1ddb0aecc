"""Independent random streams of one trial, so that an arm that draws more numbers disturbs no other stream.

Two arms with the same seed start from the same weights and see the same batches with the same augmentation.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Stream = Literal["weights", "order", "augment", "hypernetworks", "optimizer", "float_optimizer", "bits"]
_NUMBERS: dict[Stream, int] = {
    "weights": 0,
    "order": 1,
    "augment": 2,
    "hypernetworks": 3,
    "optimizer": 4,
    "float_optimizer": 5,
    "bits": 6,
}
_NUMPYS = np.random.MT19937(0)  # stands in for numpy's own, which need not be copied then


def stream_seed(seed: int, stream: Stream) -> int:
    """A 63-bit seed for one stream of a trial."""
    return int(np.random.SeedSequence([seed, _NUMBERS[stream]]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def generator(seed: int, stream: Stream) -> torch.Generator:
    """A CPU generator of one stream."""
    return torch.Generator().manual_seed(stream_seed(seed, stream))


@contextmanager
def seeded(seed: int, stream: Stream) -> Iterator[None]:
    """Inside, torch's global CPU generator is this stream; outside it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, stream))
        yield


@contextmanager
def all_seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Inside, the global generators of torch (CPU and ``device``), numpy and Python are those of ``step``; outside as before.

    For code of other packages, which draws from any of them: what it draws depends on seed and step alone. 0.1 ms; torch's
    and numpy's own functions to save, seed and restore take 0.8.
    """
    first, second = (int(x) for x in np.random.SeedSequence([seed, step]).generate_state(2, np.uint32))
    numpys, pythons = np.random.get_bit_generator(), random.getstate()  # type: ignore[attr-defined]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(first << 32 | second)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(first << 32 | second)
        np.random.set_bit_generator(_NUMPYS)  # type: ignore[attr-defined]
        np.random.seed(first)
        random.seed(first)
        try:
            yield
        finally:
            np.random.set_bit_generator(numpys)  # type: ignore[attr-defined]
            random.setstate(pythons)
