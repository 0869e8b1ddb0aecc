"""The reference code's training step, for checking against its numbers (``update: reference``).

It differs from ``step.py`` so. The forward is measured beside the weights that are kept:

    FSG        W' = W - eta (beta slow + (1 - beta) c fast)       raw gradients, slow not calibrated
    MetaQuant  W' = W - eta (last step's refined gradient)        with the derivative of W - eta c m
    kept       W <- W - eta pi(c fast), or W - eta pi(c m)        the slow gradient never reaches the weights

The very first step updates nothing but BatchNorm's running statistics; a bias is stepped a second time in the forward; the
hypernetworks' gradients carry eta; Adam adds its eps before the bias correction. History layout: one flat sequence per layer.
The order of operations is that of the reference's loop, recorded in the golden arrays (tests/golden). Nothing here is meant to
train well.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from fsg.config import TrialConfig
from fsg.hypernetworks.slow_net import Mamba
from fsg.layers import QuantLayer, QuantLinear, clocks, join, using
from fsg.ops.spans import Spans
from fsg.quantizers import Quantized, ReferenceBwnQuantizer, straight_through
from fsg.train.optim import Rates
from fsg.train.step import Flips, StepResult, TrainingStep, correct_of


class ReferenceNets(nn.Module, ABC):
    """The hypernetworks of one method, in the reference's form. Layers are numbered in the order of the network's list."""

    @abstractmethod
    def generate(self, layer: int, grad: Tensor, pre: Tensor) -> dict[str, Tensor]:
        """From a layer's last g and W~: ``fast`` and ``slow``, or ``meta``; of the weight's shape, uncalibrated."""

    @abstractmethod
    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with their rates."""


class LinearNet(nn.Module):
    """Bias-free linear layers in a row without a non-linearity: one scalar factor in disguise."""

    def __init__(self, *widths: int, names: Callable[[int], str]) -> None:
        super().__init__()
        self.names = [names(i) for i in range(len(widths) - 1)]
        for name, a, b in zip(self.names, widths, widths[1:], strict=False):
            self.add_module(name, nn.Linear(a, b, bias=False))

    def forward(self, values: Tensor) -> Tensor:
        """Any shape, element by element."""
        x = values.reshape(-1, 1)
        for name in self.names:
            x = self.get_submodule(name)(x)
        return x.view_as(values)


class _Slow(nn.Module):
    """One scalar LRE per layer, and the block."""

    def __init__(self, layers: int, d_inner: int, d_state: int, d_conv: int) -> None:
        super().__init__()
        self.layer_embedding = nn.Embedding(layers, 1)
        self.mamba = Mamba(1, d_inner, d_state, d_conv)


class _MultiFc(nn.Module):
    """g F(W~)."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.network = LinearNet(1, hidden, hidden, 1, names=lambda i: f"Linear{i}")


class _LstmFc(nn.Module):
    """g FC(LSTM(W~))."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.lstm1 = nn.LSTM(1, hidden)
        self.fc1 = nn.Linear(hidden, 1)


class FastSlowNets(ReferenceNets):
    """FSG: fast = g F(W~); slow = the last n outputs of Mamba over [LRE, flat g_oldest .. flat g_newest]."""

    def __init__(
        self,
        layers: int,
        length: int,
        hidden: int,
        d_inner: int,
        d_state: int,
        d_conv: int,
        fast_lr: float,
        slow_lr: float,
    ) -> None:
        super().__init__()
        self.length, self.rates = length, (fast_lr, slow_lr)
        self.fast = LinearNet(1, hidden, hidden, 1, names=lambda i: f"linear{i + 1}")
        self.slow = _Slow(layers, d_inner, d_state, d_conv)
        self.windows: list[list[Tensor]] = [[] for _ in range(layers)]

    def generate(self, layer: int, grad: Tensor, pre: Tensor) -> dict[str, Tensor]:
        """The gradient joins the layer's window; then both answers."""
        window = self.windows[layer] = [*self.windows[layer], grad][-self.length :]
        tokens = torch.cat([self.slow.layer_embedding.weight[layer], *(g.flatten() for g in window)])
        slow = self.slow.mamba(tokens[None, :, None], grad.numel())
        return {"fast": grad * self.fast(pre), "slow": slow.view_as(grad)}

    def groups(self) -> list[dict[str, Any]]:
        """Fast-net and slow-net."""
        nets = (self.fast, self.slow)
        return [{"params": list(n.parameters()), "lr": lr} for n, lr in zip(nets, self.rates, strict=True)]

    def get_extra_state(self) -> list[list[Tensor]]:
        """The windows."""
        return self.windows

    def set_extra_state(self, state: list[list[Tensor]]) -> None:
        """The windows, on the network's device."""
        device = self.slow.mamba.D.device
        self.windows = [[g.to(device) for g in window] for window in state]


class MetaQuantNets(ReferenceNets):
    """MetaQuant: ``multi_fc`` g F(W~), ``fc_grad`` FC(g), ``lstm_fc`` g FC(LSTM(W~)) with a state per weight."""

    def __init__(self, method: str, layers: int, hidden: int, lr: float) -> None:
        super().__init__()
        self.rate = lr
        self.meta: _MultiFc | LinearNet | _LstmFc
        if method == "multi_fc":
            self.meta = _MultiFc(hidden)
        elif method == "fc_grad":
            self.meta = LinearNet(1, hidden, 1, names=lambda i: f"linear{i + 1}")
        else:
            self.meta = _LstmFc(hidden)
        self.states: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def generate(self, layer: int, grad: Tensor, pre: Tensor) -> dict[str, Tensor]:
        """The layer's meta gradient."""
        if isinstance(self.meta, _MultiFc):
            return {"meta": grad * self.meta.network(pre)}
        if isinstance(self.meta, LinearNet):
            return {"meta": self.meta(grad)}
        out, (h, c) = self.meta.lstm1(pre.reshape(1, -1, 1), self.states[layer])
        self.states[layer] = (h.detach(), c.detach())
        return {"meta": grad * self.meta.fc1(out[0]).view_as(grad)}

    def groups(self) -> list[dict[str, Any]]:
        """The one network."""
        return [{"params": list(self.parameters()), "lr": self.rate}]

    def get_extra_state(self) -> list[Any]:
        """The LSTM's states."""
        return [list(s) if s is not None else None for s in self.states]

    def set_extra_state(self, state: list[Any]) -> None:
        """The LSTM's states, on the network's device."""
        device = next(self.parameters()).device
        self.states = [(s[0].to(device), s[1].to(device)) if s is not None else None for s in state]


class Refine:
    """The reference's optimizers: they turn p.grad into the step to take, divided by the rate."""

    def __init__(self, name: str, params: list[nn.Parameter]) -> None:
        self.name, self.params, self.count = name, params, 0
        self.buffers: list[list[Tensor]] = [[] for _ in params]

    @torch.no_grad()
    def __call__(self) -> None:
        """Refine every gradient in place of p.grad."""
        self.count += 1
        for index, p in enumerate(self.params):
            if p.grad is not None:
                p.grad = {"sgd": self._sgd, "sgd_momentum": self._momentum, "adam": self._adam}[self.name](index, p)

    def _sgd(self, index: int, p: nn.Parameter) -> Tensor:
        assert p.grad is not None
        return p.grad

    def _momentum(self, index: int, p: nn.Parameter) -> Tensor:
        """Momentum 0.9, decay 5e-4. The gradient that is returned IS the buffer, as in the reference: if gradients are zeroed in
        place, the next backward adds into it."""
        assert p.grad is not None
        grad = p.grad.add_(p, alpha=5e-4)
        if not self.buffers[index]:
            self.buffers[index] = [grad.clone()]
        else:
            self.buffers[index][0].mul_(0.9).add_(grad)
        return self.buffers[index][0]

    def _adam(self, index: int, p: nn.Parameter) -> Tensor:
        """eps is added to the root before its bias correction, unlike torch's."""
        assert p.grad is not None
        if not self.buffers[index]:
            self.buffers[index] = [torch.zeros_like(p), torch.zeros_like(p)]
        m, v = self.buffers[index]
        m.mul_(0.9).add_(p.grad, alpha=0.1)
        v.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
        correction = (1 - 0.999**self.count) ** 0.5 / (1 - 0.9**self.count)
        return correction * m / (v.sqrt() + 1e-8)


class ReferenceStep(TrainingStep):
    """The reference's step for FSG (``beta`` given) and MetaQuant (``beta`` None)."""

    def __init__(
        self,
        model: nn.Module,
        layers: dict[str, QuantLayer],
        nets: ReferenceNets,
        optimizer: str,
        lr: float,
        beta: float | None,
        set_to_none: bool = True,
    ) -> None:
        self.model, self.nets, self.beta = model, nets, beta
        self.clocks = clocks(model)
        self.layers = list(layers.values())
        self.latent = join([layer.weight for layer in self.layers])
        self.lr = self.first_lr = lr
        self.set_to_none = set_to_none
        self.spans = Spans([layer.weight.numel() for layer in self.layers]).to(self.layers[0].weight.device)
        self.refine = Refine(optimizer, list(model.parameters()))
        self.meta_optimizer = Adam(nets.groups())
        self.meta_rates = Rates([self.meta_optimizer])
        self.signals: list[tuple[Tensor, Tensor]] = []  # per layer, the last g and W~
        self.flips = Flips(self.spans)
        self.trace: dict[str, Any] = {}  # what the last step made, for the golden comparison

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """One step in the reference's order."""
        self.meta_optimizer.zero_grad(set_to_none=True)
        generated = [self.nets.generate(i, grad.detach(), pre.detach()) for i, (grad, pre) in enumerate(self.signals)]
        kept = [layer.quantizer(layer.weight) for layer in self.layers]  # type: ignore[misc]
        ahead = self._ahead(generated, kept)
        quantized = [_quantize(layer, w) for layer, w in zip(self.layers, ahead, strict=True)]
        weights = [straight_through(w, q) for w, q in zip(ahead, quantized, strict=True)]
        for weight in weights:
            weight.retain_grad()
        biases = {layer: self._bias(layer, bool(generated)) for layer in self.layers if isinstance(layer, QuantLinear)}

        self.model.zero_grad(set_to_none=self.set_to_none)
        with using(self.layers, weights), _biases(biases):
            logits = self.model(inputs)
            loss = F.cross_entropy(logits, labels)
            loss.backward()
        self.signals = [(w.grad.detach(), q.pre) for w, q in zip(weights, quantized, strict=True)]  # type: ignore[union-attr]
        self.trace = {"generated": generated, "ahead": ahead, "quantized": quantized, "weights": weights, "kept": kept}
        self.trace["logits"] = logits.detach()
        self.trace["biases"] = list(biases.values())
        self.trace["raw"] = {name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None}
        self.meta_optimizer.step()
        if generated:
            self._keep(generated, kept)
        return StepResult(
            loss.detach(), correct_of(logits, labels), self.flips(torch.cat([w.detach().flatten() for w in weights]))
        )

    def _ahead(self, generated: list[dict[str, Tensor]], kept: list[Quantized]) -> list[Tensor]:
        """Where the loss is measured, with a graph to W and to the hypernetworks."""
        if not generated:
            return [layer.weight for layer in self.layers]
        ahead = []
        for layer, made, q in zip(self.layers, generated, kept, strict=True):
            if self.beta is not None:
                mix = self.beta * made["slow"] + (1 - self.beta) * q.calibration * made["fast"]
                ahead.append(layer.weight - self.lr * mix)
            else:
                step = self.lr * (q.calibration * made["meta"])
                assert layer.weight.grad is not None
                ahead.append(layer.weight - self.lr * layer.weight.grad.detach().clone() - (step - step.detach()))
        return ahead

    def _bias(self, layer: QuantLinear, stepping: bool) -> Tensor | None:
        """The bias of the forward: stepped once more by the gradient that p.grad still holds."""
        if layer.bias is None or not stepping or layer.bias.grad is None:
            return layer.bias
        return layer.bias - self.lr * layer.bias.grad.detach().clone()

    @torch.no_grad()
    def _keep(self, generated: list[dict[str, Tensor]], kept: list[Quantized]) -> None:
        """W.grad := c fast (or c m); refine all gradients; move all parameters."""
        for layer, made, q in zip(self.layers, generated, kept, strict=True):
            layer.weight.grad = (q.calibration * made["fast" if self.beta is not None else "meta"]).detach()
        self.refine()
        for p in self.model.parameters():
            if p.grad is not None:
                p.sub_(self.lr * p.grad)

    def set_rates(self, base: float, meta: float) -> None:
        """The one base rate and the meta-optimizer's."""
        self.lr = self.first_lr * base
        self.meta_rates.scale(meta)

    def state_dict(self) -> dict[str, Any]:
        """Hypernetworks with their memory, optimizers, last signals, and the gradients that the next forward reads."""
        return {
            "nets": self.nets.state_dict(),
            "meta_optimizer": self.meta_optimizer.state_dict(),
            "refine": [self.refine.count, self.refine.buffers],
            "signals": [list(s) for s in self.signals],
            "grads": [p.grad for p in self.model.parameters()],
            "signs": self.flips.signs,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As it was, on this model's device."""
        device = self.layers[0].weight.device
        self.nets.load_state_dict(state["nets"])
        self.meta_optimizer.load_state_dict(state["meta_optimizer"])
        self.refine.count = state["refine"][0]
        self.refine.buffers = [[b.to(device) for b in buffers] for buffers in state["refine"][1]]
        self.signals = [(g.to(device), pre.to(device)) for g, pre in state["signals"]]
        for p, grad in zip(self.model.parameters(), state["grads"], strict=True):
            p.grad = grad.to(device) if grad is not None else None
        self.flips.signs = state["signs"].to(device).clone() if state["signs"] is not None else None


class _biases:
    """Inside, each layer adds the bias given here instead of its own."""

    def __init__(self, biases: dict[QuantLinear, Tensor | None]) -> None:
        self.biases = biases
        self.own = {layer: layer._parameters["bias"] for layer in biases}

    def __enter__(self) -> None:
        for layer, bias in self.biases.items():
            layer._parameters["bias"] = bias  # type: ignore[assignment]

    def __exit__(self, *error: object) -> None:
        for layer, bias in self.own.items():
            layer._parameters["bias"] = bias


def _quantize(layer: QuantLayer, ahead: Tensor) -> Quantized:
    """The look-ahead weight quantised; the reference takes a channel's alpha from the kept weight."""
    quantizer = layer.quantizer
    assert quantizer is not None
    if isinstance(quantizer, ReferenceBwnQuantizer):
        return quantizer(ahead.detach(), scale_from=layer.weight)
    return quantizer(ahead.detach())


def make_reference_step(config: TrialConfig, model: nn.Module, layers: dict[str, QuantLayer]) -> ReferenceStep:
    """The reference code's step for FSG or MetaQuant as configured."""
    gradient: Any = config.gradient
    where = next(model.parameters())
    nets: ReferenceNets
    if gradient.name == "fsg":
        fast, slow = gradient.fast, gradient.slow
        sizes = (slow.d_inner, slow.d_state, slow.d_conv)
        nets = FastSlowNets(len(layers), gradient.length, fast.hidden, *sizes, fast.lr, slow.lr)
    else:
        nets = MetaQuantNets(gradient.name, len(layers), gradient.fast.hidden, gradient.fast.lr)
    optimizer = "sgd_momentum" if config.optimizer.momentum else config.optimizer.name
    beta = getattr(gradient, "beta", None)
    return ReferenceStep(model, layers, nets.to(where), optimizer, config.optimizer.lr, beta)
