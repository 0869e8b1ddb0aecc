"""Optuna's proposals, told the truth about how trials end.

Ask/tell on an Optuna study that lives in the study folder: a finished trial is told COMPLETE, one that the scheduler stopped
PRUNED with its intermediate values, a diverged or crashed one FAIL, and none stays RUNNING over a restart. (Ray's own
OptunaSearch tells a stopped trial as COMPLETE with its truncated value: 10 of 10 seen, Ray 2.60.)
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import Trial, TrialState

from fsg.study.ledger import TrialRecord
from fsg.study.space import Domain, Space

KEY = "fsg_key"
Point = Mapping[str, Any]


def distribution(domain: Domain) -> BaseDistribution:
    """Optuna's distribution of a domain; both ends belong to it."""
    low, high = domain.low, domain.high
    match domain.kind:
        case "uniform":
            return FloatDistribution(low, high)  # type: ignore[arg-type]
        case "loguniform":
            return FloatDistribution(low, high, log=True)  # type: ignore[arg-type]
        case "quniform":
            return FloatDistribution(low, high, step=domain.q)  # type: ignore[arg-type]
        case "randint":
            return IntDistribution(low, high)  # type: ignore[arg-type]
        case "lograndint":
            return IntDistribution(low, high, log=True)  # type: ignore[arg-type]
        case _:
            return CategoricalDistribution(domain.choices)


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler that a specification names."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        # Trials run side by side: the constant liar keeps TPE from proposing the neighbourhood of one that still runs.
        return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


class Proposals:
    """Points of a space, asked of Optuna and told back by the trial's key. Knows nothing of Ray."""

    def __init__(
        self,
        space: Space,
        sampler: optuna.samplers.BaseSampler,
        storage: Path | None,
        metric: str,
        mode: str,
        key_of: Callable[[Point], str],
    ) -> None:
        self._distributions = {path: distribution(domain) for path, domain in space.domains.items()}
        self._metric = metric
        self._key_of = key_of
        self._study = _quietly_open(sampler, storage, mode)
        self._open: dict[str, Trial] = {}

    def recall(self, records: Mapping[str, TrialRecord]) -> list[tuple[str, Point]]:
        """After a restart: tell Optuna what the ledger knows, and return the points that are still to be run.

        Trials that Optuna's own file has lost are entered again: the ledger is the memory.
        """
        self._enter_lost(records)
        to_run: list[tuple[str, Point]] = []
        for frozen in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            trial = Trial(self._study, frozen._trial_id)
            key = frozen.user_attrs.get(KEY)
            record = records.get(key) if key else None
            if key is None:
                self._study.tell(trial, state=TrialState.FAIL)  # killed between asking and naming it: never ran
                continue
            self._open[key] = trial
            if record is None or record.status in ("planned", "running"):
                to_run.append((key, frozen.params))
                continue
            for metrics in record.epochs:
                self.report(key, metrics)
            self.end(key, record.status)
        return to_run

    def ask(self, tries: int = 100) -> tuple[str, Point] | None:
        """A new point and its key. A point that has been run before is told its result at once and another is asked.

        None if ``tries`` points in a row were old ones: the space is exhausted, or as good as.
        """
        for _ in range(tries):
            trial = self._study.ask(self._distributions)
            key = self._key_of(trial.params)
            if not self._known(key):
                trial.set_user_attr(KEY, key)
                self._open[key] = trial
                return key, trial.params
            trial.set_user_attr("repeats", key)
            value = self._value_of(key)
            if value is None:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, value)
        return None

    def report(self, key: str, metrics: Mapping[str, Any]) -> None:
        """One epoch's metrics of a running trial."""
        value = metrics.get(self._metric)
        if key in self._open and value is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a resumed trial reports its last epoch again
                self._open[key].report(float(value), int(metrics["epoch"]))

    def end(self, key: str, status: str) -> None:
        """How a trial ended: finished, pruned or failed."""
        trial = self._open.pop(key, None)
        if trial is None:
            return
        values = self._study._storage.get_trial(trial._trial_id).intermediate_values
        if status == "finished" and values:
            self._study.tell(trial, values[max(values)])
        elif status == "pruned" and values:
            self._study.tell(trial, state=TrialState.PRUNED)
        else:
            self._study.tell(trial, state=TrialState.FAIL)

    def _enter_lost(self, records: Mapping[str, TrialRecord]) -> None:
        known = {t.user_attrs.get(KEY) for t in self._study.get_trials(deepcopy=False)}
        for key, record in records.items():
            if key not in known:
                params = {path: _value_at(record.config, path) for path in self._distributions}
                lost = optuna.trial.create_trial(
                    state=TrialState.RUNNING, params=params, distributions=self._distributions, user_attrs={KEY: key}
                )
                self._study.add_trial(lost)

    def _known(self, key: str) -> bool:
        return any(t.user_attrs.get(KEY) == key for t in self._study.get_trials(deepcopy=False))

    def _value_of(self, key: str) -> float | None:
        for trial in self._study.get_trials(deepcopy=False):
            if trial.user_attrs.get(KEY) == key and trial.state == TrialState.COMPLETE:
                return trial.value
        return None


def _quietly_open(sampler: optuna.samplers.BaseSampler, storage: Path | None, mode: str) -> optuna.Study:
    optuna.logging.set_verbosity(logging.WARNING)
    direction: Literal["maximize", "minimize"] = "maximize" if mode == "max" else "minimize"
    if storage is None:
        return optuna.create_study(sampler=sampler, direction=direction)
    storage.parent.mkdir(parents=True, exist_ok=True)
    _mend(storage)
    journal = JournalStorage(JournalFileBackend(str(storage)))
    return optuna.create_study(
        storage=journal, study_name="fsg", sampler=sampler, direction=direction, load_if_exists=True
    )


def _mend(journal: Path) -> None:
    """What a kill leaves: a lock that Optuna would wait 30 s for, and half a line that it would glue the next one to."""
    journal.with_name(f"{journal.name}.lock").unlink(missing_ok=True)
    if journal.exists():
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)


def _value_at(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = value[part]
    return value
