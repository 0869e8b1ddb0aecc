"""What every quantizer must do."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor

from fsg.quantizers import AllLayers, Quantized, Quantizer, make_quantizer
from fsg.testing.contract import Contract
from fsg.testing.training import assert_resumes, same_bits, small_images

_SHAPES = ((16, 1, 3, 3), (7, 5), (1, 1), (10, 301))


class QuantizerContract(Contract):
    """Of a part of the kind ``quantizer``. ``values``: how many one output channel may take where it is not 2^bits."""

    kind = "quantizer"
    values: ClassVar[int | None] = None

    def make(self) -> Quantizer:
        """The quantizer. The test is skipped for one that leaves weights float."""
        made = make_quantizer(self.section)
        if made is None:
            pytest.skip("weights stay float")
        return made

    def test_it_is_made_unless_its_fact_says_that_weights_stay_float(self) -> None:
        """``bits`` is None where there is no quantizer, else a whole number."""
        bits, made = self.fact("bits"), make_quantizer(self.section)
        assert (bits is None) == (made is None), (
            f"the fact bits is {bits!r} and the quantizer {made!r}; of float weights both are None."
        )
        assert bits is None or (isinstance(bits, int) and bits >= 1), f"the fact bits is {bits!r}, expected 1 or more."

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_every_stage_is_finite_and_keeps_shape_and_dtype(self, dtype: torch.dtype) -> None:
        """For weights of all sizes, and for a layer of zeros."""
        quantizer = self.make()
        for weight in (
            *weights(dtype),
            torch.zeros(2, 3, dtype=dtype),
            100 * weights(dtype)[0],
            1e-6 * weights(dtype)[1],
        ):
            for name, part in _stages(quantizer(weight)):
                assert part.shape == weight.shape, f"{name} has the shape {tuple(part.shape)} of {tuple(weight.shape)}."
                assert part.dtype == dtype, f"{name} is {part.dtype} of a weight in {dtype}."
                assert torch.isfinite(part).all(), (
                    f"{name} is not finite for a weight from {weight.min():.3g} to {weight.max():.3g}; a layer may be all zeros."
                )

    def test_no_stage_has_a_graph_or_moves_with_the_weight(self) -> None:
        """The stages are remembered while the weight moves, which itself is left as it was."""
        weight = weights()[0].requires_grad_()
        before = weight.detach().clone()
        made = self.make()(weight)
        assert torch.equal(weight, before), "The latent weight was changed in place."
        kept = [(name, part.detach().clone()) for name, part in _stages(made)]
        with torch.no_grad():
            weight += 1
        for (name, part), (_, was) in zip(_stages(made), kept, strict=True):
            assert not part.requires_grad, f"{name} has a graph; write @torch.no_grad() above __call__."
            assert torch.equal(part, was), f"{name} is the latent weight itself, not a copy; clone it."

    def test_a_channel_takes_no_more_values_than_its_bits_allow(self) -> None:
        """2^bits, of the weights that share the finest scale there is: an output channel."""
        quantizer, most = self.make(), self.values or 2 ** self.fact("bits")
        for weight in weights():
            for channel in quantizer(weight).value:
                found = len(channel.unique())
                assert found <= most, (
                    f"an output channel takes {found} values, of {self.fact('bits')} bits at most {most}; round, or state bits."
                )

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    def test_all_layers_at_once_are_each_layer_alone_bit_for_bit(self, dtype: torch.dtype) -> None:
        """A training step quantises all layers end to end."""
        quantizer, layers = self.make(), [*weights(dtype), torch.zeros(3, 2, dtype=dtype)]
        together = quantizer(torch.cat([w.flatten() for w in layers]), AllLayers([w.shape for w in layers]))
        stages = ([part for _, part in _stages(quantizer(layer))] for layer in layers)
        alone = [torch.cat([part.flatten() for part in parts]) for parts in zip(*stages, strict=True)]
        for (name, part), one in zip(_stages(together), alone, strict=True):
            assert same_bits(part, one), (
                f"{name} of all layers at once is not that of each alone; ask scope for largest, mean or channel_mean in "
                "place of weight.max() and weight.mean()."
            )

    def test_one_configuration_is_one_quantizer(self) -> None:
        """A network's layers must be seen to share it."""
        self.make()
        assert make_quantizer(self.section) == make_quantizer(self.section), (
            "Two quantizers of one configuration are not equal; make its class a @dataclass(frozen=True)."
        )

    def test_a_trial_with_it_resumes_to_the_bit(self) -> None:
        """Stopped within an epoch and between two."""
        assert_resumes(self.make_trial(), small_images())


def weights(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Latent weights of layers of several shapes, the same at every call."""
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=rng, dtype=torch.float64).to(dtype) for shape in _SHAPES]


def _stages(quantized: Quantized) -> list[tuple[str, Tensor]]:
    return [(name, part) for name, part in zip(Quantized._fields, quantized, strict=True) if part is not None]
