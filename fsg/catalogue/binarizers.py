"""Weight quantisers of published one-bit networks; the table of their formulas is in ``fsg/binarizers.py``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fsg.parts import register
from fsg.section import Section

Tau = Annotated[float, Field(gt=0.5, lt=1)]


class Xnor(Section):
    """alpha sign(W), alpha = mean |W| of the output channel, with XNOR-Net's gradient.

    Args:
        standardize: The sign is taken of each channel's weights with mean 0 and deviation 1; with ``scale: power_of_two`` as
            in IR-Net.
        scale: alpha: the mean of |W|, or the power of two next to it.
    """

    name: Literal["xnor"] = "xnor"
    standardize: bool = False
    scale: Literal["mean", "power_of_two"] = "mean"


class ReCU(Section):
    """sign of the standardised weight, without a gradient beyond the quantile tau, which grows over training.

    Args:
        tau_first: The quantile tau when training begins.
        tau_last: The same when it ends.
    """

    name: Literal["recu"] = "recu"
    tau_first: Tau = 0.85
    tau_last: Tau = 0.99

    @model_validator(mode="after")
    def _grows(self) -> ReCU:
        if self.tau_last < self.tau_first:
            raise ValueError(f"tau_last is {self.tau_last:g}, below tau_first {self.tau_first:g}; tau grows.")
        return self


class SiMaN(Section):
    """+1 for the larger half of each channel's magnitudes, -1 for the rest."""

    name: Literal["siman"] = "siman"


class AdaBin(Section):
    """Mean +- standard deviation of each output channel."""

    name: Literal["adabin"] = "adabin"


def _sign(config: Section) -> bool:
    return True


register("quantizer", Xnor, "fsg.binarizers:xnor", sign=_sign)
register("quantizer", ReCU, "fsg.binarizers:recu", sign=_sign)
register("quantizer", SiMaN, "fsg.binarizers:siman", sign=_sign)
register("quantizer", AdaBin, "fsg.binarizers:adabin", sign=_sign)
