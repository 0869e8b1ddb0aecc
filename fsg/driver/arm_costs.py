"""What an epoch of each arm costs, where a study gives all of them the same time or operations."""

from __future__ import annotations

from collections.abc import Mapping

from fsg.config import TrialConfig
from fsg.driver.locate import fetched
from fsg.record.folder import StudyFolder
from fsg.study.fairness import Fairness, measured
from fsg.study.spec import AblationSpec


def with_costs(spec: AblationSpec, storage: str, cpus: float, gpus: float) -> AblationSpec:
    """The study with the costs that its epochs follow from: those it began with, or measured now."""
    if not spec.fairness.by_cost:
        return spec
    folder = StudyFolder(fetched(spec.name, storage) / spec.name)
    began = folder.spec() if folder.spec_path.is_file() else None
    known = began.fairness if isinstance(began, AblationSpec) else Fairness()

    def measure(arms: Mapping[str, TrialConfig]) -> Mapping[str, float]:
        import torch

        from fsg.train.cost import epoch_flops, epoch_seconds

        torch.set_num_threads(max(1, int(cpus)))  # as a trial's worker does
        if spec.fairness.equal == "flops":
            return epoch_flops(arms)
        device = "auto" if gpus else "cpu"
        return epoch_seconds({arm: config.model_copy(update={"device": device}) for arm, config in arms.items()})

    unmeasured = spec.model_copy(update={"fairness": Fairness()})
    fairness = measured(spec.fairness, unmeasured.plan.arms, known, measure)
    return spec.model_copy(update={"fairness": fairness})
