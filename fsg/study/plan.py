"""What a study runs, resolved once: arms, blocks, ends and trials. Whoever comes after takes the plan, not the file.

Proof: ``tests/study/test_design.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsg.config import TrialConfig, digest
from fsg.fusing import settled

if TYPE_CHECKING:
    from fsg.study.spec import SweepSpec

SWEEP_ARM = "sweep"


@dataclass(frozen=True, slots=True)
class PlannedTrial:
    """One trial to run. ``key`` is the same after a restart, on another machine and in MLflow."""

    key: str
    arm: str
    seed: int
    config: TrialConfig

    def event(self) -> dict[str, Any]:
        """What the ledger's "planned" holds of it."""
        return {"key": self.key, "arm": self.arm, "seed": self.seed, "config": self.config.model_dump(mode="json")}


@dataclass(frozen=True, slots=True)
class Block:
    """Arms that are compared with each other. All names are whole: ``resnet20-sgd/full``; a study's only block is ``""``."""

    name: str
    arms: tuple[str, ...]
    reference: str
    baseline: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of an ablation.

    Args:
        study: Its name.
        arms: Every arm by its whole name, as a trial with the base's seed; in the order of the table.
        names: The arms without their block.
        blocks: A table each.
        reference: The arm that all others are compared with, without its block.
        baseline: A second such arm, or None.
        first_seeds: All seeds, or those that run in any case where more may be added.
    """

    study: str
    arms: Mapping[str, TrialConfig]
    names: tuple[str, ...]
    blocks: tuple[Block, ...]
    reference: str
    baseline: str | None
    first_seeds: tuple[int, ...]

    def trials(self, seeds: Iterable[int] | None = None) -> list[PlannedTrial]:
        """All arms of a seed before the next seed: what is interrupted still has whole pairs. ``seeds`` None: the first."""
        chosen = self.first_seeds if seeds is None else seeds
        return [planned(self.study, arm, seed, config) for seed in chosen for arm, config in self.arms.items()]


def trial_key(study: str, arm: str, seed: int, config: TrialConfig) -> str:
    """12 hexadecimal digits that stand for this trial: of the study's name, arm, seed and configuration less device."""
    return digest({"study": study, "arm": arm, "seed": seed, "config": config.identity()})


def planned(study: str, arm: str, seed: int, config: TrialConfig) -> PlannedTrial:
    """The trial of ``arm`` with ``seed``, whatever seed ``config`` names."""
    config = config.model_copy(update={"seed": seed})
    return PlannedTrial(trial_key(study, arm, seed, config), arm, seed, config)


def sweep_trial(spec: SweepSpec, values: Mapping[str, Any]) -> PlannedTrial:
    """The trial of a sweep at the point ``values`` (path -> value, for each of ``spec.space.paths``).

    The same point gives the same key. ConfigError for values that make no valid trial.
    """
    return planned(spec.name, SWEEP_ARM, spec.seed, sweep_config(spec, values))


def sweep_config(spec: SweepSpec, values: Mapping[str, Any]) -> TrialConfig:
    """What the trial at the point ``values`` trains with, whatever its seed: ``sweep_trial`` less its key, in half the time."""
    return settled(spec.space.resolve(spec.base, values))
