"""What every metric must do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from fsg.parts import resolved
from fsg.testing.contract import Contract

_COUNT = 60


class MetricContract(Contract):
    """Of a part of the kind ``metric``, named by ``config``. ``classes``: of the logits that it is tried on."""

    kind = "metric"
    classes: ClassVar[int] = 4

    def make(self, logits: Tensor, labels: Tensor) -> float:
        """Its value."""
        value: float = resolved(self.part.build)(logits, labels)
        return value

    def test_it_is_one_finite_number(self) -> None:
        """Of any logits in both dtypes: by chance, all right, all wrong, of one class alone, of one image."""
        for name, logits, labels in self.cases():
            value = self.make(logits, labels)
            number = not isinstance(value, Tensor) or value.dim() == 0
            assert number and math.isfinite(float(value)), (
                f"of logits {name} it is {value!r}, expected one finite number."
            )

    def test_the_order_of_images_does_not_matter(self) -> None:
        """Beyond the rounding of a sum."""
        for name, logits, labels in self.cases():
            order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(5))
            one, other = float(self.make(logits, labels)), float(self.make(logits[order], labels[order]))
            assert math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-6), (
                f"of logits {name} it is {one}, of the same images in another order {other}."
            )

    def test_it_leaves_logits_and_labels_as_they_are(self) -> None:
        """Other metrics read them too; and it draws nothing, so that it is the same when it is asked again."""
        for name, logits, labels in self.cases():
            before, state = (logits.clone(), labels.clone()), torch.get_rng_state()
            first = float(self.make(logits, labels))
            assert torch.equal(logits, before[0]) and torch.equal(labels, before[1]), (
                f"of logits {name} its input was changed."
            )
            assert torch.equal(torch.get_rng_state(), state), "it draws from torch's global generator."
            assert float(self.make(logits, labels)) == first, f"of logits {name} it is another number when asked again."

    def cases(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """(what they are, logits (N, classes), labels (N,))."""
        rng = torch.Generator().manual_seed(4)
        logits = torch.randn(_COUNT, self.classes, generator=rng)
        labels = torch.arange(_COUNT) % self.classes
        sure = 30 * torch.nn.functional.one_hot(labels, self.classes).float()
        yield "by chance", logits, labels
        yield "by chance in float64", logits.double(), labels
        yield "all right", sure, labels
        yield "all wrong", -sure, labels
        yield "of one class alone", logits, torch.zeros_like(labels)
        yield "of one image", logits[:1], labels[:1]
