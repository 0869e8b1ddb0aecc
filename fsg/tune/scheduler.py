"""Who decides that a trial stops early: Ray Tune's schedulers, by the names a specification uses."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import AsyncHyperBandScheduler, FIFOScheduler, TrialScheduler

from fsg.study.ledger import TrialRecord
from fsg.study.spec import Asha, SweepSpec


def make_scheduler(spec: SweepSpec, records: Mapping[str, TrialRecord]) -> TrialScheduler:
    """The scheduler of a sweep; its unit of time is the epoch. It judges as one that saw the ``records`` that ended."""
    scheduler = _scheduler(spec)
    for key, record in records.items():
        if record.status not in ("finished", "pruned"):
            continue
        past: Any = SimpleNamespace(trial_id=key)
        nobody: Any = None  # the controller of a run that is over
        scheduler.on_trial_add(nobody, past)
        for metrics in record.epochs:
            if metrics.get(spec.metric.name) is not None:
                scheduler.on_trial_result(nobody, past, metrics)
        scheduler.on_trial_remove(nobody, past)
    return scheduler


def _scheduler(spec: SweepSpec) -> TrialScheduler:
    epochs = spec.space.root.get("epochs")
    longest = max(int(e) for e in epochs.extremes if e is not None) if epochs else spec.base.epochs
    match spec.scheduler:
        case Asha(grace_epochs=grace, reduction_factor=factor):
            return AsyncHyperBandScheduler(
                time_attr="epoch",
                metric=spec.metric.name,
                mode=spec.metric.mode,
                max_t=longest,
                grace_period=grace,
                reduction_factor=factor,
            )
        case _:
            return FIFOScheduler()
