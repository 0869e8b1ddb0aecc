"""Bits per layer: those that a study names, and those that HAWQ-V2's rule chooses from curvature.

    Omega(b) = sum over layers  (trace H_l / n_l) norm(Q_b(W_l) - W_l)^2,  least where  sum n_l b_l <= average sum n_l

HAWQ-V2 (arXiv:1911.03852); in the authors' code (ILP.ipynb of Zhen-Dong/HAWQ) as here the trace is per weight, the error squared,
and an integer program chooses. H_l is the Hessian of the loss in the layer's weights before rounding, on training images and with
their own BatchNorm statistics, at the weights that training starts from: give it pre-trained ones (``model.pretrained``), as
the authors do. A trace per weight below a thousandth of the largest counts as that much: where the start is no minimum, traces
of layers before a BatchNorm are below zero (-57, -104, -49 beside 9 in the classifier of digits_cnn at random weights).
DoReFa's own scale is no error, so W_l stands for 2 W~ - 1, which Q_b rounds.
Proof: ``tests/train/test_bits.py``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fsg.catalogue.quantizers import Dorefa, HawqRule
from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.layers import QuantLayer, quantized_layers
from fsg.models import build_model
from fsg.nearest import did_you_mean
from fsg.quantizers import ONE_LAYER, DorefaQuantizer, Quantized, Quantizer, Scope
from fsg.train.hessian import Loss, Products
from fsg.train.seeds import generator

_log = logging.getLogger("fsg")
ANY_IMAGE = (3, 32, 32)


class PerLayer:
    """Quantises layers that lie end to end, each by its own quantiser."""

    def __init__(self, quantizers: Sequence[Quantizer], shapes: Sequence[torch.Size]) -> None:
        self.quantizers, self.shapes = list(quantizers), list(shapes)

    def __call__(self, weight: Tensor, scope: Scope = ONE_LAYER) -> Quantized:
        """Of all layers' latent weights, (N,)."""
        parts = weight.split([shape.numel() for shape in self.shapes])
        layers = zip(self.quantizers, parts, self.shapes, strict=True)
        stages = zip(*(quantizer(part.view(shape)) for quantizer, part, shape in layers), strict=True)
        return Quantized(*map(_joined, stages))


def _joined(stage: Sequence[Tensor | None]) -> Any:
    """A stage of all layers; None where one has none, as a layer of several bits takes no sign."""
    known = [each.flatten() for each in stage if each is not None]
    return torch.cat(known) if len(known) == len(stage) else None


def assign(config: Dorefa, model: nn.Module, loss: Loss, seed: int) -> dict[str, int]:
    """Give each quantised layer its own bits, and say which. ConfigError for a layer that there is none of, or too few bits.

    ``loss`` is asked, and ``seed`` counts, only where a rule chooses.
    """
    layers = quantized_layers(model)
    check_names(config.layers, list(layers))
    chosen = dict(config.layers)
    free = {name: layer for name, layer in layers.items() if name not in chosen}
    if not isinstance(config.bits, HawqRule):
        chosen |= dict.fromkeys(free, config.bits)
    elif free:
        rule = config.bits
        sizes = {name: layer.weight.numel() for name, layer in layers.items()}
        left = rule.average * sum(sizes.values()) - sum(sizes[name] * bits for name, bits in chosen.items())
        fewest = min(rule.allowed) * sum(sizes[name] for name in free)
        if left < fewest:
            raise ConfigError(
                f"quantizer.bits.average is {rule.average:g}, but quantizer.layers leaves the {len(free)} other layers "
                f"{left / sum(sizes[name] for name in free):.2f} bits a weight, fewer than are allowed; raise average."
            )
        weights = sensitivities({n: t / sizes[n] for n, t in layer_traces(model, loss, rule.probes, seed).items()})
        costs = [[weights[n] * rounding_error(layer, bits) for bits in rule.allowed] for n, layer in free.items()]
        chosen |= dict(zip(free, least(costs, [sizes[n] for n in free], rule.allowed, left), strict=True))
    set_bits(model, chosen)
    return {name: chosen[name] for name in layers}


def sensitivities(traces: Mapping[str, float]) -> dict[str, float]:
    """The traces per weight, the small and those below zero as a thousandth of the largest; those below are said."""
    below = [f"{name} {trace:.3g}" for name, trace in traces.items() if trace < 0]
    if below:
        _log.warning(
            "quantizer.bits: the Hessian's trace is below zero in %s, for training does not start near a minimum; there rounding "
            "error alone decides. Name weights that were trained in float, as in model.pretrained.",
            ", ".join(below),
        )
    least_counted = max(traces.values()) / 1000 if max(traces.values()) > 0 else 1.0
    return {name: max(trace, least_counted) for name, trace in traces.items()}


def set_bits(model: nn.Module, bits: Mapping[str, int]) -> None:
    """DoReFa at these bits in each quantised layer."""
    for name, layer in quantized_layers(model).items():
        layer.quantizer = DorefaQuantizer(bits[name])


def check_names(wanted: Mapping[str, int], names: Sequence[str]) -> None:
    """ConfigError where bits are given to a layer that is not among the quantised ones."""
    for name in wanted:
        if name not in names:
            raise ConfigError(
                f'quantizer.layers names "{name}", which is no quantised layer of this network.{did_you_mean(name, names)} '
                f"Allowed: {', '.join(names)}."
            )


def layer_names(config: TrialConfig) -> list[str]:
    """The quantised layers of a trial's network, which are the same for images of any shape."""
    return list(quantized_layers(unfilled_model(config)))


def unfilled_model(config: TrialConfig) -> nn.Module:
    """A trial's network without numbers, for images of some shape: its layers and the names of its weights."""
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        return build_model(config, ANY_IMAGE, 10)


def layer_traces(model: nn.Module, loss: Loss, probes: int, seed: int) -> dict[str, float]:
    """Trace of the Hessian of each layer's block, by Hutchinson's estimate with ``probes`` vectors of signs.

    In the weights before rounding. The model stays as it is, its BatchNorm statistics too.
    """
    return Products(model, loss, unrounded).traces(probes, generator(seed, "bits"))


def unrounded(layer: QuantLayer) -> Tensor:
    """2 W~ - 1, which DoReFa would round to any number of bits."""
    return 2 * DorefaQuantizer()(layer.weight.detach()).pre - 1


def rounding_error(layer: QuantLayer, bits: int) -> float:
    """norm(Q_b(W) - W)^2 of a layer."""
    return (DorefaQuantizer(bits)(layer.weight.detach()).value - unrounded(layer)).square().sum().item()


def least(costs: Sequence[Sequence[float]], sizes: Sequence[int], allowed: Sequence[int], budget: float) -> list[int]:
    """Bits of each layer such that the sum of ``costs``, (layers, allowed), is least, and all together at most ``budget``.

    Exact, by integer programming.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp  # 0.5 s that few trials need

    cost, size = np.array(costs, dtype=float), np.outer(sizes, allowed).astype(float)
    one_each = np.kron(np.eye(len(sizes)), np.ones(len(allowed)))
    found = milp(
        (cost / (cost.max() or 1.0)).ravel(),
        integrality=np.ones(cost.size),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(size.ravel()[None], -np.inf, budget + 1e-6)],
        options={"mip_rel_gap": 0.0},
    )
    picked = found.x.reshape(cost.shape).argmax(1)
    return [allowed[index] for index in picked]
