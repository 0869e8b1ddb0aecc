"""What every kind of search domain must do."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from fsg.study.domains import Domain, parse_domain
from fsg.study.domains.base import is_number
from fsg.testing.contract import Contract

_DRAWS = 50


class DomainContract(Contract):
    """Of a kind of domain. ``config``: a domain as a study writes it, as in ``{"uniform": [0, 1]}``."""

    kind = "domain"

    def make(self) -> Domain:
        """The domain."""
        self.load()
        return parse_domain(self.config)

    def draws(self) -> list[Any]:
        """Values that it draws, the same at every call."""
        domain, rng = self.make(), random.Random(0)
        return [domain.draw(rng) for _ in range(_DRAWS)]

    def test_it_is_read_as_it_is_written(self) -> None:
        """A study's folder holds it so."""
        domain = self.make()
        assert parse_domain(domain.as_written()) == domain, (
            f"{domain.as_written()!r} is read as another domain; arguments must be what parse reads, and the class a dataclass."
        )

    def test_what_it_draws_and_its_ends_belong_to_it(self) -> None:
        """And no value that is none."""
        domain = self.make()
        for value in (*self.draws(), *domain.extremes):
            assert domain.holds(value), f"{value!r} is drawn or an end, and holds says that it does not belong."
        for value in ([1], float("nan"), "nowhere at all"):
            assert not domain.holds(value), f"holds says that {value!r} belongs."

    def test_the_same_generator_draws_the_same(self) -> None:
        """It draws from the generator that it is given, and from no other."""
        random.seed(1)
        first = self.draws()
        random.seed(2)
        assert self.draws() == first, (
            "draw(rng) gives other values for a generator of the same seed; draw from rng alone."
        )

    def test_a_value_has_a_place_and_a_place_has_a_value(self) -> None:
        """``decode(encode(value))`` is the value, or its neighbour by rounding; of a place outside it is the nearest."""
        domain, rng = self.make(), random.Random(1)
        for value in self.draws():
            place = domain.encode(value)
            assert math.isfinite(place) and (domain.choices or -1e-9 <= place <= 1 + 1e-9), (
                f"encode({value!r}) is {place}, expected from 0 to 1; of choices, an index."
            )
            back = domain.decode(place)
            assert domain.holds(back), f"decode({place}) is {back!r}, which does not belong."
            assert back == value or _close(back, value), f"{value!r} comes back as {back!r}."
            if not domain.choices:
                beyond = domain.decode(rng.uniform(-0.5, 1.5))
                assert domain.holds(beyond), f"decode of a place outside is {beyond!r}, which does not belong."

    def test_a_value_that_is_changed_stays_in_it(self) -> None:
        """As a population changes it."""
        domain = self.make()
        for value in self.draws():
            for factor in (0.8, 1.2):
                assert domain.holds(domain.perturb(value, factor)), (
                    f"perturb({value!r}, {factor}) is {domain.perturb(value, factor)!r}, which does not belong."
                )

    def test_optuna_remembers_it(self) -> None:
        """A value told to Optuna comes back as itself, after a restart too."""
        domain = self.make()
        distribution = domain.to_optuna()
        for value in self.draws():
            told = distribution.to_internal_repr(value)
            assert distribution._contains(told), f"Optuna's {distribution} does not hold {value!r}."
            back = domain.from_optuna(distribution.to_external_repr(told))
            assert back == value, f"Optuna remembers {value!r} as {back!r}."

    def test_what_optuna_proposes_belongs_to_it(self) -> None:
        """Read by ``from_optuna``."""
        optuna = pytest.importorskip("optuna")
        study, domain = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), self.make()
        for _ in range(_DRAWS):
            found = domain.from_optuna(study.ask({"x": domain.to_optuna()}).params["x"])
            assert domain.holds(found), f"Optuna proposes {found!r}, which does not belong."

    def test_its_count_is_that_of_its_grid(self) -> None:
        """Where it is small enough to be gone through."""
        domain = self.make()
        if domain.count is None or domain.count > 10_000:
            pytest.skip("a range without steps, or too many of them")
        values = list(domain.grid())
        assert len(values) == len(set(values)) == domain.count, (
            f"count is {domain.count}, and grid gives {len(values)} values, {len(set(values))} of them different."
        )
        assert all(map(domain.holds, values)), "grid gives a value that does not belong."


def _close(one: Any, other: Any) -> bool:
    return is_number(one) and is_number(other) and math.isclose(one, other, rel_tol=1e-9)
