"""Designs that might win where FSG as published does not: estimators of a plug-in, for designs.yaml.

    fsg_on_curve      FSG's m, and an annealed tanh for the quantiser's slope: does a learnt m add to the best fixed curve?
    fsg_near_flips    FSG, whose networks learn from the weights near their threshold alone: only those can flip
    scales            history at several scales: g and its moving averages over 2, 10 and 50 steps, mixed by learnt shares
    learnt_curve      the annealed tanh, with a learnt steepness of each layer beside the schedule's
    fsg_ahead         FSG, whose networks learn from the loss of several steps to come, not of the next alone
    fsg_taught        FSG, whose networks come from another study, which trained them on another task

Each starts as its rival without anything learnt: ``surrogate`` with ``tanh``, ``fsg``, ``ste``, ``surrogate`` again, and ``fsg``;
``fsg_taught`` alone starts elsewhere.
Proof: ``tests/test_designs_that_might_win.py``, ``tests/testing/test_contracts_in_house.py``.
"""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from fsg import Section, register
from fsg.catalogue.gradients import Fsg
from fsg.catalogue.surrogates import Tanh
from fsg.errors import ConfigError
from fsg.gradients import GradientEstimator
from fsg.gradients.base import Direction, Signal
from fsg.gradients.fsg import FastSlowEstimator
from fsg.hypernetworks.history import GradientHistory
from fsg.ops.curves import curve_of
from fsg.ops.spans import Spans, unit
from fsg.record.folder import find_study, parse_reference
from fsg.train.checkpoint import load_checkpoint

HORIZONS = (2.0, 10.0, 50.0)  # steps over which the averages forget
Rate = Annotated[float, Field(gt=0, le=1)]


class OnCurve(GradientEstimator):
    """An estimator that takes scale F'(x) dx/dW of an annealed curve for the quantiser's slope, wherever it reads one."""

    reads_sign = True

    def __init__(self, config: Any, spans: Spans) -> None:
        super().__init__(config, spans)
        self.curve = curve_of(config.shape)

    def direction(self, signal: Signal, generated: Tensor) -> Direction:
        """d, its gain held against the curve's own direction."""
        return super().direction(self._with_curve(signal), generated)

    def learn(self, direction: Direction, measured: Signal) -> bool:
        """As every estimator's, the loss differentiated by the curve."""
        return super().learn(direction, self._with_curve(measured))

    def _with_curve(self, signal: Signal) -> Signal:
        assert signal.at is not None and signal.scale is not None and signal.calibration is not None
        return signal._replace(slope=signal.scale * self.curve(signal.at, signal.progress) * signal.calibration)


class FsgOnCurve(Fsg):
    """FSG, with a curve for the quantiser's slope.

    Args:
        shape: The curve, an annealed tanh.
    """

    name: Literal["fsg_on_curve"] = "fsg_on_curve"
    shape: Tanh = Tanh()


@register("gradient", FsgOnCurve, reads_sign=True, memory_steps=lambda config: config.length)
class FsgOnCurveEstimator(OnCurve, FastSlowEstimator):
    """d = gain(scale F'(x) dx/dW m)."""


class FsgNearFlips(Fsg):
    """FSG, learning where weights can flip.

    Args:
        reach: Distance from the threshold, in RMS of the layer, at which a weight counts 1/e of one that stands on it.
    """

    name: Literal["fsg_near_flips"] = "fsg_near_flips"
    reach: Annotated[float, Field(gt=0, le=100)] = 0.5


@register("gradient", FsgNearFlips, memory_steps=lambda config: config.length)
class FsgNearFlipsEstimator(FastSlowEstimator):
    """dLoss/dd = -k c g, k = exp(-(W~ / (reach RMS))^2), of mean 1 in every layer."""

    def __init__(self, config: FsgNearFlips, spans: Spans) -> None:
        super().__init__(config, spans)
        self.reach = config.reach

    def learn(self, direction: Direction, measured: Signal) -> bool:
        """As every estimator's, with the weights near their threshold counted most."""
        if not direction.value.requires_grad:
            return False
        rms = self.spans.expand(unit(self.spans.rms(measured.pre)))
        near = torch.exp(-((measured.pre / (self.reach * rms)) ** 2))
        mean = self.spans.dot(near, torch.ones_like(near)) / self.spans.lengths
        direction.value.backward(-near / self.spans.expand(unit(mean)) * measured.slope * measured.grad)
        return True


class FsgAhead(Fsg):
    """FSG, learning from several steps to come.

    Args:
        steps: Steps whose losses teach the networks, once in as many.
    """

    name: Literal["fsg_ahead"] = "fsg_ahead"
    steps: Annotated[int, Field(ge=2, le=100)] = 4


@register(
    "gradient",
    FsgAhead,
    memory_steps=lambda config: config.length,
    uncapturable=lambda config: "its networks learn in one step of several",
)
class FsgAheadEstimator(FastSlowEstimator):
    """dLoss/dd_t = -mean_k c_{t+k} g_{t+k}, k = 1 .. K: W_t moves by d_t, and stays moved in all steps to come.

    What d_t does to the directions in between is left out, as FSG leaves out what it does to the history. The networks stand
    still over the K steps, so d_t is generated again, with its graph, from what it was generated from.
    """

    past: GradientHistory
    pre: Tensor
    slopes: Tensor
    ahead: Tensor
    seen: Tensor

    def __init__(self, config: FsgAhead, spans: Spans) -> None:
        super().__init__(config, spans)
        self.steps = config.steps
        self.past = GradientHistory(
            config.history_length, spans.total
        )  # what the window was at the first of the K steps
        for name in ("pre", "slopes", "ahead"):
            self.register_buffer(name, torch.zeros(spans.total))
        self.register_buffer("seen", torch.zeros(()))

    def generate(self, signal: Signal) -> Tensor:
        """m; what it is made of is kept at the first of K steps."""
        with torch.no_grad():
            m = super().generate(signal)
            if not self.seen:
                self.past.window = self.history.window.clone()
                self.pre.copy_(signal.pre)
                self.slopes.copy_(signal.slope)
        return m

    def learn(self, direction: Direction, measured: Signal) -> bool:
        """Add what this step measured; after K of them, differentiate the first one's direction."""
        self.ahead += self.slope(measured) * measured.grad / self.steps
        self.seen += 1
        if self.seen < self.steps:
            return False
        first = Signal(self.past.window[-1], self.pre, self.slopes)
        value = self.direction(first, self._mixed(first, self._slow(self.past.window))).value
        value.backward(-self.ahead)
        self.ahead.zero_()
        self.seen.zero_()
        return True


class FsgTaught(Fsg):
    """FSG, with networks that another study trained.

    Args:
        networks: STUDY#arm: the folder of a study and one of its arms, whose first seed's networks these are. Left out, untaught.
    """

    name: Literal["fsg_taught"] = "fsg_taught"
    networks: str | None = None


@register("gradient", FsgTaught, memory_steps=lambda config: config.length)
class FsgTaughtEstimator(FastSlowEstimator):
    """Fast-net and slow-net of a trial of another study; the layer embeddings are this network's own."""

    def __init__(self, config: FsgTaught, spans: Spans) -> None:
        super().__init__(config, spans)
        if config.networks is not None:
            self._take(config.networks)

    def _take(self, source: str) -> None:
        theirs, own = _networks(source), self.state_dict()
        taken = {name: value for name, value in theirs.items() if name.startswith(("slow.", "fast."))}
        ours = {name for name in own if name.startswith(("slow.", "fast."))}
        wrong = sorted(ours ^ taken.keys()) or [n for n in sorted(ours) if own[n].shape != taken[n].shape]
        if wrong:
            raise ConfigError(
                f"gradient.networks {source}: its networks are others than these, in {', '.join(wrong[:3])}."
            )
        self.load_state_dict(own | taken)


def _networks(source: str) -> dict[str, Tensor]:
    """The estimator's state in the newest checkpoint of an arm's first seed. FsgError where there is none."""
    name, arm = parse_reference(source)
    folder = find_study(name)
    trials = [t for t in folder.state().trials.values() if t.arm == arm and t.status == "finished"]
    if not trials:
        raise ConfigError(
            f'gradient.networks {source}: {name} has no finished trial of an arm "{arm}"; expected STUDY#arm.'
        )
    first = min(trials, key=lambda trial: trial.seed)
    networks: dict[str, Tensor] = load_checkpoint(folder.checkpoints / first.key / "last.pt")["step"]["estimator"]
    return networks


class Scales(Section):
    """Moving averages of g over several horizons, mixed by shares that each layer learns.

    Args:
        lr: Learning rate of the shares.
    """

    name: Literal["scales"] = "scales"
    lr: Rate = 1e-2


class Learnt(GradientEstimator):
    """An estimator that learns ``count`` numbers of each layer, all 0 at the start: ``learnt``, (layers, count)."""

    count = 1

    def __init__(self, config: Any, spans: Spans) -> None:
        super().__init__(spans)
        self.rate = config.lr
        self.learnt = nn.Parameter(torch.zeros(len(spans), self.count))

    def meta_groups(self) -> list[dict[str, Any]]:
        """These numbers."""
        return [{"params": [self.learnt], "lr": self.rate}]


@register("gradient", Scales, memory_steps=lambda config: 50)
class ScalesEstimator(Learnt):
    """m = g + sum_k a_lk (m_k - g)."""

    gain, count = "bounded", len(HORIZONS)
    averages: Tensor
    steps: Tensor

    def __init__(self, config: Scales, spans: Spans) -> None:
        super().__init__(config, spans)
        self.register_buffer("averages", torch.zeros(len(HORIZONS), spans.total))
        self.register_buffer("steps", torch.zeros(()))

    def generate(self, signal: Signal) -> Tensor:
        """m, after this gradient has joined the averages; these are of the steps so far, as Adam's."""
        self.steps += 1
        forgets = 1 / self.averages.new_tensor(HORIZONS)
        self.averages.lerp_(signal.grad.expand_as(self.averages), forgets[:, None])
        known = self.averages / (1 - (1 - forgets) ** self.steps)[:, None]
        return signal.grad + (self.spans.expand(self.learnt).T * (known - signal.grad)).sum(0)


class LearntCurve(Section):
    """An annealed tanh whose steepness each layer learns, around the schedule's.

    Args:
        shape: The schedule.
        lr: Learning rate of the logarithm of a layer's own factor.
    """

    name: Literal["learnt_curve"] = "learnt_curve"
    shape: Tanh = Tanh()
    lr: Rate = 1e-2


@register("gradient", LearntCurve, reads_sign=True)
class LearntCurveEstimator(OnCurve, Learnt):
    """d = scale F'(f_l x) dx/dW g, F' of the schedule at this moment, f_l = exp(theta_l) and theta_l 0 at the start."""

    gain = "bounded"

    def generate(self, signal: Signal) -> Tensor:
        """g, times what the layer's own factor makes of the curve."""
        assert signal.at is not None
        own = self.curve(self.spans.expand(self.learnt[:, 0].exp()) * signal.at, signal.progress)
        return signal.grad * own / self.curve(signal.at, signal.progress).clamp(min=1e-6)
