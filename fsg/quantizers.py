"""Weight quantisers: latent weight W -> pre-quantised W~ = p(W) -> quantised Wq = q(W~), and the slopes around the step.

A quantiser is a pure function of one layer's latent weight, or of all layers end to end: a ``Scope`` says which weights share
a scale. The derivative of its step does not exist; what stands in for it is stated, not computed: ``calibration`` is
c = dW~/dW (max|tanh W| and alpha held constant), ``slope`` is what the straight-through estimator takes for dWq/dW: c where
its gate |W~| <= 1 is open, 0 elsewhere.

| name          | p(W)                            | Wq                                      | c                              |
|---------------|---------------------------------|-----------------------------------------|--------------------------------|
| dorefa, k bit | tanh W / (2 max|tanh W|) + 1/2  | 2 round((2^k - 1) W~) / (2^k - 1) - 1   | (1 - tanh^2 W) / max|tanh W|   |
| bwn           | W                               | mean|W| sign(W), the layer's mean       | 1                              |
| bwn_channel   | W                               | mean|W_o| sign(W), the channel's mean   | 1                              |

dorefa's c holds the outer factor 2 and its gate is always open; it rounds half to even, so W = 0 becomes -1 at one bit.
In bwn sign(0) = +1. Sources: DoReFa-Net (arXiv:1606.06160), XNOR-Net (arXiv:1603.05279).
Those of other published one-bit networks are in ``binarizers.py``. Proof: tests/test_quantizers.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from fsg.catalogue.quantizers import Bwn, Dorefa, FloatWeights, QuantizerConfig
from fsg.errors import ConfigError
from fsg.ops.spans import Spans, means
from fsg.parts import part_of


class Quantized(NamedTuple):
    """A weight and the stages of its quantisation, each of W's shape and dtype, none with a graph.

    A quantiser of a sign, Wq = offset + scale sign(x) with dx/dW = ``calibration``, also states x and scale; it is registered
    with the fact ``sign``.
    """

    pre: Tensor
    value: Tensor
    calibration: Tensor
    slope: Tensor
    at: Tensor | None = None  # x
    scale: Tensor | None = None


class Scope(Protocol):
    """Which weights of a tensor share a scale. Every answer broadcasts against the tensor."""

    progress: Tensor  # t / T, the share of training done, 0-dimensional; a slope may hang on it, a value may not

    def largest(self, magnitude: Tensor) -> Tensor:
        """The largest magnitude of a weight's layer."""

    def mean(self, magnitude: Tensor) -> Tensor:
        """The mean magnitude of a weight's layer."""

    def channel_mean(self, magnitude: Tensor) -> Tensor:
        """The mean magnitude of a weight's output channel."""

    def channel_median(self, magnitude: Tensor) -> Tensor:
        """The median of a weight's output channel, of an even number of weights the lower one."""

    def channel_size(self, weight: Tensor) -> Tensor:
        """How many weights a weight's output channel has, in ``weight``'s dtype."""


class OneLayer:
    """The tensor is one layer's weight, its first dimension the output channel. Nothing trains it: t / T is 1."""

    progress = torch.ones(())

    def largest(self, magnitude: Tensor) -> Tensor:
        """A scalar."""
        return magnitude.amax()

    def mean(self, magnitude: Tensor) -> Tensor:
        """A scalar."""
        return self._means(magnitude, 1)[0]

    def channel_mean(self, magnitude: Tensor) -> Tensor:
        """(out, 1, ...)."""
        return self._means(magnitude, len(magnitude)).view(-1, *[1] * (magnitude.dim() - 1))

    def channel_median(self, magnitude: Tensor) -> Tensor:
        """(out, 1, ...)."""
        return _lower_medians(magnitude).view(-1, *[1] * (magnitude.dim() - 1))

    def channel_size(self, weight: Tensor) -> Tensor:
        """A scalar."""
        return weight.new_tensor(weight.numel() // len(weight))

    def _means(self, magnitude: Tensor, parts: int) -> Tensor:
        lengths = torch.full((parts,), magnitude.numel() // parts, device=magnitude.device)
        return means(magnitude.flatten(), lengths)


class AllLayers(nn.Module):
    """The tensor is a flat vector of all layers, each in one call what it would be alone, bit for bit."""

    channels: Tensor  # weights of each output channel of each layer

    progress: Tensor

    def __init__(self, shapes: Sequence[torch.Size]) -> None:
        super().__init__()
        self.layers = Spans([shape.numel() for shape in shapes])
        self.outputs = [shape[0] for shape in shapes]
        self.progress = torch.ones(())
        channels = [shape.numel() // shape[0] for shape in shapes for _ in range(shape[0])]
        self.register_buffer("channels", torch.tensor(channels, dtype=torch.int64), persistent=False)

    def largest(self, magnitude: Tensor) -> Tensor:
        """(N,)."""
        return self.layers.expand(self.layers.largest(magnitude))

    def mean(self, magnitude: Tensor) -> Tensor:
        """(N,)."""
        return self.layers.expand(means(magnitude, self.layers.lengths))

    def channel_mean(self, magnitude: Tensor) -> Tensor:
        """(N,)."""
        return self._of_channels(means(magnitude, self.channels), len(magnitude))

    def channel_median(self, magnitude: Tensor) -> Tensor:
        """(N,)."""
        layers = zip(self.layers.split(magnitude), self.outputs, strict=True)
        return self._of_channels(torch.cat([_lower_medians(part.view(n, -1)) for part, n in layers]), len(magnitude))

    def channel_size(self, weight: Tensor) -> Tensor:
        """(N,)."""
        return self._of_channels(self.channels.to(weight.dtype), len(weight))

    def _of_channels(self, per_channel: Tensor, total: int) -> Tensor:
        return per_channel.repeat_interleave(self.channels, output_size=total)


def _lower_medians(rows: Tensor) -> Tensor:
    """(out, ...) -> (out,). Sorted: torch.median has no deterministic form on a GPU."""
    ordered = rows.flatten(1).sort(dim=1).values
    return ordered[:, (ordered.shape[1] - 1) // 2]


ONE_LAYER = OneLayer()


class Quantizer(Protocol):
    """Equal configurations are equal, so that a network's layers can be seen to share one."""

    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise one layer's latent weight, or with ``AllLayers`` those of all of them, end to end."""


@dataclass(frozen=True)
class DorefaQuantizer:
    """DoReFa at ``bits`` bits; values are the 2^bits evenly spaced numbers from -1 to 1."""

    bits: int = 1

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight of any shape. An all-zero layer counts max|tanh W| as 1."""
        levels = 2**self.bits - 1
        squashed = torch.tanh(weight)
        largest = scope.largest(squashed.abs())
        largest = torch.where(largest == 0, torch.ones_like(largest), largest)
        pre = squashed / largest * 0.5 + 0.5
        value = 2 * torch.round(pre * levels) / levels - 1
        calibration = (1 - squashed * squashed) / largest
        if self.bits > 1:
            return Quantized(pre, value, calibration, calibration)
        return Quantized(
            pre, value, calibration, calibration, 2 * pre - 1, torch.ones((), dtype=pre.dtype).expand_as(pre)
        )


@dataclass(frozen=True)
class BwnQuantizer:
    """Binary weights times their mean magnitude, of the layer or of each output channel (dimension 0)."""

    per_channel: bool = False

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Quantise a latent weight whose first dimension is the output channel."""
        magnitude = weight.abs()
        alpha = scope.channel_mean(magnitude) if self.per_channel else scope.mean(magnitude)
        value = torch.where(weight >= 0, alpha, -alpha)
        gate = (magnitude <= 1).to(weight.dtype)
        pre = weight.detach().clone()
        return Quantized(pre, value, torch.ones_like(weight), gate, pre, alpha.expand_as(pre))


@dataclass(frozen=True)
class ReferenceBwnQuantizer:
    """BWN as the reference code has it, for parity: sign(0) = 0, and a gradient that carries the scale.

    ``scale``: ``none`` (the layers it trains FSG with), ``layer`` or ``channel`` (its baseline layers).
    """

    scale: Literal["none", "layer", "channel"] = "none"

    @torch.no_grad()
    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER, scale_from: Tensor | None = None) -> Quantized:
        """Quantise; the scale is that of ``scale_from`` where it is given."""
        magnitude = (weight if scale_from is None else scale_from).abs()
        alpha = torch.ones_like(magnitude)
        if self.scale == "layer":
            alpha = alpha * scope.mean(magnitude)
        elif self.scale == "channel":
            alpha = alpha * scope.channel_mean(magnitude)
        slope = alpha * (weight.abs() <= 1)
        return Quantized(weight.detach().clone(), alpha * torch.sign(weight), torch.ones_like(weight), slope)


def make_quantizer(config: QuantizerConfig) -> Quantizer | None:
    """The quantiser a configuration names; None for float weights."""
    quantizer = part_of("quantizer", config)
    made: Quantizer | None = quantizer.make(config)
    if made is None and quantizer.fact("bits", config) is not None:
        raise ConfigError(
            f'{quantizer.origin}: the quantizer "{quantizer.name}" was built as None, which means float weights; '
            "return a quantizer, or state the fact bits=lambda config: None."
        )
    return made


def dorefa(config: Dorefa) -> Quantizer:
    """DoReFa at the configured bits; where a rule chooses them, at the most until it has."""
    return DorefaQuantizer(config.bits if isinstance(config.bits, int) else max(config.bits.allowed))


def bwn(config: Bwn) -> Quantizer:
    """BWN by layer, or by output channel."""
    return BwnQuantizer(per_channel=config.name == "bwn_channel")


def bwn_reference(config: Bwn) -> Quantizer:
    """BWN without a scale, as the reference code trains FSG with."""
    return ReferenceBwnQuantizer()


def float_weights(config: FloatWeights) -> None:
    """None: weights stay float."""


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, latent: Tensor, quantized: Quantized, quantizer: Quantizer | None) -> Tensor:
        ctx.save_for_backward(quantized.pre, quantized.slope)
        ctx.quantizer = quantizer
        return quantized.value.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        pre, slope = ctx.saved_tensors
        return to_latent(ctx.quantizer, slope * grad, pre, ONE_LAYER), None, None


def straight_through(latent: Tensor, quantized: Quantized, quantizer: Quantizer | None = None) -> Tensor:
    """The quantised value, with dWq/dW := slope for autograd; of a standardised weight, back to the latent one."""
    return _StraightThrough.apply(latent, quantized, quantizer)


def to_latent(quantizer: Quantizer | None, direction: Tensor, pre: Tensor, scope: Scope) -> Tensor:
    """A direction of the latent weights, less what a quantiser's own ``to_latent`` takes out of it.

    Most have none. A standardised weight does not follow when its channel is shifted or scaled as a whole.
    """
    own = getattr(quantizer, "to_latent", None)
    return direction if own is None else own(direction, pre, scope)
