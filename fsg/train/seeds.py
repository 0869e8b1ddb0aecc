"""Independent random streams of one trial, so that an arm that draws more numbers disturbs no other stream.

Two arms with the same seed start from the same weights and see the same batches with the same augmentation.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch

Stream = Literal["weights", "order", "augment", "hypernetworks"]
_NUMBERS: dict[Stream, int] = {"weights": 0, "order": 1, "augment": 2, "hypernetworks": 3}


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
