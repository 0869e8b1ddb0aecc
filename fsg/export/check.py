"""Whether an exported file gives a network's results, on every image of the test split.

``holds`` is the rule: the logits are equal but for rounding, or as many images are classified correctly. A network with sign
activations may need the second: where a sum is within a rounding of zero its sign is another, and so are that image's logits.
Proof: ``tests/export/test_check.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

BATCH = 500  # images at a time, as trials are tested
ROUNDING = 1e-4  # of the largest logit


@dataclass(frozen=True)
class Agreement:
    """What a file gives beside what the network gives.

    ``difference``: the largest between two logits, as a share of the largest logit. ``changed``: images whose class is another.
    ``correct``, ``expected``: images classified correctly by the file and by the network.
    """

    images: int
    difference: float
    changed: int
    correct: int
    expected: int

    @property
    def holds(self) -> bool:
        """Logits equal but for rounding, or as many images right."""
        return self.difference <= ROUNDING or self.correct == self.expected

    def __str__(self) -> str:
        if self.difference == 0:
            return "the same bits"
        of_all = f"of {self.images:,} images, {self.correct:,} right, not {self.expected:,}"
        if self.correct == self.expected:
            of_all = f"of {self.images:,} images, {self.correct:,} right in both"
        return f"logits within {self.difference:.1g} of the largest; another class for {self.changed:,} {of_all}"


def logits_of(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """(N, C, H, W) uint8 -> (N, classes), a batch at a time."""
    with torch.no_grad():
        return torch.cat([network(part) for part in images.split(BATCH)])


def agreement(found: Tensor, expected: Tensor, labels: Tensor) -> Agreement:
    """Compare logits (N, classes); ``labels``: (N,)."""
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    difference = ((found - expected).abs().max() / largest).item()
    classes, wanted = found.argmax(1), expected.argmax(1)
    return Agreement(
        len(labels),
        difference if difference == difference else float("inf"),
        int((classes != wanted).sum()),
        int((classes == labels).sum()),
        int((wanted == labels).sum()),
    )
