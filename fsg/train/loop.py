"""The trainer of one trial: yields one result per epoch, and can stop and go on at any of them, or at any step.

for result in Trainer(config):
    print(result.epoch, result.metrics["val_accuracy"])
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from operator import mul
from typing import Any

import torch
from torch import Tensor, nn

from fsg.config import CHANGEABLE, TrialConfig, canonical_json, parse_trial
from fsg.data import DataSplits, augment, class_balanced, epoch_order, load_data, normalise, upload
from fsg.errors import CheckpointCorrupt, ConfigError, TrialDiverged, TrialPreempted
from fsg.formats import FIRST, FORMAT, FORMAT_KEY
from fsg.fusing import why_alone
from fsg.gradients import make_estimator
from fsg.layers import quantized_layers, using
from fsg.metrics import FLIPS_OTHER, guest_metrics
from fsg.models import build_model
from fsg.ops.spans import Spans
from fsg.parts import part_of, resolved
from fsg.train.bits import set_bits
from fsg.train.capture import CapturedStep, can_capture
from fsg.train.device import make_deterministic, resolve_device
from fsg.train.evaluate import NO_METRICS, Score, reestimated_batchnorm, score
from fsg.train.hessian import spectrum
from fsg.train.influence import due
from fsg.train.optim import meta_schedule, rate_factor, set_options
from fsg.train.optimizers import check as check_optimizer
from fsg.train.pretrained import load_pretrained
from fsg.train.seeds import generator, seeded
from fsg.train.step import FloatStep, LookAheadStep, TrainingStep
from fsg.train.tally import EpochTally

EVALUATION_BATCH = 500
# Training images whose moments BatchNorm is read with, in one batch: of 4,000 the error is below 2 % of a standard deviation.
# ResNet-20 on 4,000 of 32x32 takes 1.3 GB on the CPU, and the same on fewer that are larger.
REESTIMATION_IMAGES, REESTIMATION_PIXELS = 4000, 4000 * 32 * 32
PROBED_IMAGES = 256  # that curvature is measured on
PROBES = 16  # vectors of signs that traces are estimated with
# of the whole gradient, mean over an epoch's steps: what ``refined`` schedules are made of
NORMS = ("grad_norm", "grad_norm_l1")
SHARES = ("history_share", "slow_share")  # of the generated direction, where its estimator says them
LAST = 10  # epochs whose mean test accuracy is reported beside the final one

Save = Callable[[dict[str, Any]], None]
Leaving = Callable[[], bool]


@dataclass(frozen=True)
class EpochResult:
    """One epoch: its number from 1, plain metrics by name, and the metrics that each quantised layer has of its own.

    Accuracies in percent, losses in nats, ``step_ms`` in milliseconds. The last epoch adds ``test_*``.
    """

    epoch: int
    metrics: dict[str, float]
    layers: dict[str, dict[str, float]]


class Trainer:
    """Trains the trial that a configuration describes. Iterating runs the epochs that are left."""

    def __init__(self, config: TrialConfig, data: DataSplits | None = None) -> None:
        self.config = config
        if config.fused and (reason := why_alone(config)) is not None:
            raise ConfigError(f"fused is true, but {reason}. Leave fused out.")
        self.device = resolve_device(config.device)
        make_deterministic(self.device, config.deterministic)
        self.dtype = getattr(torch, config.dtype)
        data = data if data is not None else load_data(config.images)
        self.data = data.to(self.device)
        # On the device: a step that made them from numbers would wait for the copy.
        self._mean, self._std = (
            torch.tensor(x, dtype=self.dtype, device=self.device) for x in (self.data.mean, self.data.std)
        )
        with seeded(config.seed, "weights"):
            model = build_model(config, self.data.image_shape, self.data.classes)
        if (weights := getattr(config.model, "pretrained", None)) is not None:
            load_pretrained(model, weights)
        layout = (
            torch.channels_last if self.device.type == "cuda" and config.autocast != "off" else torch.contiguous_format
        )
        self.model: nn.Module = model.to(self.device, self.dtype, memory_format=layout)  # type: ignore[call-overload]
        self.layer_names = list(quantized_layers(self.model))
        _, height, width = self.data.image_shape
        most = max(EVALUATION_BATCH, min(REESTIMATION_IMAGES, REESTIMATION_PIXELS // (height * width)))
        count = min(most, len(data.train))
        self.balanced = class_balanced(data.train, count, config.images.split_seed).to(self.device)
        self.bits = self._bits_by_layer()
        with seeded(config.seed, "hypernetworks"):
            self.step = make_step(config, self.model, self.steps_per_epoch * config.epochs)
        self.spans = self.step.spans
        self.augmented = config.data.augment and part_of("data", config.data).fact("augmented")
        self.guest_metrics = {each.name: resolved(each.build) for each in guest_metrics(config)}
        self.order = generator(config.seed, "order")
        self.augmentation = generator(config.seed, "augment")
        self.epoch = 0
        self.averaged: Tensor | None = None
        self.last_result: EpochResult | None = None
        self.test_scores: list[float] = []
        self._permutation: Tensor | None = None  # of the epoch under way
        self._tally: EpochTally | None = None

    def _bits_by_layer(self) -> dict[str, int] | None:
        """The bits of each layer, where the quantizer gives them their own; None where all share one."""
        maker = part_of("quantizer", self.config.quantizer).fact("per_layer", self.config.quantizer)
        if maker is None:
            return None
        found: dict[str, int] = resolved(maker)(self.config.quantizer, self.model, self.probed_loss, self.config.seed)
        return found

    def probed_loss(self, network: nn.Module) -> Tensor:
        """Of a network on the training images that curvature is measured on."""
        images, labels = self.balanced.images[:PROBED_IMAGES], self.balanced.labels[:PROBED_IMAGES]
        return nn.functional.cross_entropy(network(self.inputs(images)), labels)

    def __iter__(self) -> Iterator[EpochResult]:
        while not self.finished:
            yield self.run_epoch()

    @property
    def finished(self) -> bool:
        """Whether all epochs have been trained."""
        return self.epoch >= self.config.epochs

    @property
    def steps_per_epoch(self) -> int:
        """A ragged last batch is left out: its gradient would be of another size."""
        return max(1, len(self.data.train) // self.config.data.batch_size)

    def run_epoch(self, save: Save | None = None, leaving: Leaving | None = None) -> EpochResult:
        """Train one epoch, or what is left of it, and evaluate. TrialDiverged if a loss or weight is no longer finite.

        ``save`` is given the state after every ``checkpoint_every_steps`` steps. ``leaving`` is asked after every step:
        if it says so, the state is saved and TrialPreempted raised.
        """
        if self.config.fused:
            from fsg.train.fused import run_epoch

            (outcome,) = run_epoch([self], [save], leaving)
            if isinstance(outcome, TrialDiverged):
                raise outcome
            return outcome
        self.begin_epoch()
        self._train(save, leaving)
        return self.end_epoch()

    def begin_epoch(self) -> None:
        """Rates of the epoch that is to be trained; order and tally, where it has not begun."""
        config = self.config
        factor = rate_factor(config.schedule, self.epoch, config.epochs)
        schedule = meta_schedule(config.schedule, getattr(config.gradient, "meta_schedule", "base"))
        self.step.set_rates(factor, rate_factor(schedule, self.epoch, config.epochs))
        if self._permutation is None or self._tally is None:
            self._permutation = epoch_order(len(self.data.train), self.order)
            self._tally = EpochTally(len(self.spans), self.device)

    @property
    def permutation(self) -> Tensor:
        """The order of the training images in the epoch that has begun: (n,) int64 on the CPU."""
        assert self._permutation is not None
        return self._permutation

    @property
    def tally(self) -> EpochTally:
        """What the epoch that has begun adds up to."""
        assert self._tally is not None
        return self._tally

    @property
    def steps_done(self) -> int:
        """Steps of the epoch under way; 0 between two."""
        return self._tally.steps if self._tally is not None else 0

    @property
    def steps_in_all(self) -> int:
        """Steps of all epochs so far."""
        return self.epoch * self.steps_per_epoch + self.steps_done

    def progress(self, steps: int) -> float:
        """The share of all training that is done after so many steps of this epoch."""
        return (self.epoch * self.steps_per_epoch + steps) / (self.steps_per_epoch * self.config.epochs)

    def end_epoch(
        self, diagnosed: Mapping[str, Tensor] | None = None, scores: Mapping[str, Mapping[str, Score]] | None = None
    ) -> EpochResult:
        """Evaluate what was trained, and count it. TrialDiverged if a loss or weight is no longer finite.

        ``diagnosed``, ``scores``: what the step and the evaluation say, where that is known already.
        """
        config, tally = self.config, self.tally
        factor = rate_factor(config.schedule, self.epoch, config.epochs)
        tally.check(self.epoch + 1, dict(zip(self.layer_names, [x.weight for x in self.step.layers], strict=True)))
        tally.stop()
        self.epoch += 1
        self._permutation = self._tally = None

        seen = tally.steps * min(config.data.batch_size, len(self.data.train))
        sums = {name: value / max(1, tally.generated) for name, value in tally.sums.items()}
        metrics: dict[str, float] = {
            "epoch": self.epoch,
            "train_loss": tally.sums["loss"].item() / tally.steps,
            "train_accuracy": 100 * tally.sums["correct"].item() / seen,
            "lr": config.optimizer.lr * factor,
            "flip_ratio": tally.sums["flips"].sum().item() / (tally.steps * max(1, self.spans.total)),
            "step_ms": 1000 * tally.seconds / tally.steps,
            "images_per_s": seen / tally.seconds,
        }
        if (measured := tally.sums["measured"].item()) > 0:
            metrics |= dict(zip(NORMS, (tally.sums["norms"] / measured).tolist(), strict=True))
        layers = {}
        if self.layer_names:
            sizes = torch.tensor(self.spans.sizes, dtype=torch.float64, device=self.device)
            diagnosed = self.step.diagnose() if diagnosed is None else diagnosed
            columns = {"flip_ratio": tally.sums["flips"] / (tally.steps * sizes), **diagnosed}
            means = {name: diagnosed[name] for name in SHARES if name in diagnosed}
            if tally.generated:
                means |= {name: sums[name] for name in ("gain", "cosine", "uphill")}
            if due(self.epoch, config.epochs) and (found := self.step.influence()) is not None:
                means |= found.moved
                metrics |= {} if found.flips_other is None else {FLIPS_OTHER: found.flips_other}
            metrics |= {name: value.mean().item() for name, value in means.items()}
            columns |= means
            lists = {name: column.tolist() for name, column in columns.items()}
            layers = {layer: {n: c[i] for n, c in lists.items()} for i, layer in enumerate(self.layer_names)}
        if self.bits is not None:
            metrics["bits"] = sum(map(mul, self.bits.values(), self.spans.sizes)) / self.spans.total
            layers = {layer: {**found, "bits": self.bits[layer]} for layer, found in layers.items()}
        with self.step.at_evaluation_point():
            metrics |= self._evaluate(scores)
            if (every := config.evaluate.curvature) and self.epoch % every == 0 and self.layer_names:
                hessian = spectrum(self.model, self.probed_loss, PROBES, config.seed)
                metrics |= {"hessian_trace": sum(hessian.traces.values())}
                metrics |= {"hessian_top": hessian.top, "hessian_bottom": hessian.bottom}
                layers = {layer: {**found, "trace": hessian.traces[layer]} for layer, found in layers.items()}
        self.last_result = EpochResult(self.epoch, metrics, layers)
        return self.last_result

    def inputs(self, images: Tensor) -> Tensor:
        """Normalised network inputs of uint8 images, in the trial's dtype."""
        return normalise(images, self._mean, self._std, self.dtype)

    def augmented_images(self, images: Tensor) -> Tensor:
        """(B, C, H, W) uint8 as the next step sees them."""
        return augment(images, self.augmentation) if self.augmented else images

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, whether between two epochs or within one."""
        return {
            "config": canonical_json(self.config.portable()),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            **self._evaluated(),
            "step": self.step.state_dict(),
            "averaged": self.averaged,
            "order": self.order.get_state(),
            "augmentation": self.augmentation.get_state(),
            "permutation": self._permutation,
            "tally": self._tally.state_dict() if self._tally else None,
            "test_scores": list(self.test_scores),
            **({"bits": dict(self.bits)} if self.bits is not None else {}),
            "last_result": [self.last_result.metrics, self.last_result.layers] if self.last_result else None,
        }

    def _evaluated(self) -> dict[str, Any]:
        """The network as it is evaluated, where that is at another point than it is trained at: who uses it wants this one."""
        if not self.step.switches:
            return {}
        with self.step.at_evaluation_point():
            return {"evaluated": {name: value.clone() for name, value in self.model.state_dict().items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same trial; CheckpointCorrupt if it is of another."""
        self._check_trial(state, ())
        self._restore(state)

    def take_over(self, state: dict[str, Any]) -> None:
        """Go on from a trial that differs in CHANGEABLE values alone, with this trial's values from here on.

        CheckpointCorrupt if it differs in more.
        """
        self._check_trial(state, CHANGEABLE)
        self._restore(state)
        own = self.config.optimizer
        for optimizer, section in zip(self.step.base_optimizers(), (own, own.float or own), strict=False):
            set_options(optimizer, section)

    def _check_trial(self, state: dict[str, Any], changeable: Iterable[str]) -> None:
        described = parse_trial(json.loads(state["config"]), format=state.get(FORMAT_KEY, FIRST))
        stored, own = described.in_format(FORMAT).identity(), self.config.in_format(FORMAT).identity()
        for tree in (stored, own):
            for path in changeable:
                without(tree, path)
        if stored != own:
            keys = [key for key in {**own, **stored} if stored.get(key) != own.get(key)]
            differ = ", ".join(f"{key} was {stored.get(key)!r}, is {own.get(key)!r}" for key in keys)
            raise CheckpointCorrupt(f"the checkpoint belongs to another trial: {differ}.")

    def _restore(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]
        if self.bits is not None and self.bits != state["bits"]:  # another machine rounds otherwise, and chose others
            self.bits = dict(state["bits"])
            set_bits(self.model, self.bits)
            self.step.requantize()
        self.model.load_state_dict(state["model"])
        self.step.load_state_dict(state["step"])
        self.averaged = state["averaged"].to(self.device).clone() if state["averaged"] is not None else None
        self.order.set_state(state["order"])
        self.augmentation.set_state(state["augmentation"])
        self._permutation = state["permutation"]
        self._tally = None
        if state["tally"]:
            self._tally = EpochTally(len(self.spans), self.device)
            self._tally.load_state_dict(state["tally"])
        self.test_scores = list(state["test_scores"])
        self.last_result = EpochResult(self.epoch, *state["last_result"]) if state["last_result"] else None

    def _train(self, save: Save | None, leaving: Leaving | None) -> None:
        """The steps of an epoch that are left; on a GPU none of them is waited for."""
        batch, train, every = self.config.data.batch_size, self.data.train, self.config.checkpoint_every_steps
        tally, permutation = self.tally, upload(self.permutation, self.device)
        autocast = (
            torch.autocast(self.device.type, torch.bfloat16) if self.config.autocast == "bfloat16" else nullcontext()
        )
        self.model.train()
        tally.start()
        while tally.steps < self.steps_per_epoch:
            index = permutation[tally.steps * batch : (tally.steps + 1) * batch]
            images = self.augmented_images(train.images[index])
            self.step.progress = self.progress(tally.steps)
            with autocast:
                result = self.step(self.inputs(images), train.labels[index])
            tally.add(result)
            self._average()
            if self.device.type == "cpu" and not torch.isfinite(result.loss):
                break  # waiting costs nothing here; a GPU is asked once an epoch
            asked = leaving is not None and leaving()
            due = bool(every) and tally.steps % every == 0 and tally.steps < self.steps_per_epoch
            if save is not None and (asked or due):
                tally.stop()
                save(self.state_dict())
                tally.start()
            if asked:
                raise TrialPreempted(f"asked to leave in epoch {self.epoch + 1}, after step {tally.steps}.")

    def _average(self) -> None:
        """Moving average of the latent weights, one decay per step."""
        decay = self.config.evaluate.ema_weights
        if not decay or not self.step.layers:
            return
        if self.averaged is None:
            self.averaged = self.step.latent.clone()
        else:
            torch.lerp(self.step.latent, self.averaged, decay, out=self.averaged)

    def _evaluate(self, scores: Mapping[str, Mapping[str, Score]] | None = None) -> dict[str, float]:
        """Validation every epoch; test in the last ones, shown only at the end, where no choice can be made by it."""
        left = self.config.epochs - self.epoch
        scores = self._score_all() if scores is None else scores
        plain, averaged = scores["plain"], scores.get("averaged")
        metrics = {"val_loss": plain["validation"].loss, "val_accuracy": plain["validation"].accuracy}
        metrics |= {f"val_{name}": value for name, value in plain["validation"].others.items()}
        if "test" in plain:
            self.test_scores.append(plain["test"].accuracy)
        if left == 0:
            metrics["test_accuracy"] = plain["test"].accuracy
            metrics["test_loss"] = plain["test"].loss
            metrics |= {f"test_{name}": value for name, value in plain["test"].others.items()}
            metrics["test_accuracy_last10"] = sum(self.test_scores) / len(self.test_scores)
        if averaged is not None:
            metrics["val_accuracy_ema"] = averaged["validation"].accuracy
            if left == 0:
                metrics["test_accuracy_ema"] = averaged["test"].accuracy
        return metrics

    def _score_all(self) -> dict[str, dict[str, Score]]:
        """Of the weights as they are, and of their average where there is one: scores by the part of the data."""
        left = self.config.epochs - self.epoch
        scores = {"plain": self._scores(with_test=left < LAST, metrics=self.guest_metrics)}
        if self.averaged is not None:
            weights = [
                layer.quantizer(part.view_as(layer.weight)).value  # type: ignore[misc]
                for layer, part in zip(self.step.layers, self.spans.split(self.averaged), strict=True)
            ]
            with using(self.step.layers, weights):
                scores["averaged"] = self._scores(with_test=left == 0)
        return scores

    def _scores(self, with_test: bool, metrics: Mapping[str, Callable[..., float]] = NO_METRICS) -> dict[str, Score]:
        parts = {"validation": self.data.validation} | ({"test": self.data.test} if with_test else {})
        statistics = (
            reestimated_batchnorm(self.model, self.inputs, self.balanced.images)
            if self.config.evaluate.batchnorm == "reestimated"
            else nullcontext()
        )
        with statistics:
            return {
                k: score(self.model, self.inputs, v.images, v.labels, EVALUATION_BATCH, metrics)
                for k, v in parts.items()
            }


def without(tree: dict[str, Any], path: str) -> None:
    """Take the value at a dotted path out of nested dictionaries, if it is there."""
    *sections, last = path.split(".")
    for section in sections:
        tree = tree.get(section) or {}
    tree.pop(last, None)


def make_step(config: TrialConfig, model: nn.Module, steps: int | None = None) -> TrainingStep:
    """The training step that a configuration describes, on the model's device and in its dtype.

    ``steps``: of the whole training. ConfigError for an optimizer that cannot train it.
    """
    check_optimizer(config)
    layers = quantized_layers(model)
    where = next(model.parameters())
    capturable = can_capture(config, where.device)
    epoch = steps // config.epochs if steps is not None else None
    if not layers:
        float_step = FloatStep(model, config.optimizer, capturable, config.seed, steps, epoch)
        return CapturedStep(float_step, 0) if capturable else float_step
    gradient = part_of("gradient", config.gradient)
    if (maker := gradient.fact("own_step", config.gradient)) is not None:
        own: TrainingStep = resolved(maker)(config, model, layers)
        return own
    spans = Spans([layer.weight.numel() for layer in layers.values()]).to(where.device)
    estimator = make_estimator(config.gradient, spans).to(where.device, where.dtype)
    step = LookAheadStep(model, layers, estimator, config.optimizer, capturable, config.seed, steps, epoch)
    return CapturedStep(step, gradient.fact("memory_steps", config.gradient)) if capturable else step
