"""What Ray Tune asks for its next trial: the next of a plan, or a point that Optuna proposes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ray.tune.search import Searcher

from fsg.study.design import PlannedTrial, sweep_trial
from fsg.study.folder import StudyFolder
from fsg.study.ledger import Ledger, TrialRecord
from fsg.study.spec import SweepSpec
from fsg.tune.proposals import Point, Proposals, make_sampler
from fsg.tune.snapshots import NotInSnapshots
from fsg.tune.trainable import FAILED, tune_config


class StudySearcher(NotInSnapshots, Searcher):
    """A searcher whose memory is the study's own: Ray's snapshots of it hold nothing."""

    def __init__(self, folder: StudyFolder) -> None:
        super().__init__()
        self.folder = folder
        self.exhausted = False  # whether no point is left that has not been run

    def next_trial(self) -> PlannedTrial | None:
        """The next trial to run, or None at the end."""
        raise NotImplementedError

    def suggest(self, trial_id: str) -> dict[str, Any] | str:  # type: ignore[override]
        """The next trial as a Tune configuration, or FINISHED."""
        trial = self.next_trial()
        if trial is None:
            return Searcher.FINISHED
        self.begun(trial_id, trial)
        return tune_config(trial.key, trial.config, self.folder.checkpoints.resolve() / trial.key / "last.pt")

    def begun(self, trial_id: str, trial: PlannedTrial) -> None:
        """Which of Ray's trials is which of ours."""

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """Nothing to learn."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore."""


class PlanSearcher(StudySearcher):
    """Each trial of a plan once, in order."""

    def __init__(self, folder: StudyFolder, trials: Iterable[PlannedTrial]) -> None:
        super().__init__(folder)
        self._left = list(trials)

    def next_trial(self) -> PlannedTrial | None:
        """The next of the plan."""
        return self._left.pop(0) if self._left else None


class SweepSearcher(StudySearcher):
    """Optuna's proposals for a sweep; every new trial is planned in the ledger before Ray hears of it."""

    def __init__(
        self, folder: StudyFolder, spec: SweepSpec, ledger: Ledger, records: Mapping[str, TrialRecord]
    ) -> None:
        super().__init__(folder)
        self._spec = spec
        self._ledger = ledger
        self._running: dict[str, PlannedTrial] = {}
        self._proposals = Proposals(
            spec.space,
            make_sampler(spec.search.sampler, spec.search.seed + len(records)),
            folder.search / "optuna.journal",
            spec.metric.name,
            spec.metric.mode,
            key_of=lambda point: sweep_trial(spec, point).key,
        )
        self._unfinished: list[tuple[str, Point]] = self._proposals.recall(records)
        self._planned = set(records)

    def next_trial(self) -> PlannedTrial | None:
        """First what a killed run left unfinished, then new points until the study has its number of trials."""
        if self._unfinished:
            _, point = self._unfinished.pop(0)
        elif len(self._planned) >= self._spec.search.trials:
            return None
        else:
            asked = self._proposals.ask()
            if asked is None:
                self.exhausted = True
                return None
            _, point = asked
        trial = sweep_trial(self._spec, point)
        if trial.key not in self._planned:
            self._ledger.append(
                "planned", key=trial.key, arm=trial.arm, seed=trial.seed, config=trial.config.model_dump(mode="json")
            )
            self._planned.add(trial.key)
        return trial

    def begun(self, trial_id: str, trial: PlannedTrial) -> None:
        """Remember it."""
        self._running[trial_id] = trial

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """An epoch."""
        if "epoch" in result:
            self._proposals.report(self._running[trial_id].key, result)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        """The end, as it was: finished, pruned or failed."""
        trial = self._running.pop(trial_id, None)
        if trial is None:
            return
        if error or not result or FAILED in result:
            self._proposals.end(trial.key, "failed")
            return
        self._proposals.report(trial.key, result)
        self._proposals.end(trial.key, "finished" if result["epoch"] >= trial.config.epochs else "pruned")
