"""A population, as what an engine asks for its next trial: members train to the next pause, wait for all, change and go on.

To an engine a member is one trial from each pause to the next. To the ledger it is one trial, whose
key comes from what it began with; what it became is told by "exploited" events, which are written, each after its checkpoint
was copied, before anybody goes on. So a restart finds either none, some or all of a pause's changes done, decides the same
again from the same results, and does what is missing. Proof: ``tests/search/test_population_searcher.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from fsg.config import TrialConfig
from fsg.errors import CheckpointCorrupt, ConfigError
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd
from fsg.parts import part_of
from fsg.record.ledger import TrialRecord, finite
from fsg.search.configurations import configuration, outcomes
from fsg.search.outcomes import Infeasible
from fsg.search.populations import Explore, Member, Point, changes
from fsg.search.searcher import SweepSearcher
from fsg.study.plan import PlannedTrial
from fsg.study.population import population_of
from fsg.study.spec import SweepSpec


def make_explore(spec: SweepSpec) -> Explore:
    """How the sweep's population changes a donor's values."""
    made: Explore = part_of("scheduler", spec.scheduler).make(spec.scheduler, spec.space.domains)
    return made


def member_of(spec: SweepSpec, record: TrialRecord) -> Member:
    """What the ledger knows of a member."""
    points = {0: spec.space.point_of(record.config)} | {e.epoch: e.values for e in record.exploits}
    member = Member(record.key, points, donors={e.epoch: e.donor for e in record.exploits})
    member.over = record.over
    for metrics in record.epochs:
        _learn(spec, member, metrics)
    member.epoch = max([member.epoch, *points])
    return member


def first_pause(spec: SweepSpec, members: Mapping[str, Member]) -> int:
    """The epoch that all members are to come to next: that of the foremost, if nobody has gone on from it yet."""
    every = population_of(spec).perturb_epochs
    foremost = max((member.epoch for member in members.values()), default=0)
    return min(max(1, math.ceil(foremost / every)) * every, spec.base.epochs)


class PopulationSearcher(SweepSearcher):
    """Members side by side from pause to pause; the changes between are those of ``fsg.search.populations``."""

    _members: dict[str, Member]
    _until: int  # the next pause, or the last epoch
    _whole: bool  # whether no member is to come any more

    def next_trial(self) -> PlannedTrial | None:
        """All members to the next pause, and once all have come there, all of them again; nobody beyond the budget."""
        while not self._whole:
            found = self._new()
            if found is None:
                self._whole = True
                self.exhausted = not self._within_budget()  # in a small space the population is small, and goes on
            else:
                self._configurations[found.key] = found
                self._members[found.key] = Member(found.key, {0: found.point})
                self._left.append(self._planned_trial(self._trial(self._members[found.key])))
        if not self._left and not self._begun:
            self._left.extend(self._go_on())
        if self._left and not self._within_budget():
            self._left.clear()
            self.exhausted = True
        if self.exhausted and not self._begun:
            self._end_all()
        return self._left.popleft() if self._left else None

    def assignment(self, trial: PlannedTrial) -> TrialAssignment:
        """Tells the worker where to pause, and what the ledger knows already."""
        return replace(super().assignment(trial), heard=self._members[trial.key].epoch, until=self._until)

    def heard(self, name: str, report: EpochReport) -> None:
        """An epoch."""
        super().heard(name, report)
        _learn(self._spec, self._members[self._begun[name].key], report.metrics)

    def ended(self, trial: PlannedTrial, report: EpochReport | TrialEnd | None) -> None:
        """A member has come to a pause or to its end, or was lost."""
        member = self._members[trial.key]
        if not isinstance(report, EpochReport):
            member.over = True
            self._proposals.end(member.key, "failed", reason=str(report or "crashed"))
            return
        _learn(self._spec, member, report.metrics)
        self._proposals.report(member.key, report.metrics)
        if report.epoch >= trial.config.epochs:
            member.over = True
            owner = self._configurations[member.key]
            owner.finish(self._spec, trial.seed, report.metrics)
            self._finish(owner)

    def _go_on(self) -> Iterator[PlannedTrial]:
        """All have come to the pause: exchange, and on to the next one."""
        here = [member for member in self._members.values() if not member.over]
        if not here or self._until >= self._spec.base.epochs or not self._within_budget():
            self.exhausted = bool(here)
            return
        self._exchange()
        self._until = min(self._until + population_of(self._spec).perturb_epochs, self._spec.base.epochs)
        yield from map(self._trial, here)

    def _end_all(self) -> None:
        """No member goes on, for a cap of the budget is reached."""
        for member in self._members.values():
            if not member.over:
                self._ledger.append("pruned", key=member.key, epoch=member.epoch, reason="the budget is used up")
                self._proposals.end(member.key, "pruned")
                member.over = True

    def _exchange(self) -> None:
        """The changes of this pause, each on disk and in the ledger before anybody goes on."""
        from fsg.train.checkpoint import CheckpointStore

        spec, epoch = self._spec, self._until
        members = list(self._members.values())
        for change in changes(
            members, epoch, population_of(spec).quantile, self._explore, self._feasible, spec.search.seed
        ):
            member = self._members[change.key]
            if epoch in member.points:
                continue  # done before the driver was stopped
            try:
                CheckpointStore(self._checkpoint(change.key)).adopt(self._checkpoint(change.donor))
            except CheckpointCorrupt:
                continue  # the member goes on as it is
            values = dict(change.point)
            self._ledger.append("exploited", key=change.key, epoch=epoch, donor=change.donor, values=values)
            member.points[epoch], member.donors[epoch] = values, change.donor

    def _checkpoint(self, key: str) -> Path:
        return self.folder.checkpoints.resolve() / key / "last.pt"

    def _feasible(self, point: Point) -> bool:
        try:
            configuration(self._spec, point)
        except (Infeasible, ConfigError):
            return False
        return True

    def _trial(self, member: Member) -> PlannedTrial:
        """Its trial with the values it has now, under the key of those it began with."""
        trial = self._owned(self._configurations[member.key], self._spec.seed)
        config: TrialConfig = self._spec.space.resolve(self._spec.base, member.point)
        return PlannedTrial(trial.key, trial.arm, trial.seed, config.model_copy(update={"seed": trial.seed}))

    def _recall(self, records: Mapping[str, TrialRecord]) -> Iterator[PlannedTrial]:
        """Tell Optuna what became of each member; those that are on their way to the pause."""
        spec = self._spec
        self._explore = make_explore(spec)
        self._members = {key: member_of(spec, record) for key, record in records.items()}
        for key, point in self._proposals.recall(outcomes(spec, records)):
            self._configurations.setdefault(key, configuration(spec, point))
            self._members.setdefault(key, Member(key, {0: point}))
        self._until = first_pause(spec, self._members)
        changed = any(record.exploits for record in records.values())
        self._whole = changed or self._until > population_of(spec).perturb_epochs or len(records) >= spec.search.trials
        for member in self._members.values():
            if not member.over and member.epoch < self._until:
                yield self._planned_trial(self._trial(member))  # Optuna may know it, and the ledger not yet


def _learn(spec: SweepSpec, member: Member, metrics: Mapping[str, Any]) -> None:
    """An epoch of a member, which counts for the exchange where it is that of a pause."""
    epoch, value = int(metrics["epoch"]), finite(metrics.get(spec.metric.name))
    member.epoch = max(member.epoch, epoch)
    if not math.isnan(value) and epoch % population_of(spec).perturb_epochs == 0:
        member.scores[epoch] = value if spec.metric.mode == "max" else -value
