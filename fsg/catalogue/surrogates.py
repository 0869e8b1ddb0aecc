"""Surrogate curves of the sign: the shapes that studies name, and the gradient estimator ``surrogate``.

What each computes and where that was read is in ``fsg/ops/curves.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from fsg.nearest import did_you_mean
from fsg.parts import register
from fsg.section import ByName, Section

Steepness = Annotated[float, Field(ge=1e-4, le=1e4)]


class Clipped(Section):
    """1 where |x| <= ``clip``, else 0: the clipped straight-through estimator.

    Args:
        clip: Half the width of the window.
    """

    name: Literal["clipped"] = "clipped"
    clip: Annotated[float, Field(gt=0, le=1e4)] = 1.0


class BiReal(Section):
    """2 - 2 |x| where |x| <= 1, else 0: Bi-Real Net's, which has no options."""

    name: Literal["bireal"] = "bireal"


class Swish(Section):
    """The derivative of BNN+'s SignSwish, steeper with ``beta``.

    Args:
        beta: Steepness.
    """

    name: Literal["swish"] = "swish"
    beta: Annotated[float, Field(gt=0, le=1e4)] = 5.0


class _Annealed(Section):
    """Its steepness t grows in equal factors over training.

    Args:
        t_first: Steepness t when training begins.
        t_last: The same when it ends.
    """

    t_first: Steepness = 1.0
    t_last: Steepness = 10.0

    @model_validator(mode="after")
    def _grows(self) -> _Annealed:
        if self.t_last < self.t_first:
            raise ValueError(f"t_last is {self.t_last:g}, below t_first {self.t_first:g}; a curve grows steeper.")
        return self


class Ede(_Annealed):
    """k t (1 - tanh^2(t x)), k = max(1/t, 1): IR-Net's error decay estimator."""

    name: Literal["ede"] = "ede"
    t_first: Steepness = 0.1


class Rbnn(_Annealed):
    """k max(sqrt(2) t - t^2 |x|, 0), k = max(1/t, 1): RBNN's."""

    name: Literal["rbnn"] = "rbnn"
    t_first: Steepness = 0.01


class Reste(Section):
    """(1/o) |x|^((1 - o)/o), o from 1 to ``o_last``: ReSTE's.

    Args:
        o_last: o when training ends.
        inner: Below this |x| a chord stands for the curve, which has no bound at 0.
        outer: Beyond this |x| the curve is 0.
    """

    name: Literal["reste"] = "reste"
    o_last: Annotated[float, Field(ge=1, le=100)] = 3.0
    inner: Annotated[float, Field(gt=0, le=1e4)] = 0.1
    outer: Annotated[float, Field(gt=0, le=1e4)] = 1.5

    @model_validator(mode="after")
    def _is_a_range(self) -> Reste:
        if self.outer <= self.inner:
            raise ValueError(f"outer is {self.outer:g}, expected more than inner {self.inner:g}.")
        return self


class Fda(Section):
    """The derivative of a square wave's first n + 1 sines where |x| <= 1, n from ``n_first`` to ``n_last``: FDA-BNN's.

    Without its noise adaptation module, a learnt network beside the curve.

    Args:
        omega: Frequency of the square wave.
        n_first: n when training begins.
        n_last: The same when it ends.
    """

    name: Literal["fda"] = "fda"
    omega: Annotated[float, Field(gt=0, le=1e4)] = 0.1
    n_first: Annotated[int, Field(ge=0, le=10_000)] = 9
    n_last: Annotated[int, Field(ge=0, le=10_000)] = 18

    @model_validator(mode="after")
    def _grows(self) -> Fda:
        if self.n_last < self.n_first:
            raise ValueError(f"n_last is {self.n_last}, below n_first {self.n_first}; terms are added over training.")
        return self


class Tanh(_Annealed):
    """t (1 - tanh^2(t x)): the derivative of tanh(t x)."""

    name: Literal["tanh"] = "tanh"


class Arctan(_Annealed):
    """(2/pi) t / (1 + (t x)^2): the derivative of (2/pi) arctan(t x)."""

    name: Literal["arctan"] = "arctan"


_Shapes = Clipped | BiReal | Swish | Ede | Rbnn | Reste | Fda | Tanh | Arctan
Shape = Annotated[Annotated[_Shapes, Field(discriminator="name")], ByName]


class Surrogate(Section):
    """A fixed curve in place of the derivative of the sign: d = scale F'(x) dx/dW g. Nothing learnt.

    Args:
        shape: The curve F'.
    """

    name: Literal["surrogate"] = "surrogate"
    shape: Shape = Clipped()


class Sign(Section):
    """Sign activations whose gradient passes by a curve.

    Args:
        surrogate: The curve.
    """

    name: Literal["sign"] = "sign"
    surrogate: Shape = Clipped()


def _activations(value: Any) -> Any:
    """A name alone where nothing else is said: ``sign`` is the clipped curve."""
    if isinstance(value, Mapping):
        if dict(value) == {"name": "float"}:
            return "float"
        value = Sign.model_validate(value)
    if isinstance(value, Sign):
        return value if value.surrogate != Clipped() else "sign"
    if value not in ("float", "sign"):
        allowed = "float, sign, or {name: sign, surrogate: ...}"
        raise ValueError(f"is {value!r}, allowed: {allowed}.{did_you_mean(str(value), ['float', 'sign'])}")
    return value


Activations = Annotated[Literal["float", "sign"] | Sign, BeforeValidator(_activations)]

register("gradient", Surrogate, "fsg.gradients.surrogate:SurrogateEstimator", reads_sign=True)
