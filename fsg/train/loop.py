"""The trainer of one trial: yields one result per epoch, and can stop and go on at any of them.

for result in Trainer(config):
    print(result.epoch, result.metrics["val_accuracy"])
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fsg.config import TrialConfig
from fsg.data import AUGMENTED, DataSplits, augment, class_balanced, epoch_order, load_data, normalise
from fsg.errors import BackendUnavailable, CheckpointCorrupt, TrialDiverged
from fsg.gradients import Signal, make_estimator
from fsg.layers import quantized_layers, using
from fsg.models import build_model
from fsg.ops.spans import Spans
from fsg.train.evaluate import Score, reestimated_batchnorm, score
from fsg.train.optim import rate_factor
from fsg.train.seeds import generator, seeded
from fsg.train.step import LookAheadStep

EVALUATION_BATCH = 500
REESTIMATION_IMAGES = 4000  # of training data; the statistics' own error is then below 2 % of a standard deviation
LAST = 10  # epochs whose mean test accuracy is reported beside the final one


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
        self.device = resolve_device(config.device)
        self.dtype = getattr(torch, config.dtype)
        self.data = data if data is not None else load_data(config.data)
        on_device = self.data.to(self.device)
        self.train, self.validation, self.test = on_device.train, on_device.validation, on_device.test
        with seeded(config.seed, "weights"):
            self.model = build_model(config, self.data.image_shape, self.data.classes).to(self.device, self.dtype)
        layers = quantized_layers(self.model)
        self.layer_names = list(layers)
        self.spans = Spans([layer.weight.numel() for layer in layers.values()]).to(self.device)
        with seeded(config.seed, "hypernetworks"):
            estimator = make_estimator(config.gradient, self.spans).to(self.device, self.dtype)
        self.step = LookAheadStep(self.model, layers, estimator, config.optimizer)
        self.augmented = config.data.augment and config.data.name in AUGMENTED
        self.averaged: Tensor | None = None
        self.order = generator(config.seed, "order")
        self.augmentation = generator(config.seed, "augment")
        self.epoch = 0
        self.last_result: EpochResult | None = None
        self.test_scores: list[float] = []
        self._balanced = class_balanced(
            self.train, min(REESTIMATION_IMAGES, len(self.train.labels)), config.data.split_seed
        )

    def __iter__(self) -> Iterator[EpochResult]:
        while not self.finished:
            yield self.run_epoch()

    @property
    def finished(self) -> bool:
        """Whether all epochs have been trained."""
        return self.epoch >= self.config.epochs

    def run_epoch(self) -> EpochResult:
        """Train one epoch and evaluate. TrialDiverged if a loss or weight is no longer finite."""
        factor = rate_factor(self.config.schedule, self.epoch, self.config.epochs)
        self.step.rates.scale(factor)
        batch = self.config.data.batch_size
        count = len(self.train.labels)
        steps = max(1, count // batch)  # the ragged last batch is left out: BatchNorm and g would be of another size
        seen = min(batch, count) * steps
        loss = torch.zeros((), dtype=torch.float64, device=self.device)
        correct = torch.zeros((), dtype=torch.int64, device=self.device)
        flips = torch.zeros((), dtype=torch.int64, device=self.device)
        gain = torch.zeros(len(self.spans), dtype=self.dtype, device=self.device)
        cosine, uphill = torch.zeros_like(gain), torch.zeros_like(gain)
        generated = 0

        self.model.train()
        permutation = epoch_order(count, self.order).to(self.device)
        started = time.perf_counter()
        for number in range(steps):
            index = permutation[number * batch : (number + 1) * batch]
            images = self.train.images[index]
            if self.augmented:
                images = augment(images, self.augmentation)
            result = self.step(self.inputs(images), self.train.labels[index])
            self._average()
            loss += result.loss.double()
            correct += result.correct
            flips += result.flips
            if result.gain is not None and result.cosine is not None:
                gain += result.gain
                cosine += result.cosine
                uphill += result.cosine < 0
                generated += 1
        train_loss = loss.item() / steps  # waits for the device
        seconds = time.perf_counter() - started
        self.epoch += 1
        self._check_finite(train_loss)

        metrics = {
            "epoch": self.epoch,
            "train_loss": train_loss,
            "train_accuracy": 100 * correct.item() / seen,
            "lr": self.config.optimizer.lr * factor,
            "flip_ratio": flips.item() / (steps * max(1, self.spans.total)),
            "step_ms": 1000 * seconds / steps,
            "images_per_s": seen / seconds,
        }
        layers: dict[str, dict[str, float]] = {}
        if generated:
            means = {"gain": gain / generated, "cosine": cosine / generated, "uphill": uphill / generated}
            metrics |= {name: value.mean().item() for name, value in means.items()}
            columns = {name: value.tolist() for name, value in means.items()}
            layers = {
                layer: {name: column[i] for name, column in columns.items()} for i, layer in enumerate(self.layer_names)
            }
        metrics |= self._evaluate()
        self.last_result = EpochResult(self.epoch, metrics, layers)
        return self.last_result

    def inputs(self, images: Tensor) -> Tensor:
        """Normalised network inputs of uint8 images, in the trial's dtype."""
        return normalise(images, self.data.mean, self.data.std, self.dtype)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next epoch depends on; the trainer is between two epochs."""
        return {
            "config": self.config.model_dump_json(),
            "epoch": self.epoch,
            "model": self.model.state_dict(),
            "estimator": self.step.estimator.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in self.step.optimizers().items()},
            "signal": self.step.signal._asdict() if self.step.signal is not None else None,
            "signs": self.step.signs,
            "averaged": self.averaged,
            "order": self.order.get_state(),
            "augmentation": self.augmentation.get_state(),
            "test_scores": list(self.test_scores),
            "last_result": [self.last_result.metrics, self.last_result.layers] if self.last_result else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a ``state_dict`` of the same trial; CheckpointCorrupt if it is of another."""
        stored = TrialConfig.model_validate_json(state["config"])
        if stored.identity() != self.config.identity():
            raise CheckpointCorrupt(
                f"the checkpoint belongs to another trial: {_difference(stored.identity(), self.config.identity())}."
            )
        self.epoch = state["epoch"]
        self.model.load_state_dict(state["model"])
        self.step.estimator.load_state_dict(state["estimator"])
        for name, optimizer in self.step.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        signal = state["signal"]
        self.step.signal = Signal(**{k: v.to(self.device) for k, v in signal.items()}) if signal else None
        self.step.signs = _to(state["signs"], self.device)
        self.averaged = _to(state["averaged"], self.device)
        self.order.set_state(state["order"])
        self.augmentation.set_state(state["augmentation"])
        self.test_scores = list(state["test_scores"])
        self.last_result = EpochResult(self.epoch, *state["last_result"]) if state["last_result"] else None

    def _average(self) -> None:
        """Moving average of the latent weights, one decay per step."""
        decay = self.config.evaluate.ema_weights
        if not decay:
            return
        latent = torch.cat([w.detach().flatten() for w in self.step.latents])
        self.averaged = latent if self.averaged is None else torch.lerp(latent, self.averaged, decay)

    def _evaluate(self) -> dict[str, float]:
        """Validation every epoch; test in the last ones, shown only at the end, where no choice can be made by it."""
        left = self.config.epochs - self.epoch
        metrics: dict[str, float] = {}
        plain = self._scores(with_test=left < LAST)
        metrics |= {"val_loss": plain["validation"].loss, "val_accuracy": plain["validation"].accuracy}
        if "test" in plain:
            self.test_scores.append(plain["test"].accuracy)
        if left == 0:
            metrics["test_accuracy"] = plain["test"].accuracy
            metrics["test_loss"] = plain["test"].loss
            metrics["test_accuracy_last10"] = sum(self.test_scores) / len(self.test_scores)
        if self.averaged is not None:
            weights = [
                layer.quantizer(part.view_as(layer.weight)).value  # type: ignore[misc]
                for layer, part in zip(self.step.layers, self.spans.split(self.averaged), strict=True)
            ]
            with using(self.step.layers, weights):
                averaged = self._scores(with_test=left == 0)
            metrics["val_accuracy_ema"] = averaged["validation"].accuracy
            if left == 0:
                metrics["test_accuracy_ema"] = averaged["test"].accuracy
        return metrics

    def _scores(self, with_test: bool) -> dict[str, Score]:
        parts = {"validation": self.validation} | ({"test": self.test} if with_test else {})
        if self.config.evaluate.batchnorm == "running":
            return {k: score(self.model, self.inputs, v.images, v.labels, EVALUATION_BATCH) for k, v in parts.items()}
        with reestimated_batchnorm(self.model, self.inputs, self._balanced.images, EVALUATION_BATCH):
            return {k: score(self.model, self.inputs, v.images, v.labels, EVALUATION_BATCH) for k, v in parts.items()}

    def _check_finite(self, train_loss: float) -> None:
        if not math.isfinite(train_loss):
            raise TrialDiverged(f"epoch {self.epoch}: the training loss is {train_loss}.")
        for name, weight in zip(self.layer_names, self.step.latents, strict=True):
            if not torch.isfinite(weight).all():
                raise TrialDiverged(f"epoch {self.epoch}: layer {name} has a latent weight that is not finite.")


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one; BackendUnavailable where CUDA is asked for and missing."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.startswith("cuda"):
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count <= int(name.partition(":")[2] or 0):
            raise BackendUnavailable(
                f'device is "{name}", but {count} CUDA devices are visible. Use device: cpu or auto.'
            )
    return torch.device(name)


def _to(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    return tensor.to(device) if tensor is not None else None


def _difference(a: dict[str, Any], b: dict[str, Any]) -> str:
    return ", ".join(f"{k} was {a.get(k)!r}, is {b.get(k)!r}" for k in b if a.get(k) != b.get(k))
