"""Running a study: what the ledger does not hold as ended is handed to Ray Tune, and every event comes back to the ledger.

Ray's own experiment state is not used to restart: a second run of the same study asks the ledger what is left, and every trial
goes on from its own checkpoint.
"""

from __future__ import annotations

import logging
import os
import platform
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.errors import BackendUnavailable
from fsg.study.design import PlannedTrial, plan
from fsg.study.folder import StudyFolder
from fsg.study.ledger import Ledger, StudyState
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from fsg.tune.searcher import StudySearcher

# Read by ray when it is imported, which happens in functions below.
_RAY_ENVIRONMENT = {
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would make Ray build a second environment
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # the ledger is the record
}
ENDED = ("finished", "pruned", "failed")


@dataclass(frozen=True)
class Resources:
    """What one trial takes, in CPU cores and GPUs (fractions allowed), and the Ray cluster to join (None: this machine)."""

    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    address: str | None = None


def run_study(folder: StudyFolder, spec: AblationSpec | SweepSpec, resources: Resources, ledger: Ledger) -> bool:
    """Run what is left of a study; True if every trial has ended, False if it was stopped (Ctrl-C) before.

    ``ledger`` is the one open for appending. BackendUnavailable when no cluster answers, or a trial asks for more
    than the cluster has.
    """
    state = folder.state()
    left = unfinished(spec, state, ledger)
    if left or isinstance(spec, SweepSpec):
        os.environ.update(_RAY_ENVIRONMENT)
        import ray

        ours = _connect(resources)
        try:
            # Ray makes one trial at a time ready for a searcher that learns; every free core should have one waiting.
            os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_slots(resources))
            _tune(folder, spec, resources, ledger, left, state)
        finally:
            if ours:
                ray.shutdown()
    return complete(spec, folder.state())


def unfinished(spec: AblationSpec | SweepSpec, state: StudyState, ledger: Ledger) -> list[PlannedTrial]:
    """The planned trials that have not ended, after writing down those that nobody has planned yet. A sweep plans as it goes."""
    if isinstance(spec, SweepSpec):
        return []
    left = []
    for trial in plan(spec):
        record = state.trials.get(trial.key)
        if record is None:
            config = trial.config.model_dump(mode="json")
            ledger.append("planned", key=trial.key, arm=trial.arm, seed=trial.seed, config=config)
        if record is None or record.status not in ENDED:
            left.append(trial)
    return left


def complete(spec: AblationSpec | SweepSpec, state: StudyState) -> bool:
    """Whether every trial that the study asks for has ended."""
    wanted = spec.search.trials if isinstance(spec, SweepSpec) else len(plan(spec))
    return sum(trial.status in ENDED for trial in state.trials.values()) >= wanted


def _connect(resources: Resources) -> bool:
    """Join or start Ray; False if this process was connected already."""
    import ray

    if ray.is_initialized():
        return False
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if resources.address is None:
        ray.init(include_dashboard=False, **quiet)
        return True
    try:
        ray.init(address=resources.address, **quiet)
    except Exception as error:  # Ray raises a dozen kinds here, from ConnectionError to RuntimeError
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendUnavailable(
            f"--address {resources.address}: no Ray cluster answers there ({first}). "
            "Start one with `ray start --head`, or leave --address out to use this machine."
        ) from None
    return True


def device_name(resources: Resources) -> str:
    """What a trial computes on, as a table names it: the GPU's or the processor's model. A joined cluster's is not known here."""
    if resources.address is not None:
        return "GPU of the cluster" if resources.gpus_per_trial else "CPU of the cluster"
    if resources.gpus_per_trial:
        import torch

        return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "GPU"
    cpuinfo = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.M) if cpuinfo.exists() else []
    return f"{models[0].strip() if models else platform.processor() or 'CPU'}, {os.cpu_count()} cores"


def _slots(resources: Resources) -> int:
    """How many trials the cluster runs side by side; BackendUnavailable if it is none."""
    import ray

    have, slots = ray.cluster_resources(), []
    for name, wanted in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        if wanted > have.get(name, 0):
            option = f"--{name.lower()}s-per-trial"
            raise BackendUnavailable(
                f"{option} is {wanted:g}, but the cluster has {have.get(name, 0):g}. Ask for less."
            )
        slots += [int(have[name] / wanted)] if wanted else []
    return min(slots, default=1)


def _tune(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    resources: Resources,
    ledger: Ledger,
    left: list[PlannedTrial],
    state: StudyState,
) -> None:
    from ray import tune
    from ray.tune.schedulers import FIFOScheduler

    from fsg.tune.recorder import Recorder, StartRecorder
    from fsg.tune.scheduler import make_scheduler
    from fsg.tune.searcher import PlanSearcher, SweepSearcher
    from fsg.tune.trainable import FsgTrainable

    searcher: StudySearcher
    scheduler: TrialScheduler
    if isinstance(spec, SweepSpec):
        searcher, scheduler = SweepSearcher(folder, spec, ledger, state.trials), make_scheduler(spec)
    else:
        searcher, scheduler = PlanSearcher(folder, left), FIFOScheduler()
    attempts = {key: record.attempts for key, record in state.trials.items()}
    trainable = tune.with_resources(FsgTrainable, {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray's own deprecations; nothing a user could act on
        tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher, scheduler=Recorder(ledger, scheduler), num_samples=-1, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(folder.ray.resolve()),
                verbose=0,
                callbacks=[StartRecorder(ledger, attempts, device_name(resources))],
            ),
        ).fit()
