"""Running a study: what the ledger does not hold as ended is handed to Ray Tune, and every event comes back to the ledger.

Ray's own experiment state is not used to restart: a second run of the same study asks the ledger what is left, and every trial
goes on from its own checkpoint.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsg.errors import BackendUnavailable, DiskFull, FsgError
from fsg.study.design import PlannedTrial
from fsg.study.folder import StudyFolder
from fsg.study.ledger import Ledger, StudyState
from fsg.study.population import is_population
from fsg.study.seeds import Enough, next_seeds
from fsg.study.spec import AblationSpec, SweepSpec, best_by
from fsg.tune.cluster import grown, joined
from fsg.tune.devices import OF_CLUSTER, device_name
from fsg.tune.retry import Limits
from fsg.tune.room import PauseInterrupted, Room
from fsg.tune.storage import StudyStorage

if TYPE_CHECKING:
    from ray.tune import PlacementGroupFactory

    from fsg.tune.searcher import StudySearcher


@dataclass(frozen=True)
class Resources:
    """What one trial takes, in CPU cores and GPUs (fractions allowed), and the Ray cluster to join (None: this machine).

    ``pack``: GPUs are shared out by measured memory, and ``gpus_per_trial`` is what a trial has before it was measured.
    """

    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    address: str | None = None
    pack: bool = False


def run_study(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    resources: Resources,
    ledger: Ledger,
    enough: Enough = lambda differences, half_width: True,
    limits: Limits | None = None,
) -> bool:
    """Run what is left of a study; True if every trial has ended, False if it was stopped (Ctrl-C) before.

    ``ledger`` is the one open for appending. ``enough`` decides whether a study of sequential seeds goes on.
    ``limits``: what interrupted trials are given.
    BackendUnavailable when no cluster answers, or a trial asks for more than the cluster has. StorageFailed when the folder
    is removed or moved meanwhile, or takes no writes any more.
    """
    try:
        with StudyStorage(folder) as storage:
            folder.checkpoints.mkdir(exist_ok=True)  # a copy that was fetched has no empty folder
            room = Room(folder, check=storage.check)
            return _run(folder, spec, resources, _GuardedLedger(ledger, room, storage), room, enough, limits)
    except PauseInterrupted:
        return False


def _run(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    resources: Resources,
    ledger: _GuardedLedger,
    room: Room,
    enough: Enough,
    limits: Limits | None,
) -> bool:
    with ExitStack() as stack:
        connect = functools.cache(lambda: stack.enter_context(_ray(resources)))
        if isinstance(spec, SweepSpec):
            return _run_sweep(folder, spec, resources, ledger, room, connect, limits)
        while True:
            state = folder.state()
            left = next_seeds(spec, state, enough)
            if not left:
                return True
            connect()
            new = [trial for trial in left if trial.key not in state.trials]
            if new:
                ledger.append_all(("planned", trial.event()) for trial in new)
            _tune(folder, spec, resources, ledger, room, left, state, limits)
            trials = folder.state().trials
            if not all(trials[trial.key].over for trial in left):
                return False


def _run_sweep(
    folder: StudyFolder,
    spec: SweepSpec,
    resources: Resources,
    ledger: _GuardedLedger,
    room: Room,
    connect: Callable[[], None],
    limits: Limits | None,
) -> bool:
    """A sweep plans as it goes; it also ends when its space has nothing new to offer."""
    state = folder.state()
    if _complete(spec, state):
        return True
    connect()
    exhausted = _tune(folder, spec, resources, ledger, room, [], state, limits)
    state = folder.state()
    return _complete(spec, state) or (exhausted and all(trial.over for trial in state.trials.values()))


def _complete(spec: SweepSpec, state: StudyState) -> bool:
    """Whether every configuration has come to its end, or the budget has and nothing that was begun is left."""
    from fsg.tune.configurations import settled

    ended = all(trial.over for trial in state.trials.values())
    return ended and (state.stopped is not None or settled(spec, state.trials) >= spec.search.trials)


@contextmanager
def _ray(resources: Resources) -> Iterator[None]:
    """Connected to Ray, with as many trials made ready as there are slots."""
    with joined(resources.address):
        from fsg.tune.pulse import explaining_gcs

        # Ray makes one trial at a time ready for a searcher that learns; every free core should have one waiting.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(_slots(resources))
        with explaining_gcs():
            yield


def device_of(resources: Resources) -> str:
    """The name of what a trial is about to compute on. On a joined cluster the trial itself says it, with its first epoch."""
    kind = "cuda" if resources.gpus_per_trial else "cpu"
    return device_name(kind) if resources.address is None else OF_CLUSTER[kind]


def _slots(resources: Resources) -> int:
    """How many trials the cluster runs side by side; BackendUnavailable if it is none."""
    import ray

    have, slots = ray.cluster_resources(), []
    if resources.address is not None:
        have = grown(have)
    for name, wanted in (("CPU", resources.cpus_per_trial), ("GPU", resources.gpus_per_trial)):
        if wanted > have.get(name, 0):
            option = f"--{name.lower()}s-per-trial"
            raise BackendUnavailable(
                f"{option} is {wanted:g}, but the cluster has {have.get(name, 0):g}. Ask for less."
            )
        slots += [int(have[name] / wanted)] if wanted else []
    return min(slots, default=1)


def largest_node() -> dict[str, float]:
    """The most that one trial can have of each resource."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}


def _tune(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    resources: Resources,
    ledger: _GuardedLedger,
    room: Room,
    left: list[PlannedTrial],
    state: StudyState,
    limits: Limits | None,
) -> bool:
    """Hand the trials to Ray Tune; True if a sweep ended because its space has no point left."""
    from ray import tune

    from fsg.tune.packing import Packing
    from fsg.tune.population_searcher import PopulationSearcher
    from fsg.tune.pulse import Pulse
    from fsg.tune.recorder import Recorder, StartRecorder
    from fsg.tune.reports import ASSIGNMENT
    from fsg.tune.scheduler import make_scheduler
    from fsg.tune.searcher import PlanSearcher, SweepSearcher
    from fsg.tune.snapshots import Forget
    from fsg.tune.trainable import FsgTrainable
    from fsg.tune.turns import Turns
    from fsg.tune.watch import Watch

    searcher: StudySearcher
    scheduler: Turns
    if isinstance(spec, SweepSpec):
        share = (resources.cpus_per_trial, resources.gpus_per_trial)
        kind = PopulationSearcher if is_population(spec) else SweepSearcher
        searcher = kind(folder, spec, ledger, state.trials, *share, room)
        scheduler = make_scheduler(spec, state.trials, searcher.expected)
    else:
        searcher, scheduler = PlanSearcher(folder, left), Turns()
    scheduler.slots = _slots(resources)
    same = {"cpu": resources.cpus_per_trial, "gpu": resources.gpus_per_trial}
    packing = Packing(same["cpu"], same["gpu"], resources.pack, largest_node(), state.trials)
    recorder = Recorder(ledger, scheduler, state.trials, limits, packing, device_of(resources), room)
    searcher.best = best_by(spec)
    searcher.runs_again = recorder.runs_again
    searcher.resources_of = lambda trial: packing.resources(trial.key, trial.config)
    pulse = Pulse()
    attempts = {key: record.attempts for key, record in state.trials.items()}
    trainable = tune.with_resources(FsgTrainable, lambda config: _bundle(**(config[ASSIGNMENT].resources or same)))
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(search_alg=searcher, scheduler=recorder, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(folder.ray.resolve()),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),  # a trial has made its own
            callbacks=[
                StartRecorder(ledger, attempts, device_of(resources)),
                Watch(recorder, recorder.limits, room),
                pulse,
                Forget(),
            ],
        ),
    )
    try:
        with _quiet():
            tuner.fit()
    except Exception:
        if room.interrupted:
            raise PauseInterrupted from None
        error = ledger.error or recorder.error or pulse.error
        if error is not None:
            raise error from None
        raise
    return searcher.exhausted


@functools.cache  # 2 kB, and all trials that ask for the same can have the same
def _bundle(cpu: float, gpu: float) -> PlacementGroupFactory:
    """What Ray is to set aside, as it wants it said."""
    from ray.tune.execution.placement_groups import resource_dict_to_pg_factory

    return resource_dict_to_pg_factory({"cpu": cpu, "gpu": gpu})


class _GuardedLedger(Ledger):
    """The ledger as Ray's side writes to it. On a full disk an append waits, and is made again whole.

    Remembers any other error, of which Ray would hand on a traceback's text alone.
    """

    def __init__(self, ledger: Ledger, room: Room, storage: StudyStorage) -> None:
        super().__init__(ledger.path)
        self._ledger, self._room, self._storage = ledger, room, storage
        self.error: Exception | None = None

    def append_all(self, events: Iterable[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
        """As the ledger does, once there is room; never into another file than before."""
        events = list(events)
        while True:
            try:
                self._storage.check()
                written = self._ledger.append_all(events)
                self._storage.recorded()
                return written
            except DiskFull:
                self._room.refused_driver()
            except FsgError as error:
                self.error = self.error or self._storage.explained(error)
                raise self.error from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Ray's deprecations and its list of failed trials, of which the ledger has each with its reason.

    Ctrl-C does afterwards what it did before: Ray takes it for itself and does not give it back. SIGTERM is heard as Ctrl-C
    is, where Ray would leave at once.
    """
    logger, ours = logging.getLogger("ray.tune"), threading.current_thread() is threading.main_thread()
    interrupt, terminate = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    if ours:
        signal.signal(signal.SIGTERM, lambda number, frame: signal.raise_signal(signal.SIGINT))
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
        if ours:
            signal.signal(signal.SIGINT, interrupt)
            signal.signal(signal.SIGTERM, terminate)
