"""Which trials an engine trains together: those whose programs have equal shapes, as many as there may be in a pack.

A pack is another at every epoch: who has ended leaves it, and the next trial of that shape takes the place; of equal estimators
before others, as these cost less side by side. A trial is heard, judged and stopped by itself, as if it were alone. What fits
nowhere is a pack of its own.
Proof: ``tests/execution/test_packs.py``.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fsg.errors import TrialDiverged
from fsg.execution.reports import EpochReport, TrialAssignment, TrialEnd
from fsg.execution.retry import end_of
from fsg.execution.trial_run import TrialRun
from fsg.fusing import estimator_shape, shape_of

if TYPE_CHECKING:
    from fsg.execution.engine import Work

MOST = 16  # trials in a pack: 32 take no less time for each than 16


@dataclass(frozen=True)
class Interrupted:
    """An attempt that was ended by an exception, and why."""

    end: TrialEnd


Outcome = EpochReport | TrialEnd | Interrupted


@dataclass(frozen=True)
class Member:
    """An attempt at a trial, by the engine's name for it. ``shape``: that of trials to train it with; None: it is alone.

    ``estimator``: equal for those of them that cost the least beside it.
    """

    name: str
    assignment: TrialAssignment
    shape: str | None
    estimator: str


class PackQueue:
    """Takes trials from the source of ``work`` and tells who trains next with whom; hears what comes of it.

    ``most``: trials of a pack. ``slots``: packs side by side. Trials that are known at the beginning are shared out evenly among
    as few packs as there can be.
    """

    def __init__(self, work: Work, most: int, prefix: str, slots: int = 1) -> None:
        self._work, self._most = work, most
        self._names = (f"{prefix}{number}" for number in itertools.count())
        self._alone: set[str] = set()
        self._waiting: deque[Member] = deque()
        while work.source.ahead and (known := self._take()) is not None:
            self._waiting.append(known)
        if fitting := sum(member.shape is not None for member in self._waiting):
            self._most = size_of(fitting, most, slots)

    def filled(self, pack: Sequence[Member]) -> list[Member]:
        """The pack with trials that fit beside it, as far as there are any and as many as there may be."""
        pack = list(pack)
        while len(pack) < self._most and (found := self._next(pack)) is not None:
            pack.append(found)
        return pack

    def dissolve(self, pack: Sequence[Member]) -> None:
        """Whatever ended these, each of them is alone from now on."""
        self._alone |= {member.assignment.key for member in pack}

    def hear(self, member: Member, outcome: Outcome) -> bool:
        """Write and judge what came of an epoch; whether the trial goes on."""
        work, assignment = self._work, member.assignment
        recording, judge = work.recording, work.judge
        if isinstance(outcome, Interrupted):
            recording.crashed(assignment.key, outcome.end)
            work.source.done(member.name, None)
            return False
        if isinstance(outcome, TrialEnd) or outcome.status != "running":
            recording.ended(assignment, outcome)
            work.source.done(member.name, outcome)
            return False
        metrics = outcome.metrics

        def decided(metrics: Mapping[str, Any] = metrics) -> str | None:
            return judge.stop(assignment.key, metrics) if judge is not None and assignment.judged else None

        if recording.heard(assignment, outcome, decided) == "stop":
            work.source.done(member.name, outcome)
            return False
        work.source.heard(member.name, outcome)
        return True

    def _next(self, pack: Sequence[Member]) -> Member | None:
        """The trial that has waited longest of those that fit; else one that is taken from the source."""
        if pack and pack[0].shape is None:
            return None
        estimators = {member.estimator for member in pack}
        fitting = [member for member in self._waiting if not pack or member.shape == pack[0].shape]
        if fitting:
            found = min(fitting, key=lambda member: member.estimator not in estimators)
            self._waiting.remove(found)
            return found
        taken = self._take() if not pack or not self._waiting else None
        if taken is None or not pack or taken.shape == pack[0].shape:
            return taken
        self._waiting.append(taken)
        return None

    def _take(self) -> Member | None:
        name = next(self._names)
        assignment = self._work.source.take(name)
        if assignment is None:
            return None
        config = assignment.config
        fits = config.fused and assignment.key not in self._alone and self._most > 1
        return Member(name, assignment, shape_of(config) if fits else None, estimator_shape(config))


def size_of(trials: int, most: int, slots: int) -> int:
    """How many trials a pack has, of so many in as few rounds as there can be: 36 in two slots of 16 at most are 4 packs of 9."""
    return math.ceil(trials / (slots * math.ceil(trials / (slots * most))))


class PackRun:
    """Trains packs in this process, an epoch at each request; apart, for good, those whose pack has failed.

    ``options``: as of a ``TrialRun``.
    """

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._runs: dict[str, TrialRun] = {}  # by the engine's name of an attempt
        self._apart: set[str] = set()  # whose pack has failed

    def epoch(self, members: Sequence[Member]) -> list[Outcome]:
        """One epoch of each, in order; attempts of before that are not among them are over."""
        for name in self._runs.keys() - {member.name for member in members}:
            self._runs.pop(name).close()
        outcomes: dict[str, Outcome] = {}
        together: list[Member] = []
        for member in members:
            run = self._runs.setdefault(member.name, TrialRun(member.assignment, **self._options))
            if member.shape is None or member.name in self._apart:
                outcomes[member.name] = _tried(run.epoch)
                continue
            begun = _tried(run.begin)
            if begun is None:
                together.append(member)
            else:
                outcomes[member.name] = begun
        if together:
            outcomes |= zip([m.name for m in together], self._together(together), strict=True)
        return [outcomes[member.name] for member in members]

    def _together(self, members: Sequence[Member]) -> list[Outcome]:
        """Trained as one program. If that fails, each by itself from its last checkpoint: the fault may be one trial's."""
        from fsg.train.fused import run_epoch

        runs = [self._runs[member.name] for member in members]
        try:
            results = run_epoch([run.trainer for run in runs], [run.save for run in runs], runs[0].leaving)
        except Exception as error:
            if runs[0].leaving():
                return [Interrupted(end_of(error))] * len(runs)
            self._apart |= {member.name for member in members}
            return [_tried(self._anew, member) for member in members]
        return [
            TrialEnd("diverged", str(result)) if isinstance(result, TrialDiverged) else _tried(run.report, result)
            for run, result in zip(runs, results, strict=True)
        ]

    def _anew(self, member: Member) -> EpochReport | TrialEnd:
        """The epoch after the last checkpoint, which has been reported."""
        self._runs[member.name].close()
        run = self._runs[member.name] = TrialRun(member.assignment, **self._options)
        run.begin()
        return run.epoch()

    def close(self) -> None:
        """Leave nothing open."""
        for run in self._runs.values():
            run.close()
        self._runs.clear()


def _tried(what: Any, *args: Any) -> Any:
    try:
        return what(*args)
    except Exception as error:
        return Interrupted(end_of(error))
