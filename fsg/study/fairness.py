"""What every arm may spend: the same epochs, the same time, or the same floating-point operations.

Time and operations are turned into epochs before the first trial: the reference trains the base's epochs, every other arm
as many as cost the same, to the nearest whole one. What an epoch of each arm costs is measured once and kept in the
study's specification, so the epochs belong to the trials' keys: a study that is resumed, or run again elsewhere, runs the
same trials. Pure: who measures hands the measurement in. Proof: ``tests/study/test_fairness.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Literal

from pydantic import Field

from fsg.config import TrialConfig
from fsg.section import Section

# The cost of one epoch of each configuration, measured side by side, in one unit for all of them.
Measure = Callable[[Mapping[str, TrialConfig]], Mapping[str, float]]
UNITS = {"time": "s", "flops": "FLOP"}


class Fairness(Section):
    """What all arms spend alike.

    Args:
        equal: ``epochs``, ``time`` or ``flops``; left out, every arm has the epochs that it is written with.
        costs: Arm -> seconds or floating-point operations of one epoch. Filled in by measuring; delete it from a file to have
            it measured again.
    """

    equal: Literal["epochs", "time", "flops"] | None = None
    costs: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)

    @property
    def by_cost(self) -> bool:
        """Whether epochs follow from what they cost."""
        return self.equal in UNITS

    def budgeted(self, arm: str, config: TrialConfig, reference: str) -> TrialConfig:
        """``config`` with the epochs that ``reference`` pays for, its schedule stretched with them.

        As it is where nothing was measured yet. The learning rate falls at the same share of training in every arm.
        """
        if not self.by_cost or arm == reference or arm not in self.costs or reference not in self.costs:
            return config
        ratio = self.costs[reference] / self.costs[arm]
        epochs = max(1, round(config.epochs * ratio))
        least = {"warmup_epochs": 0, "step_epochs": 1}  # of a guest's schedule, what it has of these
        lengths = {name: getattr(config.schedule, name) for name in least if hasattr(config.schedule, name)}
        stretched = {name: max(least[name], round(length * ratio)) for name, length in lengths.items()}
        if "warmup_epochs" in stretched:
            stretched["warmup_epochs"] = min(epochs - 1, stretched["warmup_epochs"])
        schedule = config.schedule.model_copy(update=stretched)
        return config.model_copy(update={"epochs": epochs, "schedule": schedule})


def measured(fairness: Fairness, arms: Mapping[str, TrialConfig], known: Fairness, measure: Measure) -> Fairness:
    """``fairness`` with the costs of all ``arms``: those that ``known`` has, and the rest measured.

    A new arm is measured beside one that is known and scaled to it: the machine may be another, or busier, today.
    """
    if not fairness.by_cost:
        return fairness
    same = known.costs if known.equal == fairness.equal else {}
    costs = {arm: cost for arm, cost in (same | fairness.costs).items() if arm in arms}
    missing = {arm: config for arm, config in arms.items() if arm not in costs}
    if missing:
        yardstick = next(iter(costs), None)
        found = measure(missing | ({yardstick: arms[yardstick]} if yardstick else {}))
        scale = costs[yardstick] / found[yardstick] if yardstick else 1.0
        costs |= {arm: float(f"{scale * found[arm]:.6g}") for arm in missing}
    return fairness.model_copy(update={"costs": {arm: costs[arm] for arm in arms}})
