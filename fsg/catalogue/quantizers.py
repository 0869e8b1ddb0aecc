"""Weight quantisers; the table of their formulas is in ``fsg/quantizers.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from fsg.parts import register
from fsg.section import Section, WrittenAs, as_tuple

Bits = Annotated[int, Field(ge=1, le=8)]


class HawqRule(Section):
    """Bits per layer from its curvature: the least sum of trace times quantisation error with ``average`` bits a weight at most.

    HAWQ-V2 (arXiv:1911.03852); fsg/train/bits.py has the equation.

    Args:
        rule: The rule.
        average: The most bits a weight, on average.
        allowed: The numbers of bits that a layer may have.
        probes: Random vectors that the traces are estimated with.
    """

    rule: Literal["hawq"] = "hawq"
    average: Annotated[float, Field(ge=1, le=8)]
    allowed: Annotated[tuple[Bits, ...], BeforeValidator(as_tuple), Field(min_length=1)] = (1, 2, 4, 8)
    probes: Annotated[int, Field(ge=1, le=10_000)] = 32

    @model_validator(mode="after")
    def _fits(self) -> HawqRule:
        if self.average < min(self.allowed):
            raise ValueError(
                f"average is {self.average:g}, but the fewest bits that a layer may have are {min(self.allowed)}; "
                "raise average, or allow fewer."
            )
        return self


def _flat(value: Any) -> Any:
    """Bits by dotted name of a layer: names nested at their dots are put together; of two values the later one counts."""
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, inner in value.items():
        below = _flat(inner)
        found |= (
            {f"{key}.{rest}": bits for rest, bits in below.items()} if isinstance(below, dict) else {str(key): below}
        )
    return found


def _kind(value: Any) -> str:
    return "<rule>" if isinstance(value, Mapping | HawqRule) else "<number>"


class Dorefa(Section):
    """W~ = tanh W / (2 max|tanh W|) + 1/2, rounded to k bits.

    Args:
        bits: k, or a rule that gives each layer its own.
        layers: k of single layers, by their name, as in ``layers: {conv1: 4}``.
    """

    name: Literal["dorefa"] = "dorefa"
    # Names in brackets are no keys of a file (fsg/yaml_source.py).
    bits: Annotated[Annotated[Bits, Tag("<number>")] | Annotated[HawqRule, Tag("<rule>")], Discriminator(_kind)] = 1
    layers: Annotated[dict[str, Bits], BeforeValidator(_flat), WrittenAs(lambda: dict[str, Bits | dict[str, Any]])] = (
        Field(default_factory=dict)
    )


class Bwn(Section):
    """alpha sign(W).

    Args:
        name: alpha = mean|W| of the layer (``bwn``) or of each output channel (``bwn_channel``); ``bwn_reference`` has no
            alpha and sign(0) = 0, as the reference code.
    """

    name: Literal["bwn", "bwn_channel", "bwn_reference"] = "bwn"


class FloatWeights(Section):
    """No quantiser: float weights, for pre-training."""

    name: Literal["none"] = "none"


QuantizerConfig = Dorefa | Bwn | FloatWeights


def _bits(config: Dorefa) -> float:
    """Of a layer that has none of its own; of a rule, the most that it gives on average."""
    return config.bits.average if isinstance(config.bits, HawqRule) else config.bits


def _per_layer(config: Dorefa) -> str | None:
    return "fsg.train.bits:assign" if config.layers or isinstance(config.bits, HawqRule) else None


def _one_bit(config: Dorefa) -> bool:
    return config.bits == 1 and not config.layers


def _shared(config: Dorefa) -> bool:
    return _per_layer(config) is None


register("quantizer", Dorefa, "fsg.quantizers:dorefa", bits=_bits, per_layer=_per_layer, sign=_one_bit, fusable=_shared)
register("quantizer", Bwn, "fsg.quantizers:bwn", names=["bwn", "bwn_channel"], sign=lambda config: True, fusable=True)
register("quantizer", Bwn, "fsg.quantizers:bwn_reference", names=["bwn_reference"], fusable=True)
register("quantizer", FloatWeights, "fsg.quantizers:float_weights", bits=lambda config: None)
