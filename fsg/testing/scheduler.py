"""What every scheduler must do: a rule that stops trials, or a population's that changes them."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from typing import ClassVar

import pytest

from fsg.search.decisions import Rule
from fsg.search.populations import Explore, Member, changes
from fsg.study.space import Space
from fsg.testing.contract import Contract

Told = tuple[str, int, float]  # trial, epoch, value
_SPACE = {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "gradient.beta": {"uniform": [0.0, 1.0]}}


class SchedulerContract(Contract):
    """Of a part of the kind ``scheduler``. ``epochs``: of the trials that it is tried on, ``trials`` of them."""

    kind = "scheduler"
    epochs: ClassVar[int] = 27
    trials: ClassVar[int] = 30

    def make(self) -> Rule:
        """The rule, which nothing tells what to expect."""
        rule: Rule = self.part.make(self.section, self.epochs, lambda epoch, values: None)
        return rule

    def make_explore(self) -> Explore:
        """The rule of a population."""
        made: Explore = self.part.make(self.section, Space.model_validate(_SPACE).domains)
        return made

    def stream(self) -> list[Told]:
        """What a sweep tells, trials side by side: the same at every call, larger values being better."""
        rng = random.Random(0)
        left = {hashlib.sha256(bytes([n])).hexdigest()[:12]: 0 for n in range(self.trials)}
        quality = {key: rng.random() for key in left}
        told = []
        while left:
            key = rng.choice(list(left)[:8])
            left[key] += 1
            told.append((key, left[key], quality[key] * left[key] / (left[key] + 3)))
            if left[key] == self.epochs:
                del left[key]
        return told

    def decided(self, rule: Rule, told: list[Told]) -> dict[str, tuple[int, str]]:
        """Trial -> the epoch at which it was stopped, and why; a stopped trial tells no more."""
        stopped: dict[str, tuple[int, str]] = {}
        for key, epoch, value in told:
            if key not in stopped and (why := rule.stop(key, epoch, value)) is not None:
                stopped[key] = epoch, why
        return stopped

    def test_it_says_why_it_stops(self) -> None:
        """A sentence, or None; it stands in the ledger and in the table."""
        self._stops()
        for key, (epoch, why) in self.decided(self.make(), self.stream()).items():
            assert isinstance(why, str) and why.strip(), f"it stops {key} at epoch {epoch} with {why!r}; say why."

    def test_the_same_results_give_the_same_decisions(self) -> None:
        """It knows what it was told and nothing else: no clock, no generator of the program."""
        self._stops()
        found = []
        for seed in (1, 2):
            random.seed(seed)
            found.append(self.decided(self.make(), self.stream()))
        assert found[0] == found[1], "the same results were decided otherwise."

    def test_telling_it_again_after_a_restart_restores_it(self) -> None:
        """A driver that was killed makes it anew and tells it what the ledger knows: the rest is decided the same."""
        self._stops()
        whole, told = self.decided(self.make(), self.stream()), self.stream()
        for cut in (len(told) // 5, len(told) // 2):
            before = self.decided(self.make(), told[:cut])
            again = self.make()
            heard = [
                (key, epoch, value) for key, epoch, value in told[:cut] if epoch <= before.get(key, (epoch, ""))[0]
            ]
            for each in heard:
                again.stop(*each)
            rest = [each for each in told[cut:] if each[0] not in before]
            assert before | self.decided(again, rest) == whole, f"cut after {cut} of {len(told)} it decided otherwise."

    def test_what_leads_at_every_epoch_runs_to_its_end(self) -> None:
        """However early it comes."""
        self._stops()
        rule, best = self.make(), "f" * 12
        told = [each for key, epoch, value in self.stream() for each in ((best, epoch, 2.0), (key, epoch, value))]
        once = list(dict.fromkeys(told))
        assert best not in self.decided(rule, once), "the best of all, at every epoch, was stopped."

    def test_a_population_changes_within_its_space(self) -> None:
        """A point for each donor, the same for the same generator, and never one that may not be run."""
        if not self.part.fact("population"):
            pytest.skip("it is no population's")
        space, explore = Space.model_validate(_SPACE), self.make_explore()

        def feasible(point: Mapping[str, object]) -> bool:
            return float(point["gradient.beta"]) < 0.9  # type: ignore[arg-type]

        found = [changes(self._members(space), 3, 0.25, explore, feasible, seed=0) for _ in range(2)]
        assert found[0] == found[1], "the same results were changed otherwise."
        assert found[0], "none of the worst was changed."
        for change in found[0]:
            for path, value in change.point.items():
                assert space.domains[path].holds(value), f"{path} became {value!r}, which does not belong."
            assert feasible(change.point), f"{change.point!r} may not be run."

    def _members(self, space: Space) -> list[Member]:
        rng, members = random.Random(0), []
        for n in range(8):
            point = space.draw(rng) | {"gradient.beta": n / 10}
            members.append(Member(f"{n:012x}", {0: point}, scores={e: n + e / 10 for e in (1, 2, 3)}, epoch=3))
        return members

    def _stops(self) -> None:
        if self.part.fact("population"):
            pytest.skip("a population's changes trials and stops none")
