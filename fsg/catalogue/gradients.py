"""Gradient estimators: what stands in for the derivative of the quantiser's step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from fsg.parts import names, register
from fsg.section import OneOf, Rate, Section, Share, Width

Gain = Literal["bounded", "locked", "free"]


Update = Literal["mix", "reference"]
MetaSchedule = Literal["base", "constant", "step", "cosine", "linear"]


class FastNetConfig(Section):
    """F, the MLP of one weight.

    Args:
        hidden: Hidden units.
        lr: Learning rate of its Adam.
    """

    hidden: Width = 16
    lr: Rate = 4e-3


class SlowNetConfig(Section):
    """S, the network over the history of gradients.

    Args:
        d_inner: Channels of Mamba; units of an LSTM. A FIR filter has no sizes.
        d_state: Mamba: states of each channel.
        d_conv: Mamba: width of the convolution before the scan.
        lr: Learning rate of its Adam.
        backend: What computes Mamba's scan; changes no result beyond rounding. ``auto`` takes the fastest that runs here.
    """

    d_inner: Width = 8
    d_state: Annotated[int, Field(ge=1, le=256)] = 4
    d_conv: Annotated[int, Field(ge=1, le=64)] = 8
    lr: Rate = 1.2e-2
    backend: Annotated[str, OneOf(lambda: ("auto", *names("backend")))] = "auto"


class Ste(Section):
    """The straight-through estimator: d = c g. Nothing learnt."""

    name: Literal["ste"] = "ste"


class Ema(Section):
    """Sham control: a moving average of g, nothing learnt. What momentum alone gives.

    Args:
        beta: Share of the past in the average: 0 is the newest gradient alone.
    """

    name: Literal["ema"] = "ema"
    beta: Share = 0.5


class Scalar(Section):
    """Sham control: one learnt positive factor per layer. What a learnt step size alone gives.

    Args:
        lr: Learning rate of the factors.
        gain: ``bounded`` keeps the RMS of each layer's direction within a quarter and four times that of the straight-through
            one, ``locked`` makes them equal, ``free`` leaves it (docs/method.md, section 4).
    """

    name: Literal["scalar"] = "scalar"
    lr: Rate = 1e-3
    gain: Gain = "bounded"


class MetaQuant(Section):
    """MetaQuant's estimators, by a small network per weight.

    Args:
        name: ``multi_fc`` m = g F(W~), ``fc_grad`` m = FC(g), ``lstm_fc`` m = g FC(LSTM(W~)).
        fast: The small network.
        gain: ``bounded`` keeps the RMS of each layer's direction within a quarter and four times that of the straight-through
            one, ``locked`` makes them equal, ``free`` leaves it (docs/method.md, section 4).
        update: ``mix``: our step; ``reference``: as the reference code steps, for parity with it alone (docs/method.md).
        meta_schedule: Schedule of the meta-optimizer's rate: that of the base optimizer, or another kind with its settings.
    """

    name: Literal["multi_fc", "fc_grad", "lstm_fc"] = "multi_fc"
    fast: FastNetConfig = FastNetConfig()
    gain: Gain = "bounded"
    update: Update = "mix"
    meta_schedule: MetaSchedule = "base"


class Gate(Section):
    """A learned gate on each weight's step, and its sham.

    Args:
        name: ``gate``, or its sham ``gate_permuted``, whose gates are permuted within a layer.
        length: Past gradients of a weight that the gate sees.
        hidden: Hidden units of the gate's MLP.
        lr: Learning rate of its Adam.
        meta_schedule: Schedule of the meta-optimizer's rate: that of the base optimizer, or another kind with its settings.
    """

    name: Literal["gate", "gate_permuted"] = "gate"
    length: Annotated[int, Field(ge=2, le=1024)] = 5
    hidden: Width = 16
    lr: Rate = 1e-3
    meta_schedule: MetaSchedule = "base"


class HandGate(Section):
    """An untrained gate: k ~ exp(-3 |W| / RMS W) where step and gradient agree, mean 1 in every layer."""

    name: Literal["hand_gate"] = "hand_gate"


class Fsg(Section):
    """Fast and slow generation: m = beta slow + (1 - beta) fast, and its three switches.

    Args:
        hgs: Historical Gradient Storage: the slow-net sees the last ``length`` gradients of each weight; off: the newest
            alone.
        fsg: Fast and Slow Generation: fast-net and slow-net are mixed; off: the slow-net alone.
        lre: Layer Recognition Embedding: a learnt embedding tells the nets which layer they serve.
        beta: Share of the slow-net in the mixture.
        length: Gradients that are kept of each weight.
        fast: The fast-net.
        slow: The slow-net.
        slow_net: What reads the history: Mamba, an LSTM, or a FIR filter.
        lre_size: Numbers in the embedding of a layer.
        layout: Each weight its own short sequence, or a layer one long one.
        normalization: ``rms``: gradients divided by the layer's RMS before the slow-net; ``none``: raw.
        init: ``ste`` starts where m = g; ``random`` anywhere.
        gain: ``bounded`` keeps the RMS of each layer's direction within a quarter and four times that of the straight-through
            one, ``locked`` makes them equal, ``free`` leaves it (docs/method.md, section 4).
        update: ``mix``: our step; ``reference``: as the reference code steps, for parity with it alone (docs/method.md).
        meta_schedule: Schedule of the meta-optimizer's rate: that of the base optimizer, or another kind with its settings.
    """

    name: Literal["fsg"] = "fsg"
    hgs: bool = True
    fsg: bool = True
    lre: bool = True
    beta: Share = 0.5
    length: Annotated[int, Field(ge=1, le=1024)] = 5
    fast: FastNetConfig = FastNetConfig()
    slow: SlowNetConfig = SlowNetConfig()
    slow_net: Literal["mamba", "lstm", "fir"] = "mamba"
    lre_size: Annotated[int, Field(ge=1, le=64)] = 4
    layout: Literal["per_weight", "flattened"] = "per_weight"
    normalization: Literal["rms", "none"] = "rms"
    init: Literal["ste", "random"] = "ste"
    gain: Gain = "bounded"
    update: Update = "mix"
    meta_schedule: MetaSchedule = "base"

    @model_validator(mode="after")
    def _fits_together(self) -> Fsg:
        if self.layout == "flattened" and self.slow_net == "fir":
            raise ValueError(
                "slow_net fir filters each weight's own history; use layout: per_weight, or slow_net: mamba."
            )
        if self.update == "reference":
            wanted: dict[str, Any] = {"layout": "flattened", "normalization": "none", "gain": "free", "init": "random"}
            wanted |= {"slow_net": "mamba", "hgs": True, "fsg": True, "lre": True, "lre_size": 1}
            wrong = [f"{key}: {json.dumps(value)}" for key, value in wanted.items() if getattr(self, key) != value]
            if wrong:
                raise ValueError(f"update: reference is the reference code as it is; it needs {', '.join(wrong)}.")
        return self

    @property
    def history_length(self) -> int:
        """L as the switch leaves it: without Historical Gradient Storage only the newest gradient is seen."""
        return self.length if self.hgs else 1


GradientConfig = Ste | Ema | Scalar | MetaQuant | Fsg | Gate | HandGate

# What a trial with it cannot report, and why.
_OF_THE_DIRECTION = ("gain", "cosine", "uphill")  # of the generated direction, beside the straight-through one
_REFERENCE = "gradient.update: reference does not compare its direction with another"
_BY_NUMBER = "the reference's step takes its rate as a number"


def _straight(config: Section) -> dict[str, str]:
    why = f"gradient {getattr(config, 'name', '')} moves along the straight-through direction itself"
    return dict.fromkeys(_OF_THE_DIRECTION, why)


def _as_reference(config: MetaQuant | Fsg) -> dict[str, str]:
    return dict.fromkeys(_OF_THE_DIRECTION, _REFERENCE) if config.update == "reference" else {}


def _reference_step(config: MetaQuant | Fsg) -> str | None:
    return "fsg.train.reference_step:make_reference_step" if config.update == "reference" else None


def _captured_unless_reference(config: MetaQuant | Fsg) -> str | None:
    return _BY_NUMBER if config.update == "reference" else None


def _reads_progress(config: Gate | HandGate) -> str:
    return f"gradient {config.name} reads the progress of training as a number"


def _switched_off(config: Fsg) -> dict[str, Any]:
    """Options that do nothing: what is switched off has none, and a history of length 1 is none."""
    unused: dict[str, Any] = {"hgs": None, "length": config.history_length}
    unused |= {} if config.fsg else {"beta": None, "fast": None}
    return unused | ({} if config.lre else {"lre_size": None})


def _fused_scan(config: Fsg) -> Fsg:
    """With the backend that torch sees nothing of: Mamba's operations are counted by formula."""
    if config.slow_net != "mamba":
        return config
    return config.model_copy(update={"slow": config.slow.model_copy(update={"backend": "cpu"})})


def _twin(name: str) -> Callable[[Section], str | None]:
    """The twin of that name for packs; the reference's step has none."""
    return lambda config: None if getattr(config, "update", "mix") == "reference" else f"fsg.gradients.rows:{name}"


def _twin_of_fsg(config: Fsg) -> str | None:
    """A sequence over all weights of a layer, and an LSTM, gain nothing from others beside them: both have no twin."""
    one = config.layout == "flattened" or config.slow_net == "lstm"
    return None if one else _twin("FastSlowRows")(config)


_OF_METAQUANT: dict[str, Any] = {
    "unreported": _as_reference,
    "own_step": _reference_step,
    "uncapturable": _captured_unless_reference,
}

register(
    "gradient",
    Ste,
    "fsg.gradients.baselines:straight_through",
    unreported=_straight,
    fusable=_twin("StraightThroughRows"),
)
register("gradient", Ema, "fsg.gradients.baselines:MovingAverage", fusable=_twin("MovingAverageRows"))
register("gradient", Scalar, "fsg.gradients.baselines:LearnedScale", fusable=_twin("LearnedScaleRows"))
register(
    "gradient",
    MetaQuant,
    "fsg.gradients.metaquant:MultiFcEstimator",
    names=["multi_fc"],
    fusable=_twin("MultiFcRows"),
    **_OF_METAQUANT,
)
register(
    "gradient",
    MetaQuant,
    "fsg.gradients.metaquant:FcGradEstimator",
    names=["fc_grad"],
    fusable=_twin("FcGradRows"),
    **_OF_METAQUANT,
)
register("gradient", MetaQuant, "fsg.gradients.metaquant:LstmFcEstimator", names=["lstm_fc"], **_OF_METAQUANT)
register(
    "gradient",
    Fsg,
    "fsg.gradients.fsg:FastSlowEstimator",
    memory_steps=lambda config: config.length,
    flops="fsg.gradients.fsg:slow_net_flops",
    counted_as=_fused_scan,
    unused=_switched_off,
    fusable=_twin_of_fsg,
    **_OF_METAQUANT,
)
register(
    "gradient",
    Gate,
    "fsg.gradients.gate:GateEstimator",
    memory_steps="fsg.gradients.gate:memory_steps",
    unreported=_straight,
    uncapturable=_reads_progress,
    gates=True,
)
register(
    "gradient",
    HandGate,
    "fsg.gradients.gate:hand_gate",
    unreported=_straight,
    uncapturable=_reads_progress,
    gates=True,
    fusable=_twin("HandGateRows"),
)
