"""What every backend of the slow-net's block must do: what the reference does, faster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fsg.ops.slow_scan import MambaWeights
from fsg.ops.slow_scan.reference import slow_scan as reference
from fsg.parts import resolved
from fsg.testing.contract import Contract

Problem = tuple[Tensor, MambaWeights]


class BackendContract(Contract):
    """Of a part of the kind ``backend``, named by ``config``.

    ``device``: of the tensors; skipped where the backend says that it cannot run there. ``sizes``: (sequences, tokens, channels,
    states, width of the convolution) of the problems, some of which divide no block. ``tolerance``: relative, by dtype.
    """

    kind = "backend"
    device: ClassVar[str] = "cpu"
    sizes: ClassVar[Sequence[tuple[int, int, int, int, int]]] = ((1, 1, 1, 1, 1), (3, 5, 8, 4, 4), (17, 7, 5, 3, 2))
    tolerance: ClassVar[dict[torch.dtype, float]] = {torch.float64: 1e-10, torch.float32: 1e-4}

    def problem(self, size: tuple[int, int, int, int, int], dtype: torch.dtype) -> Problem:
        """Tokens (B, L) and weights, the same at every call."""
        if (missing := self.part.fact("missing", self.device)) is not None:
            pytest.skip(f"it cannot run here: {missing}")
        from fsg.hypernetworks.slow_net import Mamba

        sequences, tokens, channels, states, width = size
        torch.manual_seed(0)
        net = Mamba(1, channels, states, width).to(self.device, dtype)
        x = torch.randn(sequences, tokens, dtype=dtype, device=self.device)
        return x, net.weights()

    def test_output_and_every_gradient_are_those_of_the_reference(self) -> None:
        """By name, for the last output and for all of them."""
        scan = resolved(self.part.build)
        for dtype, tolerance in self.tolerance.items():
            for size in self.sizes:
                for outputs in {1, size[1]}:
                    tokens, weights = self.problem(size, dtype)
                    self._same(
                        _everything(scan, tokens, weights, outputs),
                        _everything(reference, tokens, weights, outputs),
                        tolerance,
                        f"sizes {size}, {outputs} outputs, {dtype}",
                    )

    def test_sequences_laid_end_to_end_are_the_same(self) -> None:
        """Where it has a ``flat`` twin."""
        flat = self.part.facts.get("flat")
        if flat is None:
            pytest.skip("it has none")
        scan, lengths, outputs = resolved(flat), [5, 1, 7], [2, 1, 7]
        tokens, weights = self.problem((1, sum(lengths), 5, 3, 2), torch.float64)

        def each(tokens_BL: Tensor, weights: MambaWeights, _: int) -> Tensor:
            parts = tokens_BL[0].split(lengths)
            return torch.cat([reference(p[None], weights, n)[0] for p, n in zip(parts, outputs, strict=True)])

        def whole(tokens_BL: Tensor, weights: MambaWeights, _: int) -> Tensor:
            found: Tensor = scan(tokens_BL[0], lengths, outputs, weights)
            return found

        found, expected = _everything(whole, tokens, weights, 0), _everything(each, tokens, weights, 0)
        self._same(found, expected, self.tolerance[torch.float64], "sequences of 5, 1 and 7 tokens")

    @staticmethod
    def _same(found: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float, where: str) -> None:
        for name, value in expected.items():
            scale = value.abs().max().item() or 1.0
            off = (found[name] - value).abs().max().item() / scale
            assert off <= tolerance, f"{where}: {name} is off by {off:.1e} of its largest, more than {tolerance:.0e}."


def _everything(
    scan: Callable[[Tensor, MambaWeights, int], Tensor], tokens: Tensor, weights: MambaWeights, outputs: int
) -> dict[str, Tensor]:
    """Output, and the gradient of each input by name, for one upstream gradient."""
    inputs = {"tokens": tokens, **weights._asdict()}
    leaves = {name: value.detach().clone().requires_grad_() for name, value in inputs.items()}
    y = scan(leaves["tokens"], weights._replace(**{n: v for n, v in leaves.items() if n != "tokens"}), outputs)
    upstream = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    gradients = torch.autograd.grad(y, list(leaves.values()), upstream)
    return {"output": y.detach(), **{f"d{name}": g for name, g in zip(leaves, gradients, strict=True)}}
