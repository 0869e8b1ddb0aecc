"""What every sampler must do."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from fsg.config import digest
from fsg.search.outcomes import Outcome
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study.space import Space
from fsg.testing.contract import Contract

_EPOCHS = 9
_SPACE = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
    "gradient.length": {"randint": [1, 8]},
    "gradient.beta": {"quniform": [0.0, 1.0, 0.25]},
}
_ALONE = {"gradient.gain": {"choice": ["bounded", "locked"]}}
_CONDITION = {"gradient.slow.d_state": {"randint": [1, 8], "when": {"gradient.gain": "locked"}}}


class SamplerContract(Contract):
    """Of a part of the kind ``sampler``. ``space``: a sweep's, if not ours; without conditions.

    ``startup``: how many points it may draw before it uses what it was told.
    """

    kind = "sampler"
    space: ClassVar[Mapping[str, Any]] = _SPACE | _ALONE
    startup: ClassVar[int] = 12

    def make(self, space: Space | None = None, storage: Path | None = None, **options: Any) -> Proposals:
        """What asks it for points, as a sweep does."""
        space = space or Space.model_validate(self.space)
        sampler = make_sampler(self.section, options.pop("seed", 0), space, _EPOCHS)
        return Proposals(space, sampler, storage, "m", "max", key_of=lambda point: digest(dict(point)), **options)

    def test_what_it_proposes_belongs_to_the_space(self) -> None:
        """Before it was told anything, and after."""
        space, proposals = Space.model_validate(self.space), self.make()
        for number in range(self.startup + 4):
            asked = proposals.ask()
            assert asked is not None, f"it has no point after {number}, in a space of thousands."
            key, point = asked
            for path, value in point.items():
                assert space.domains[path].holds(value), f"{path}: it proposes {value!r}, which does not belong."
            self._run(proposals, key, number)

    def test_the_same_seed_proposes_the_same(self) -> None:
        """Told the same in between. It draws from no generator of the program, and leaves them as they are."""
        found = []
        for common in (1, 2):
            random.seed(common)
            np.random.seed(common)
            before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
            found.append(self._points(self.make(), self.startup + 3))
            after = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
            assert before == after, "it draws from the program's own generator; make one of the seed."
        assert found[0] == found[1], "the same seed and the same results gave other points."

    def test_it_goes_on_after_trials_that_were_stopped_or_failed(self) -> None:
        """Whatever ended how: the next point comes."""
        proposals = self.make()
        for number in range(self.startup + 4):
            asked = proposals.ask()
            assert asked is not None
            status = ("finished", "pruned", "failed", "pruned")[number % 4]
            self._run(proposals, asked[0], number, status)

    def test_it_proposes_while_others_run(self) -> None:
        """Trials run side by side: it is asked again before it is told."""
        proposals = self.make()
        asked = [proposals.ask() for _ in range(self.startup + 3)]
        keys = [each[0] for each in asked if each is not None]
        assert len(keys) == len(set(keys)) == len(asked), "it repeats what runs."

    def test_a_restart_goes_on_from_what_was_told(self, tmp_path: Path) -> None:
        """Another process makes it again, with the memory on the disk and another seed."""
        journal = tmp_path / "optuna.journal"
        first, outcomes = self.make(storage=journal), {}
        for number in range(self.startup + 2):
            asked = first.ask()
            assert asked is not None
            key, point = asked
            outcomes[key] = Outcome(point, "finished", [{"epoch": 1, "m": number}], {"m": number})
            self._run(first, key, number)
        again = self.make(storage=journal, seed=len(outcomes))
        assert again.recall(outcomes) == []
        asked = again.ask()
        assert asked is not None and asked[0] not in outcomes, "after a restart it proposes what was run."

    def test_it_searches_paths_with_conditions_where_it_says_so(self) -> None:
        """The fact ``conditional``."""
        if not self.part.fact("conditional"):
            pytest.skip("it does not say that it can")
        space = Space.model_validate(dict(self.space) | _ALONE | _CONDITION)
        proposals = self.make(space)
        for number in range(self.startup + 4):
            asked = proposals.ask()
            assert asked is not None
            key, point = asked
            set_by = point["gradient.gain"] == "locked"
            assert ("gradient.slow.d_state" in point) == set_by, "a path is set where its condition does not hold."
            self._run(proposals, key, number)

    def test_it_takes_several_objectives_where_it_says_so(self) -> None:
        """The fact ``objectives``."""
        if not self.part.fact("objectives"):
            pytest.skip("it does not say that it can")
        proposals = self.make(objectives=[("bits", "min")])
        for number in range(self.startup + 4):
            asked = proposals.ask()
            assert asked is not None
            proposals.report(asked[0], {"epoch": 1, "m": float(number), "bits": 1.0 + number % 3})
            proposals.end(asked[0], "finished")

    def _points(self, proposals: Proposals, count: int) -> list[Mapping[str, Any]]:
        found = []
        for number in range(count):
            asked = proposals.ask()
            assert asked is not None
            found.append(asked[1])
            self._run(proposals, asked[0], number)
        return found

    @staticmethod
    def _run(proposals: Proposals, key: str, number: int, status: str = "finished") -> None:
        """Three epochs, or one, and the end."""
        for epoch in range(1, 2 if status == "pruned" else 4):
            proposals.report(key, {"epoch": epoch, "m": 50 + (number * 7) % 11 + epoch})
        proposals.end(key, status)
