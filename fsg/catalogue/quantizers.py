"""Weight quantisers; the table of their formulas is in ``fsg/quantizers.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fsg.parts import register
from fsg.section import Section


class Dorefa(Section):
    """W~ = tanh W / (2 max|tanh W|) + 1/2, rounded to k bits."""

    name: Literal["dorefa"] = "dorefa"
    bits: Annotated[int, Field(ge=1, le=8)] = 1


class Bwn(Section):
    """alpha sign(W), with alpha = mean|W| of the layer (``bwn``) or of each output channel (``bwn_channel``).

    ``bwn_reference`` has no alpha and sign(0) = 0, as the reference code.
    """

    name: Literal["bwn", "bwn_channel", "bwn_reference"] = "bwn"


class FloatWeights(Section):
    """No quantiser: float weights, for pre-training."""

    name: Literal["none"] = "none"


QuantizerConfig = Dorefa | Bwn | FloatWeights

register("quantizer", Dorefa, "fsg.quantizers:dorefa", bits=lambda config: config.bits, fusable=True)
register("quantizer", Bwn, "fsg.quantizers:bwn", names=["bwn", "bwn_channel"], fusable=True)
register("quantizer", Bwn, "fsg.quantizers:bwn_reference", names=["bwn_reference"], fusable=True)
register("quantizer", FloatWeights, "fsg.quantizers:float_weights", bits=lambda config: None)
