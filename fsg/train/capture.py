"""A training step as one CUDA graph: recorded once, replayed as one launch (``cuda_graph: true``).

A graph replays kernels with the addresses and numbers they were recorded with. So every tensor that a step reads and the next
one changes stays where it is, learning rates are tensors on the device, and nobody waits. The first steps run as they are,
until all memory has its place; a state that is loaded makes it start over.
Proof: tests/train/test_capture.py; what it relies on is tested on the CPU, the replay itself only where there is a GPU.
"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor

from fsg.config import TrialConfig
from fsg.parts import find_part, has_part, part_of
from fsg.train.influence import Influence
from fsg.train.optim import BaseOptimizer
from fsg.train.step import StepResult, TrainingStep

SETTLED = 3  # steps beyond the history's length: the first generated, the first measured, the first learnt from
_log = logging.getLogger("fsg")


def can_capture(config: TrialConfig, device: torch.device) -> bool:
    """Whether the step is to be captured; where it is asked for and cannot be, the reason is said."""
    if not config.cuda_graph:
        return False
    reason = why_not(config, device)
    if reason is not None:
        _log.warning("cuda_graph: every step is launched by itself: %s.", reason)
    return reason is None


def why_not(config: TrialConfig, device: torch.device) -> str | None:
    """What keeps this trial's step from being captured."""
    gradient = config.gradient
    if device.type != "cuda":
        return f"the trial trains on {device.type}"
    for name in (each.name for each in (config.optimizer, config.optimizer.float) if each is not None):
        if not (has_part("optimizer", name) and find_part("optimizer", name).fact("capturable")):
            return f"optimizer {name} may count its steps on the host"
    why: str | None = part_of("gradient", gradient).fact("uncapturable", gradient)
    return why


class CapturedStep(TrainingStep):
    """Replays ``step``, which must have been made with ``capturable=True``. ``history``: steps until its memory is full."""

    def __init__(self, step: TrainingStep, history: int) -> None:
        self.step = step
        self.spans, self.layers, self.latent = step.spans, step.layers, step.latent
        self.eager = history + SETTLED
        self.left = self.eager
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs = self.labels = torch.zeros(0)
        self.result: StepResult

    def __call__(self, inputs: Tensor, labels: Tensor) -> StepResult:
        """One step; the tensors of its result are overwritten by the next one."""
        if self.left:
            self.left -= 1
            self.stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self.stream):
                result = self.step(inputs, labels)
            torch.cuda.current_stream().wait_stream(self.stream)
            return result
        if self.graph is None:
            self.graph = self._capture(inputs, labels)
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.result

    def _capture(self, inputs: Tensor, labels: Tensor) -> torch.cuda.CUDAGraph:
        """Records a step without taking it."""
        self.inputs, self.labels = inputs.clone(), labels.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            self.result = self.step(self.inputs, self.labels)
        return graph

    @property
    def progress(self) -> float:
        """The step's; the graph reads its clocks where they are."""
        return self.step.progress

    @progress.setter
    def progress(self, value: float) -> None:
        self.step.progress = value

    def set_rates(self, base: float, meta: float) -> None:
        """The step's; the graph reads them where they are."""
        self.step.set_rates(base, meta)

    def base_optimizers(self) -> list[BaseOptimizer]:
        """The step's."""
        return self.step.base_optimizers()

    def requantize(self) -> None:
        """The step's; its graph is captured again when a state is loaded, which comes next."""
        self.step.requantize()

    def diagnose(self) -> dict[str, Tensor]:
        """The step's."""
        return self.step.diagnose()

    def influence(self) -> Influence | None:
        """The step's."""
        return self.step.influence()

    def state_dict(self) -> dict[str, Any]:
        """The step's."""
        return self.step.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The step's; its tensors are new ones, so it is captured again."""
        self.step.load_state_dict(state)
        self.graph, self.left = None, self.eager
