"""Learning rates over training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from fsg.parts import register
from fsg.section import Section


class ScheduleConfig(Section):
    """The learning rate over training, as a factor of ``optimizer.lr``; the meta-optimizers follow the same factor."""

    name: Literal["constant", "step", "cosine", "linear"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    step_epochs: Annotated[int, Field(ge=1)] = 30
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.1


for _name in ("constant", "step", "cosine", "linear"):
    register("schedule", ScheduleConfig, f"fsg.train.schedules:{_name}", names=[_name])
