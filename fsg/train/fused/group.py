"""Neighbours in a pack whose estimators have equal shape: they generate and learn as one, in rows of their own.

The networks of a pack are all alike, its estimators need not be. A group's rows are views of the pack's. One trial by itself is
computed as two: of a single row torch takes other sums, over more than 32,768 numbers with two threads.
Proof: ``tests/train/test_fused.py``.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from fsg.fusing import estimator_shape
from fsg.gradients import Direction, Signal, Update
from fsg.gradients.rows import EstimatorRows
from fsg.ops.spans import RowSpans
from fsg.parts import part_of, resolved
from fsg.train.fused.optim import AdamRows
from fsg.train.loop import Trainer
from fsg.train.step import LookAheadStep

SETTLED = 2  # steps beyond those that fill the memory, after which a step is as any other


class Group:
    """The estimators and meta-optimizers of ``trainers``, which have the pack's rows from ``start`` on."""

    def __init__(self, trainers: Sequence[Trainer], start: int, spans: RowSpans) -> None:
        steps = [look_ahead(trainer) for trainer in trainers]
        self.rows = slice(start, start + len(steps))
        twins = steps if len(steps) > 1 else steps * 2
        gradient = trainers[0].config.gradient
        maker = resolved(part_of("gradient", gradient).fact("fusable", gradient))
        self.estimator: EstimatorRows = maker([step.estimator for step in twins], spans, steps[0].latent.dtype)
        meta = [step.meta_optimizer for step in twins if step.meta_optimizer is not None]
        self.optimizer = AdamRows(meta) if meta else None
        self.seconds = 0.0  # of generating and learning
        self._direction: Direction | None = None

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def gates(self) -> bool:
        """Whether it holds back a part of the base optimizer's step."""
        return self.estimator.gates

    def gather(self) -> None:
        """Stack what the trials have now."""
        self.estimator.gather()
        if self.optimizer is not None:
            self.optimizer.gather()
        self._direction, self.seconds = None, 0.0

    def scatter(self) -> None:
        """Give the trials theirs back."""
        self.estimator.scatter(len(self))
        if self.optimizer is not None:
            self.optimizer.scatter(len(self))
        self.seconds = 0.0

    def generate(self, signal: Signal) -> Direction:
        """Its rows of the pack's direction; ``learn`` is to hear what the step along it came to."""
        with self._timed():
            self._direction = self.estimator(self._signal(signal))
            return Direction(*(part.detach()[: len(self)] for part in self._direction))

    def learn(self, measured: Signal) -> None:
        """A step of the hypernetworks, where there are any and a direction was generated."""
        direction, learnt = self._direction, self.estimator.learnt
        self._direction = None
        if direction is None or learnt is None or self.optimizer is None:
            return
        learnt.grad = None
        with self._timed():
            if self.estimator.learn(direction, self._signal(measured)) and learnt.grad is not None:
                with torch.no_grad():
                    self.optimizer.step(learnt, learnt.grad)

    def hold(self, before: Tensor, latent: Tensor, signal: Signal, progress: Tensor) -> None:
        """Take back, in place, what its gates hold of the step from ``before`` to ``latent``, (K, N) of the whole pack."""
        old = self._own(before)
        step = old - self._own(latent)
        update = Update(old, step, self._own(progress)[:, None])  # type: ignore[arg-type]  # a row of it each
        kept = old - self.estimator.gate(update, self._signal(signal)) * step
        latent[self.rows].copy_(kept[: len(self)])

    def diagnose(self, signal: Signal) -> list[dict[str, Tensor]]:
        """What the estimators say of themselves, for each trial by name, (layers,)."""
        found = self.estimator.diagnose(self._signal(signal))
        return [{name: rows[k] for name, rows in found.items()} for k in range(len(self))]

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Adds to ``seconds``; on a GPU, which is not waited for, what it takes to ask for it."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start

    def _signal(self, signal: Signal) -> Signal:
        return Signal(*(None if part is None else self._own(part) for part in signal))  # type: ignore[arg-type]

    def _own(self, pack: Tensor) -> Tensor:
        """The group's rows of a (K, ...) tensor; those of one trial twice."""
        own = pack[self.rows]
        return own if len(self) > 1 else torch.cat([own, own])


def groups_of(trainers: Sequence[Trainer], spans: RowSpans) -> list[Group]:
    """Neighbours of one kind are a group."""
    groups: list[Group] = []
    for _, members in itertools.groupby(trainers, kind_of):
        groups.append(Group(list(members), groups[-1].rows.stop if groups else 0, spans))
    return groups


def kind_of(trainer: Trainer) -> tuple[str, int]:
    """Equal for trials that can be a group: the shape of the estimator, and how full its memory is."""
    gradient = trainer.config.gradient
    memory = part_of("gradient", gradient).fact("memory_steps", gradient)
    return estimator_shape(trainer.config), min(trainer.steps_in_all, memory + SETTLED)


def look_ahead(trainer: Trainer) -> LookAheadStep:
    """Its step, which is of the kind that can be fused."""
    step = trainer.step
    assert isinstance(step, LookAheadStep)
    return step
