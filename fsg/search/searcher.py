"""Where trials come from: the next of a plan, or a point that Optuna proposes. An engine asks; none is known here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from fsg.config import TrialConfig
from fsg.execution.disk_space import DiskSpace
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd
from fsg.execution.software import software
from fsg.files import user_path
from fsg.parts import part_of
from fsg.record.folder import StudyFolder
from fsg.record.ledger import Ledger, TrialRecord
from fsg.search.budget import FollowingMeter, Meter, reached
from fsg.search.configurations import Configuration, configuration, following, group, outcome, recalled
from fsg.search.decisions import Expected
from fsg.search.proposals import Proposals
from fsg.search.racing import Values
from fsg.search.samplers import make_sampler
from fsg.search.starting import start_points
from fsg.study.inputs import located
from fsg.study.plan import PlannedTrial
from fsg.study.search import database_of, longest, require, sampler_of
from fsg.study.spec import SweepSpec


@dataclass(frozen=True)
class Terms:
    """On what terms trials run.

    Args:
        runs_again: Whether the trial of a key, whose attempt ended, is to be run again.
        resources_of: What a trial is given; None: all get the same.
        best: The metric that each best checkpoint is kept by, and which way is better; None: none is kept.
    """

    runs_again: Callable[[str], bool] = lambda key: False
    resources_of: Callable[[PlannedTrial], dict[str, float]] | None = None
    best: tuple[str, Literal["min", "max"]] | None = None


class TrialSource:
    """What an engine asks for its next trial, and tells of what became of it, by a name of its own for each attempt."""

    def __init__(self, folder: StudyFolder, terms: Terms = Terms()) -> None:
        self.folder, self.terms = folder, terms
        self.exhausted = False  # whether no point is left that has not been run
        self._begun: dict[str, PlannedTrial] = {}  # by the engine's name
        self._again: deque[PlannedTrial] = deque()

    def next_trial(self) -> PlannedTrial | None:
        """The next trial to run, or None at the end."""
        raise NotImplementedError

    def take(self, name: str) -> TrialAssignment | None:
        """The next trial; None where none is to be begun now. ``waits`` tells whether one may follow."""
        trial = self._again.popleft() if self._again else self.next_trial()
        if trial is None:
            return None
        self._begun[name] = trial
        return self.assignment(trial)

    @property
    def waits(self) -> bool:
        """Whether a trial that runs may be followed by another."""
        return bool(self._begun)

    @property
    def ahead(self) -> int:
        """How many trials may be taken before it is their turn: none where the next one is chosen by what the last came to."""
        return 0

    def assignment(self, trial: PlannedTrial) -> TrialAssignment:
        """What a worker is to do."""
        checkpoint = self.folder.checkpoints.resolve() / trial.key / "last.pt"
        resources = self.terms.resources_of(trial) if self.terms.resources_of else None
        config = with_absolute_paths(trial.config)
        return TrialAssignment(trial.key, config, checkpoint, software(), self.terms.best, resources)

    def heard(self, name: str, report: EpochReport) -> None:
        """An epoch that is not the last."""

    def done(self, name: str, report: EpochReport | TrialEnd | None) -> None:
        """The end of a trial, or of one attempt at it."""
        trial = self._begun.pop(name, None)
        if trial is None:
            return
        if self.terms.runs_again(trial.key):
            self._again.append(trial)
        else:
            self.ended(trial, report)

    def ended(self, trial: PlannedTrial, report: EpochReport | TrialEnd | None) -> None:
        """Learn from how a trial ended: its last epoch, or why there is none; None where its worker crashed."""


class PlanSearcher(TrialSource):
    """Each trial of a plan once, in order."""

    def __init__(self, folder: StudyFolder, trials: Iterable[PlannedTrial], terms: Terms = Terms()) -> None:
        super().__init__(folder, terms)
        self._left = deque(trials)

    @property
    def ahead(self) -> int:
        """All that are left."""
        return len(self._left)

    def next_trial(self) -> PlannedTrial | None:
        """The next of the plan."""
        return self._left.popleft() if self._left else None


class SweepSearcher(TrialSource):
    """Optuna's proposals for a sweep; every new trial is planned in the ledger before Ray hears of it.

    A configuration runs its seeds one after another, so that the rest can be spared; configurations run side by side.
    ``cpus`` and ``gpus`` are what one trial takes, for the budget; ``disk_space`` is waited for where the journal's disk is full.
    """

    def __init__(
        self,
        folder: StudyFolder,
        spec: SweepSpec,
        ledger: Ledger,
        records: Mapping[str, TrialRecord],
        cpus: float = 1,
        gpus: float = 0,
        disk_space: DiskSpace | None = None,
        terms: Terms = Terms(),
    ) -> None:
        super().__init__(folder, terms)
        self._spec, self._ledger = spec, ledger
        self._planned = set(records)
        self._owner: dict[str, Configuration] = {}  # by the key of any of its trials
        self._meter = FollowingMeter(ledger.path, Meter(cpus, gpus, spec.budget.prices if spec.budget else {}))
        self._stopped = False
        self._starts = start_points(spec, folder)
        self._proposals = _proposals(folder, spec, len(records), disk_space)
        for sentence in self._proposals.set_aside:
            ledger.append("damaged", file="search/optuna.journal", line=None, aside=None, detail=sentence)
        self._configurations = recalled(spec, records)
        self._left = deque(self._recall(records))

    @property
    def expected(self) -> Expected:
        """What the scheduler may ask of the model behind the proposals."""
        return self._proposals.expected

    def next_trial(self) -> PlannedTrial | None:
        """What a killed run left and seeds to come, then start points, then new points until the sweep has its number."""
        if not self._left:
            found = self._new()
            if found is None:
                return None
            self._configurations[found.key] = found
            self._left.append(self._owned(found, self._spec.seed))
        return self._planned_trial(self._left.popleft())

    def _planned_trial(self, trial: PlannedTrial) -> PlannedTrial:
        """The trial, in the ledger before anyone hears of it."""
        if trial.key not in self._planned:
            self._ledger.append("planned", **trial.event())
            self._planned.add(trial.key)
        return trial

    def assignment(self, trial: PlannedTrial) -> TrialAssignment:
        """Tells the scheduler which trials it does not judge."""
        return replace(super().assignment(trial), judged=trial.seed == self._spec.seed)

    def heard(self, name: str, report: EpochReport) -> None:
        """An epoch. Those of further seeds are not reported: their keys are not a configuration's."""
        self._proposals.report(self._begun[name].key, report.metrics)

    def ended(self, trial: PlannedTrial, report: EpochReport | TrialEnd | None) -> None:
        """As it was: the end of its configuration, or the turn of its next seed."""
        owner = self._owner[trial.key]
        if not isinstance(report, EpochReport):
            self._proposals.end(owner.key, "failed", reason=str(report or "crashed"), seeds=len(owner.finals) + 1)
            return
        self._proposals.report(trial.key, report.metrics)
        if report.epoch < trial.config.epochs:
            self._proposals.end(owner.key, "pruned")
            return
        owner.finish(self._spec, trial.seed, report.metrics)
        whole = len(owner.finals) >= len(self._spec.seeds)
        seed = None if whole else following(self._spec, owner, self._all_values())
        if seed is not None and self._within_budget():
            self._left.append(self._owned(owner, seed))
        else:
            self._finish(owner)

    def _new(self) -> Configuration | None:
        """A configuration that has never run; None at the end, and ``exhausted`` where the end came early."""
        if self.exhausted or len(self._configurations) >= self._spec.search.trials:
            return None
        if not self._within_budget():
            self.exhausted = True
            return None
        while self._starts:
            label, point = self._starts.pop(0)
            if self._proposals.propose(point, label) is not None:
                return configuration(self._spec, point)
        asked = self._proposals.ask()
        if asked is None:
            self.exhausted = True
            self._stop(self._proposals.exhausted)
            return None
        return configuration(self._spec, asked[1])

    def _within_budget(self) -> bool:
        """Whether another trial may begin; the first time that it may not is recorded."""
        if self._spec.budget is None:
            return True
        reason = reached(self._spec.budget, self._meter.spent())
        if reason:
            self._stop(reason)
        return reason is None

    def _stop(self, reason: str) -> None:
        """Record why no further trial is begun, the first time."""
        if not self._stopped:
            self._stopped = True
            self._ledger.append("stopped", reason=reason)

    def _owned(self, owner: Configuration, seed: int) -> PlannedTrial:
        trial = owner.trial(self._spec, seed)
        self._owner[trial.key] = owner
        return trial

    def _finish(self, owner: Configuration) -> None:
        self._proposals.end(owner.key, "finished", *owner.told(self._spec), seeds=len(owner.finals))

    def _all_values(self) -> list[Values]:
        return [owner.values(self._spec) for owner in self._configurations.values()]

    def _recall(self, records: Mapping[str, TrialRecord]) -> Iterator[PlannedTrial]:
        """Tell Optuna what became of each configuration; the trials that are still to be run."""
        spec, others = self._spec, self._all_values()
        seeds = group(spec, records)
        outcomes = {key: outcome(spec, c, seeds[key], others) for key, c in self._configurations.items()}
        for key, point in self._proposals.recall(outcomes):
            owner = self._configurations.setdefault(key, configuration(spec, point))
            begun = seeds.get(key, {})
            unfinished = [seed for seed, record in begun.items() if record.status in ("planned", "running")]
            following_seed = following(spec, owner, others)
            for seed in unfinished or [spec.seed if following_seed is None else following_seed]:
                yield self._owned(owner, seed)


def with_absolute_paths(config: TrialConfig) -> TrialConfig:
    """The configuration as a worker can read it, which does not know the driver's working directory."""
    update: dict[str, Any] = {"data": located(config.data)}
    if pretrained := getattr(config.model, "pretrained", None):
        whole = str(user_path(pretrained).absolute())
        update["model"] = config.model.model_copy(update={"pretrained": whole})
    return config.model_copy(update=update)


def _proposals(folder: StudyFolder, spec: SweepSpec, begun: int, disk_space: DiskSpace | None) -> Proposals:
    search = spec.search
    require(search)
    header = folder.state().header
    chosen, part = sampler_of(spec), part_of("sampler", search.sampler)
    sampler = search.sampler if chosen == search.sampler.name else chosen
    # A sampler that is made again must not repeat its first points; a Sobol sequence remembers where it stood, by its seed.
    seed = search.seed if part.fact("resumable") else search.seed + begun
    name = "fsg" if search.storage is None else f"fsg-{spec.name}-{header['study_id'] if header else spec.digest()}"
    return Proposals(
        spec.space,
        make_sampler(sampler, seed, spec.space, longest(spec)),
        database_of(search) or folder.search / "optuna.journal",
        spec.metric.name,
        spec.metric.mode,
        key_of=lambda point: configuration(spec, point).key,
        objectives=[(o.name, o.mode) for o in spec.objectives],
        name=name,
        grid=part.fact("exhaustive"),
        seed=search.seed,
        refused=disk_space.refused_driver if disk_space else None,
    )
