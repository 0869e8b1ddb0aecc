"""From arms to tuned arms: the search that each arm is given.

Every arm, baselines included, gets the same number of configurations on validation, under seeds that the comparison does not use;
then the tuned arms meet on the comparison's own seeds. Proof: ``tests/study/test_tuned.py``.
"""

from __future__ import annotations

from fsg.metrics import epoch_metrics
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SearchMetricSpec, SearchSpec, SweepSpec


def arm_sweeps(spec: AblationSpec) -> dict[str, SweepSpec]:
    """The search of each arm, by arm; none where the study tunes nothing. A sweep's name is its arm's."""
    if spec.retune is None:
        return {}
    seeds = spec.seeds.max if isinstance(spec.seeds, SequentialSeeds) else max(spec.first_seeds)
    metric = spec.metric if spec.metric.name in epoch_metrics() else None
    sweeps = {}
    for arm, config in spec.plan.arms.items():
        space = spec.retune.space_of(arm)
        assert space is not None, "refused when the study was loaded"
        sweeps[arm] = SweepSpec(
            name=arm.replace("/", "."),
            question=f"Which configuration of {arm} is best on validation?",
            base=config.model_copy(update={"seed": 0}),
            seed=seeds + 1,
            seeds_per_config=spec.retune.seeds_per_config,
            metric=SearchMetricSpec(
                **(metric.model_dump() if metric else {"name": "val_accuracy", "mode": "max", "unit": "%"})
            ),
            space=space,
            search=SearchSpec(trials=spec.retune.trials_per_arm),
        )
    return sweeps
