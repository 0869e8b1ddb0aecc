"""Ray Tune as an engine: trials side by side, on the cores of this machine or on a cluster.

Ray's own experiment state is not used to restart.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fsg.errors import BackendUnavailable
from fsg.execution.engine import Resources, Work, device_of
from fsg.execution.process import as_ctrl_c
from fsg.ray_engine.cluster import grown, joined, share_problem

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ray.tune import PlacementGroupFactory

    from fsg.study.spec import AblationSpec, SweepSpec


class RayEngine:
    """Trials as actors of Ray. BackendUnavailable when no cluster answers, or a trial asks for more than the cluster has."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def ready(self, spec: AblationSpec | SweepSpec, storage: Path) -> AbstractContextManager[None]:
        """Joined to the cluster, if it is one, whose every node was asked (``preflight.fit``)."""
        from fsg.ray_engine.preflight import fit

        return fit(spec, self.resources, storage)

    def connected(self) -> AbstractContextManager[None]:
        """Joined to the cluster that ``resources`` names, or to a Ray of this machine that is started."""
        return _ray(self.resources)

    def largest_node(self) -> dict[str, float]:
        """The most that one trial can have of each resource."""
        import ray

        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        return {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}

    def device(self) -> str:
        """Of this machine; on a joined cluster the trial itself says it, with its first epoch."""
        return device_of(self.resources)

    def run(self, work: Work) -> bool:
        """All trials of the source, as many side by side as there are slots; False where it was asked to stop."""
        if work.fused and self.resources.fuse > 1:
            from fsg.ray_engine.packs import run_packs

            with _quiet():
                return run_packs(work, self.resources, _slots(self.resources))
        return self._run_alone(work)

    def _run_alone(self, work: Work) -> bool:
        from ray import tune

        from fsg.execution.reports import ASSIGNMENT
        from fsg.ray_engine.hang_monitor import HangMonitor
        from fsg.ray_engine.ray_liveness import RayLiveness
        from fsg.ray_engine.recorder import Recorder, StartRecorder
        from fsg.ray_engine.scheduler import RuleScheduler
        from fsg.ray_engine.snapshots import Forget
        from fsg.ray_engine.trainable import FsgTrainable
        from fsg.ray_engine.trial_source import SourceSearcher
        from fsg.ray_engine.waiting import Waiting
        from fsg.ray_engine.worker_reuse import WorkerReuse

        recording, slots = work.recording, _slots(self.resources)
        scheduler = WorkerReuse(slots) if work.judge is None else RuleScheduler(work.judge, slots)
        same = self.resources.share()
        trainable = tune.with_resources(FsgTrainable, lambda config: _bundle(**(config[ASSIGNMENT].resources or same)))
        ray_liveness = RayLiveness()
        waiting = [Waiting(slots, self.resources.patience)] if self.resources.address else []  # here, nothing will come
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=SourceSearcher(work.source),
                scheduler=Recorder(recording, scheduler),
                num_samples=-1,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(work.folder.ray.resolve()),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a trial has made its own
                callbacks=[
                    StartRecorder(recording),
                    HangMonitor(recording, recording.limits, work.disk_space),
                    ray_liveness,
                    *waiting,
                    Forget(),
                ],
            ),
        )
        try:
            with _quiet() as heard_a_stop:
                tuner.fit()
                return not heard_a_stop()
        except Exception:
            errors = [ray_liveness.error, *(each.error for each in waiting)]
            ours = next((error for error in errors if error is not None), None)
            if ours is not None and recording.error is None and not work.disk_space.interrupted:
                raise ours from None
            raise


@contextmanager
def _ray(resources: Resources) -> Iterator[None]:
    """Connected to Ray, with as many trials made ready as there are slots."""
    with joined(resources.address):
        from fsg.ray_engine.ray_liveness import explaining_gcs

        # Ray makes one trial at a time ready for a searcher that learns; every free core should have one waiting.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_slots(resources))
        with explaining_gcs():
            yield


def _slots(resources: Resources) -> int:
    """How many trials the cluster runs side by side; BackendUnavailable if it is none, or of some arm."""
    import ray

    have = ray.cluster_resources()
    if resources.address is not None:
        have = grown(have)
    if problem := share_problem(resources.shares(), have):
        raise BackendUnavailable(problem)
    return max(
        min([int(have[n] / share[n.lower()]) for n in ("CPU", "GPU") if share[n.lower()]], default=1)
        for share in resources.shares()
    )


@functools.cache  # 2 kB, and all trials that ask for the same can have the same
def _bundle(cpu: float, gpu: float, **others: float) -> PlacementGroupFactory:
    """What Ray is to set aside, as it wants it said."""
    from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

    return resource_dict_to_pg_factory({"cpu": cpu, "gpu": gpu, **others})


@contextmanager
def _quiet() -> Iterator[Callable[[], bool]]:
    """Without Ray's deprecations and its list of failed trials, of which the ledger has each with its reason.

    Ctrl-C does afterwards what it did before: Ray Tune takes it for itself, and gives it back only where it heard one, which is
    how the answer can say whether it did. SIGTERM is heard as Ctrl-C is, where Ray would leave at once.
    """
    logger, ours = logging.getLogger("ray.tune"), threading.current_thread() is threading.main_thread()
    interrupt, terminate = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    takes_it = ours and os.getenv("TUNE_DISABLE_SIGINT_HANDLER", "0") == "0"
    if ours:
        signal.signal(signal.SIGTERM, as_ctrl_c)
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield lambda: takes_it and signal.getsignal(signal.SIGINT) == interrupt
    finally:
        logger.setLevel(level)
        if ours:
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGTERM, terminate)
