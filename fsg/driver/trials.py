"""Running the trials of a study: what the ledger does not hold as ended is handed to an engine, and comes back to the ledger.

An engine keeps nothing: a second run of the same study asks the ledger what is left, and every trial goes on from its own
checkpoint.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from typing import Any

from fsg.errors import DiskFull, FsgError
from fsg.execution.disk_space import DiskSpace, PauseInterrupted
from fsg.execution.engine import Engine, Work
from fsg.execution.gpu_packing import Packing
from fsg.execution.recording import Recording
from fsg.execution.retry import Limits
from fsg.execution.storage import StudyStorage
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger, StudyState
from fsg.record.remaining import Enough, next_seeds
from fsg.study.plan import PlannedTrial
from fsg.study.population import is_population
from fsg.study.spec import AblationSpec, SweepSpec, best_by


def run_study(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    engine: Engine,
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
            disk_space = DiskSpace(folder, check=storage.check)
            return _run(folder, spec, engine, _GuardedLedger(ledger, disk_space, storage), disk_space, enough, limits)
    except PauseInterrupted:
        return False


def _run(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    engine: Engine,
    ledger: _GuardedLedger,
    disk_space: DiskSpace,
    enough: Enough,
    limits: Limits | None,
) -> bool:
    with ExitStack() as stack:
        connect = functools.cache(lambda: stack.enter_context(engine.connected()))
        if isinstance(spec, SweepSpec):
            return _run_sweep(folder, spec, engine, ledger, disk_space, connect, limits)
        while True:
            state = folder.state()
            left = next_seeds(spec, state, enough)
            if not left:
                return True
            connect()
            new = [trial for trial in left if trial.key not in state.trials]
            if new:
                ledger.append_all(("planned", trial.event()) for trial in new)
            _train(folder, spec, engine, ledger, disk_space, left, state, limits)
            trials = folder.state().trials
            if not all(trials[trial.key].over for trial in left):
                return False


def _run_sweep(
    folder: StudyFolder,
    spec: SweepSpec,
    engine: Engine,
    ledger: _GuardedLedger,
    disk_space: DiskSpace,
    connect: Callable[[], None],
    limits: Limits | None,
) -> bool:
    """A sweep plans as it goes; it also ends when its space has nothing new to offer."""
    state = folder.state()
    if _complete(spec, state):
        return True
    connect()
    exhausted = _train(folder, spec, engine, ledger, disk_space, [], state, limits)
    state = folder.state()
    return _complete(spec, state) or (exhausted and all(trial.over for trial in state.trials.values()))


def _complete(spec: SweepSpec, state: StudyState) -> bool:
    """Whether every configuration has come to its end, or the budget has and nothing that was begun is left."""
    from fsg.search.configurations import settled

    ended = all(trial.over for trial in state.trials.values())
    return ended and (state.stopped is not None or settled(spec, state.trials) >= spec.search.trials)


def _train(
    folder: StudyFolder,
    spec: AblationSpec | SweepSpec,
    engine: Engine,
    ledger: _GuardedLedger,
    disk_space: DiskSpace,
    left: list[PlannedTrial],
    state: StudyState,
    limits: Limits | None,
) -> bool:
    """Hand the trials to the engine; True if a sweep ended because its space has no point left."""
    from fsg.search.population_searcher import PopulationSearcher
    from fsg.search.searcher import PlanSearcher, SweepSearcher, Terms, TrialSource
    from fsg.search.stopping import make_judge

    source: TrialSource
    judge, has = None, engine.resources
    packing = Packing(has.cpus_per_trial, has.gpus_per_trial, has.pack, engine.largest_node(), state.trials)
    recording = Recording(ledger, state.trials, limits, packing, engine.device(), disk_space)

    def resources_of(trial: PlannedTrial) -> dict[str, float]:
        return packing.resources(trial.key, trial.config, has.share(trial.arm))

    terms = Terms(recording.runs_again, resources_of, best_by(spec))
    if isinstance(spec, SweepSpec):
        kind = PopulationSearcher if is_population(spec) else SweepSearcher
        source = kind(folder, spec, ledger, state.trials, has.cpus_per_trial, has.gpus_per_trial, disk_space, terms)
        judge = make_judge(spec, state.trials, source.expected)
    else:
        source = PlanSearcher(folder, left, terms)
    try:
        to_the_end = engine.run(Work(folder, source, recording, disk_space, judge, spec.base.fused))
    except Exception:
        if disk_space.interrupted:
            raise PauseInterrupted from None
        error = ledger.error or recording.error
        if error is not None:
            raise error from None
        raise
    if not to_the_end:  # also where the last trial ended as it was asked to stop: what comes next must not begin
        raise PauseInterrupted
    return source.exhausted


class _GuardedLedger(Ledger):
    """The ledger as Ray's side writes to it. On a full disk an append waits, and is made again whole.

    Remembers any other error, of which Ray would hand on a traceback's text alone.
    """

    def __init__(self, ledger: Ledger, disk_space: DiskSpace, storage: StudyStorage) -> None:
        super().__init__(ledger.path)
        self._ledger, self._disk_space, self._storage = ledger, disk_space, storage
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
                self._disk_space.refused_driver()
            except FsgError as error:
                self.error = self.error or self._storage.explained(error)
                raise self.error from None
