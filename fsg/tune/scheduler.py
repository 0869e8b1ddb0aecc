"""Who decides that a trial stops early: Ray Tune's schedulers, by the names a specification uses."""

from __future__ import annotations

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from fsg.study.spec import Asha, SweepSpec


def make_scheduler(spec: SweepSpec) -> TrialScheduler:
    """The scheduler of a sweep; its unit of time is the epoch."""
    match spec.scheduler:
        case Asha(grace_epochs=grace, reduction_factor=factor):
            return AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=spec.metric.name,
                mode=spec.metric.mode,
                max_t=spec.base.epochs,
                grace_period=min(grace, spec.base.epochs),
                reduction_factor=factor,
            )
        case _:
            return FIFOScheduler()
