"""Optuna's proposals, told the truth about how trials end.

Ask/tell on an Optuna study that lives in the study folder: a finished configuration is told COMPLETE, one that the scheduler
stopped PRUNED with its intermediate values, a diverged or crashed one FAIL with the reason, and none stays RUNNING over a
restart. (Ray's own OptunaSearch tells a stopped trial as COMPLETE with its truncated value: 10 of 10 seen, Ray 2.60.)
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import Trial, TrialState

from fsg.errors import BackendUnavailable, ConfigError
from fsg.formats import FIRST, FORMAT, FORMAT_KEY, format_of
from fsg.redaction import redact
from fsg.search.curve_sampler import CurveSampler
from fsg.search.journal import FORMAT_ATTRIBUTE, KEY, REPEATS, open_journal
from fsg.search.outcomes import Infeasible, Outcome, Point
from fsg.study.domains import Domain
from fsg.study.space import Space

REASON, START, SEEDS = "reason", "start_from", "seeds"
Direction = Literal["maximize", "minimize"]

# So many points in a row may be old or infeasible before they are drawn at random, and so many before giving up.
PATIENCE, TRIES = 10, 100
_WORST = 1e9  # a violation that could not be computed; a database holds no infinity


class Proposals:
    """Points of a space, asked of Optuna and told back by the configuration's key. Knows nothing of Ray.

    ``key_of`` gives a point its key; it raises Infeasible, or ConfigError, for one that must not be run. ``objectives`` stand
    beside ``metric``: (name, mode) each. ``grid``: go through all points, in an order that ``seed`` shuffles.
    ``storage``: a journal's path, a database's URL, or None for memory; ``refused`` is called where the journal's disk is full.
    """

    def __init__(
        self,
        space: Space,
        sampler: BaseSampler,
        storage: BaseStorage | Path | str | None,
        metric: str,
        mode: str,
        key_of: Callable[[Point], str],
        objectives: Sequence[tuple[str, str]] = (),
        name: str = "fsg",
        grid: bool = False,
        seed: int = 0,
        refused: Callable[[], None] | None = None,
    ) -> None:
        self._space = space
        self._distributions = {path: domain.to_optuna() for path, domain in space.domains.items()}
        self._metrics = [metric, *(objective for objective, _ in objectives)]
        self._key_of = key_of
        self.set_aside: list[str] = []  # what was found damaged in a journal, a sentence each
        if isinstance(storage, Path):
            storage, self.set_aside = open_journal(storage, refused)
        self._study = _quietly_open(sampler, storage, [mode, *(way for _, way in objectives)], name)
        if not self._study.get_trials(deepcopy=False) and FORMAT_ATTRIBUTE not in self._study.user_attrs:
            self._study.set_user_attr(FORMAT_ATTRIBUTE, FORMAT)
        format_of(
            {FORMAT_KEY: self._study.user_attrs.get(FORMAT_ATTRIBUTE, FIRST)}, f"search.storage: the study {name}"
        )
        self._random = random.Random(seed)
        self._grid = _shuffled(space, seed) if grid else None
        self._open: dict[str, int] = {}  # key -> Optuna's id of the trial
        self._last: dict[str, dict[str, Any]] = {}  # key -> newest value of each metric
        self._values: dict[str, list[float] | None] = {}  # key -> what it was told; None if not as finished
        self._points: dict[str, Point] = {}  # key -> its point
        self._violations: dict[str, Mapping[str, float]] = {}  # key -> of each constraint that it was told with

    def recall(self, outcomes: Mapping[str, Outcome]) -> list[tuple[str, Point]]:
        """After a restart: tell Optuna what the ledger knows, and return what is still to be run.

        Trials that Optuna's own memory has lost are entered again: the ledger is the memory.
        """
        self._enter_lost(outcomes)
        open_ones: list[tuple[str, Point]] = []
        for frozen in self._study.get_trials(deepcopy=False):
            key = frozen.user_attrs.get(KEY)
            point = self._point_of(frozen.params)
            if key is not None:
                self._points[key] = point
            if frozen.state.is_finished():
                if key is not None:
                    self._values[key] = list(frozen.values) if frozen.state == TrialState.COMPLETE else None
                    self._violations[key] = frozen.constraints
                continue
            if key is None:
                if frozen.state == TrialState.WAITING:  # a point that was named and not yet asked for
                    self._study._storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
                self._tell(frozen._trial_id, TrialState.FAIL, reason="killed before it had its key")  # so it never ran
                continue
            self._open[key] = frozen._trial_id
            self._last[key] = {}
            outcome = outcomes.get(key)
            if outcome is None or outcome.status == "open":
                open_ones.append((key, point))
            for metrics in outcome.epochs if outcome else ():
                self.report(key, metrics)
            if outcome and outcome.status != "open":
                told = (outcome.metrics, outcome.violations, outcome.reason, outcome.seeds)
                self.end(key, outcome.status, *told)
        return open_ones

    def ask(self) -> tuple[str, Point] | None:
        """A new feasible point and its key. A point that has been run is told its result at once and another is asked.

        None if the space is exhausted, or as good as: TRIES points in a row were old or infeasible.
        """
        for attempt in range(TRIES) if self._grid is None else iter(int, 1):
            drawn = self._drawn(attempt)
            if drawn is None:
                return None
            trial, point = drawn
            accepted = self._accept(trial, point)
            if accepted is not None:
                return accepted, point
        return None

    @property
    def exhausted(self) -> str:
        """Why ``ask`` had no point, as one sentence's part."""
        if self._grid is not None:
            return "the space is exhausted: every point of its grid has been run or must not be"
        return f"the space is exhausted: {TRIES} proposals in a row had been run before or must not be"

    def propose(self, point: Point, label: str) -> str | None:
        """The key of a point that is named rather than drawn; None if it has been run or must not be."""
        self._study.enqueue_trial(dict(point), user_attrs={START: label})
        trial = self._study.ask()
        return self._accept(trial, self._suggested(trial))

    def report(self, key: str, metrics: Mapping[str, Any]) -> None:
        """One epoch's metrics of a running configuration, of its first seed."""
        if key not in self._open:
            return
        self._last[key] |= {name: metrics[name] for name in self._metrics if metrics.get(name) is not None}
        value = metrics.get(self._metrics[0])
        if value is not None and len(self._metrics) == 1:  # Optuna keeps no intermediate values of several objectives
            self._study._storage.set_trial_intermediate_value(self._open[key], int(metrics["epoch"]), float(value))

    def expected(self, epoch: int, values: Mapping[str, float]) -> Mapping[str, float] | None:
        """What configurations are expected to be worth at their last epoch, larger being better; None if no model tells.

        ``values``: theirs at ``epoch``, larger being better. Ray asks its scheduler before it tells its searcher, so those
        of running ones are taken down here; being told again changes nothing.
        """
        sampler = self._study.sampler
        if not isinstance(sampler, CurveSampler):
            return None
        sign = 1.0 if self._study.direction == StudyDirection.MAXIMIZE else -1.0
        for key in values.keys() & self._open.keys():
            trial = self._study._storage.get_trial(self._open[key])
            if epoch not in trial.intermediate_values and epoch > (trial.last_step or 0):
                self.report(key, {"epoch": epoch, self._metrics[0]: sign * values[key]})
        keys = [key for key in values if key in self._points]
        found = sampler.expected(self._study, [self._points[key] for key in keys])
        return None if found is None or len(keys) < len(values) else dict(zip(keys, found.tolist(), strict=True))

    def end(
        self,
        key: str,
        status: str,
        metrics: Mapping[str, Any] | None = None,
        violations: Mapping[str, float] | None = None,
        reason: str | None = None,
        seeds: int = 1,
    ) -> None:
        """How a configuration ended: finished, pruned or failed; ``metrics`` None: judged by its last values."""
        trial = self._open.pop(key, None)
        last = self._last.pop(key, {})
        self._values.setdefault(key, None)
        if trial is None:
            return
        if seeds > 1:
            self._study._storage.set_trial_user_attr(trial, SEEDS, seeds)
        values = [(metrics or last).get(name) for name in self._metrics]
        if status == "finished" and all(value is not None for value in values):
            numbers = [float(value) for value in values if value is not None]
            self._constrain(trial, violations or {})
            self._values[key], self._violations[key] = numbers, violations or {}
            self._tell(trial, TrialState.COMPLETE, numbers)
        elif status == "pruned" and last:
            self._tell(trial, TrialState.PRUNED, reason=reason)
        else:
            self._tell(trial, TrialState.FAIL, reason=reason or f"no finite {self._metrics[0]} was measured")

    def _drawn(self, attempt: int) -> tuple[Trial, Point] | None:
        """A point of the grid, of the sampler, or, where that has none that may be run, at random."""
        point = next(self._grid, None) if self._grid is not None else None
        if self._grid is not None and point is None:
            return None
        if self._grid is None and attempt >= PATIENCE:
            point = self._space.draw(self._random)
        if point is not None:
            self._study.enqueue_trial(dict(point))
        trial = self._study.ask()
        return trial, self._suggested(trial)

    def _suggested(self, trial: Trial) -> Point:
        """The point at which the trial stands: each path asked for whose condition holds."""
        settings: dict[str, Any] = {}
        for path in self._space.order:
            if self._space.is_set(path, settings):
                domain = self._space.root[path]
                settings[path] = _suggest(trial, path, domain) if domain.searched else domain.choices[0]
        return {path: settings[path] for path in self._space.paths if path in settings}

    def _point_of(self, params: Mapping[str, Any]) -> Point:
        """The point that Optuna remembers as ``params``."""
        root = self._space.root
        return {path: root[path].from_optuna(value) if path in root else value for path, value in params.items()}

    def _accept(self, trial: Trial, point: Point) -> str | None:
        """The point's key if it is new and may be run; else the trial is told at once."""
        try:
            key = self._key_of(point)
        except (Infeasible, ConfigError) as error:
            self._tell(trial._trial_id, TrialState.FAIL, reason=f"infeasible: {error}")
            return None
        if key in self._open or key in self._values:
            trial.set_user_attr(REPEATS, key)
            values = self._values.get(key)
            if values is None:
                self._tell(trial._trial_id, TrialState.FAIL)
            else:
                self._constrain(trial._trial_id, self._violations.get(key, {}))
                self._tell(trial._trial_id, TrialState.COMPLETE, values)
            return None
        trial.set_user_attr(KEY, key)
        self._points[key] = point
        self._open[key] = trial._trial_id
        self._last[key] = {}
        return key

    def _constrain(self, trial: int, violations: Mapping[str, float]) -> None:
        """By how much a trial breaks each constraint, as Trial.set_constraint does, always in the order of the study file.

        A finished trial without them counts as one that keeps them all, and GPSampler tells them apart by their order
        (Optuna 5.0).
        """
        for text, violation in violations.items():
            limited = min(float(violation), _WORST)
            self._study._storage.set_trial_system_attr(trial, f"constraints:{text}", limited)

    def _tell(
        self, trial: int, state: TrialState, values: Sequence[float] | None = None, reason: str | None = None
    ) -> None:
        storage = self._study._storage
        if reason:
            storage.set_trial_user_attr(trial, REASON, reason)
        self._study.tell(storage.get_trial(trial).number, values, state=state)

    def _enter_lost(self, outcomes: Mapping[str, Outcome]) -> None:
        known = {t.user_attrs.get(KEY) for t in self._study.get_trials(deepcopy=False)}
        for key, outcome in outcomes.items():
            if key not in known:
                distributions = {path: self._distributions[path] for path in outcome.point}
                lost = optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=dict(outcome.point),
                    distributions=distributions,
                    user_attrs={KEY: key},
                )
                self._study.add_trial(lost)


def _suggest(trial: Trial, path: str, domain: Domain) -> Any:
    found = domain.to_optuna()
    if isinstance(found, FloatDistribution):
        value: Any = trial.suggest_float(path, found.low, found.high, step=found.step, log=found.log)
    elif isinstance(found, IntDistribution):
        value = trial.suggest_int(path, found.low, found.high, step=found.step, log=found.log)
    else:
        assert isinstance(found, CategoricalDistribution)
        value = trial.suggest_categorical(path, found.choices)
    return domain.from_optuna(value)


def _shuffled(space: Space, seed: int) -> Iterator[Point]:
    """Every point of a grid, so that a study that is cut short has seen all of it evenly."""
    points = list(space.grid())
    random.Random(seed).shuffle(points)
    return iter(points)


def _quietly_open(
    sampler: BaseSampler, storage: BaseStorage | str | None, modes: Sequence[str], name: str
) -> optuna.Study:
    optuna.logging.set_verbosity(logging.ERROR)
    directions: list[Direction] = ["maximize" if mode == "max" else "minimize" for mode in modes]
    if storage is None:
        return optuna.create_study(sampler=sampler, directions=directions)
    try:
        return optuna.create_study(
            storage=storage, study_name=name, sampler=sampler, directions=directions, load_if_exists=True
        )
    except Exception as error:
        if not isinstance(storage, str):
            raise
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BackendUnavailable(
            f"search.storage: {redact(storage)} cannot be used ({first}). Check the address, "
            "or leave search.storage out for a journal in the study's folder."
        ) from None
