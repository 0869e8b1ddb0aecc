"""Proof of fsg/study/domains: what every kind of domain keeps to, however many values it has, and that a new one is a file."""

import math
import random
import sys
import tracemalloc

import optuna
import pytest

from fsg.config import digest, parse_trial
from fsg.search.cube import Cube
from fsg.search.populations import Member, Perturb, changes
from fsg.search.proposals import Proposals
from fsg.search.samplers import make_sampler
from fsg.study import domains
from fsg.study.domains import KINDS, Domain, discover, parse_domain, register
from fsg.study.space import Space, describe

EACH = [
    {"uniform": [0, 1]},
    {"uniform": [-0.5, 0.25]},
    {"loguniform": [1e-4, 0.1]},
    {"loguniform": [1, 100]},
    {"quniform": [0.0, 0.9, 0.1]},
    {"quniform": [-1, 1, 0.25]},
    {"quniform": [0, 1, 1 / 3]},
    {"quniform": [0, 1, 2.0**-20]},
    {"quniform": [1000.0, 1000.5, 5e-4]},
    {"randint": [-3, 8]},
    {"lograndint": [1, 64]},
    {"choice": ["a", 2, 1.5, True, None]},
    {"fixed": "adam"},
]
MANY = [
    {"randint": [0, 2**53]},
    {"randint": [-(2**53), 2**53]},
    {"lograndint": [1, 2**53]},
    {"quniform": [0.0, 1.0, 1e-9]},
    {"quniform": [0.001, 1.001, 1e-12]},
    {"quniform": [-1e6, 1e6, 1e-3]},
    {"quniform": [0, 1, 2.0**-30]},
]


def named(written):
    return str(written)


@pytest.mark.parametrize("written", EACH + MANY, ids=named)
def test_a_domain_agrees_with_itself(written):
    """Written, drawn, placed between 0 and 1 and back, given to Optuna and had from it, changed: always one of its values."""
    domain, rng = parse_domain(written), random.Random(0)
    assert parse_domain(domain.as_written()) == domain
    assert all(domain.holds(end) for end in domain.extremes)
    assert not domain.holds([1]) and not domain.holds(float("nan")) and not domain.holds("nowhere")
    distribution = domain.to_optuna()
    for _ in range(50):
        value = domain.draw(rng)
        assert domain.holds(value)
        back = domain.decode(domain.encode(value))
        assert back == value or math.isclose(back, value, rel_tol=1e-9) or domain.kind == "lograndint"
        assert domain.holds(back) and domain.holds(
            domain.decode(rng.uniform(-0.5, 1.5)) if not domain.choices else back
        )
        told = distribution.to_internal_repr(value)
        assert distribution._contains(told), "Optuna would refuse to be told it again after a restart"
        assert domain.from_optuna(distribution.to_external_repr(told)) == value
        assert domain.holds(domain.perturb(value, 0.8)) and domain.holds(domain.perturb(value, 1.2))


@pytest.mark.parametrize("written", EACH, ids=named)
def test_what_optuna_draws_belongs_to_the_domain(written):
    domain, study = parse_domain(written), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(30):
        found = study.ask({"x": domain.to_optuna()}).params["x"]
        assert domain.holds(domain.from_optuna(found)), found


@pytest.mark.parametrize("written", [w for w in EACH if 0 < (parse_domain(w).count or 0) < 10_000], ids=named)
def test_a_domain_counts_its_values(written):
    domain = parse_domain(written)
    values = list(domain.grid())
    assert len(values) == domain.count == len(set(values))
    assert all(domain.holds(value) for value in values)
    assert (values[0], values[-1]) == pytest.approx((domain.extremes[0], domain.extremes[-1])) or domain.choices


@pytest.mark.parametrize("written", MANY, ids=named)
def test_many_values_are_never_laid_out(written):
    domain = parse_domain(written)
    domain.to_optuna()  # Optuna itself is imported
    tracemalloc.start()
    try:
        value = domain.draw(random.Random(1))
        _ = domain.count, domain.extremes, domain.holds(value), domain.as_written(), str(domain), next(domain.grid())
        _ = domain.decode(domain.encode(value)), domain.perturb(value, 1.2), domain.to_optuna()
        _ = Space.model_validate({"optimizer.lr": domain}).size
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert domain.count > 1e8
    assert peak < 100_000, "bytes"


@pytest.mark.parametrize("sampler", ["random", "tpe", "curves", "cmaes", "qmc", "nsga2"])
def test_many_values_are_searched_and_remembered_exactly(sampler, tmp_path):
    space = Space.model_validate(
        {
            "data.split_seed": {"randint": [0, 2**53]},
            "gradient.beta": {"quniform": [0.0, 1.0, 1e-9]},
            "data.batch_size": {"lograndint": [2, 65536]},
        }
    )
    assert space.misfits(parse_trial({})) == []

    def searching():
        made = make_sampler(sampler, 0, space, 3)
        return Proposals(space, made, tmp_path / "journal", "val_accuracy", "max", digest)

    first, asked = searching(), {}
    for n in range(14):
        key, point = first.ask()
        asked[key] = point
        assert all(space.domains[path].holds(value) for path, value in point.items())
        first.report(key, {"epoch": 1, "val_accuracy": point["gradient.beta"]})
        if n < 10:
            first.end(key, "finished")
    assert len({point["data.split_seed"] for point in asked.values()}) > 3
    again = dict(searching().recall({}))
    assert again == {key: asked[key] for key in list(asked)[10:]}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"randint": [0, 2**53 + 1]}, "a search remembers every whole number up to 9007199254740992"),
        ({"lograndint": [1, 2**63]}, "a search remembers every whole number up to 9007199254740992"),
        ({"quniform": [0, 1, 1e-13]}, "q is 1e-13, and floats of this size cannot tell such steps apart; use uniform"),
        ({"quniform": [1e6, 1e6 + 1, 1e-7]}, "floats of this size cannot tell such steps apart"),
        ({"uniform": [0, 2**1024 - 1]}, "expected a finite number"),
        ({"uniform": [-1e308, 1e308]}, "more than a float can span"),
        ({"loguniform": [1e-310, 100]}, "more than a float can span"),
    ],
)
def test_numbers_that_would_come_back_as_others_are_refused(written, message):
    with pytest.raises(ValueError, match=message):
        parse_domain(written)


def test_thousands_of_choices_are_compared_in_a_moment():
    choice = parse_domain({"choice": list(range(200_000))})  # one with each other: 2e10 comparisons
    assert choice.count == 200_000
    with pytest.raises(ValueError, match=r"choice holds 199999 and 199999\.0"):
        parse_domain({"choice": [*range(200_000), 199999.0]})


def test_a_path_of_fractions_that_is_searched_by_whole_numbers_is_read_back():
    space = Space.model_validate({"optimizer.lr": {"randint": [1, 10]}})
    config = space.resolve(parse_trial({}), {"optimizer.lr": 3}).model_dump()
    assert isinstance(config["optimizer"]["lr"], float)
    assert space.point_of(config) == {"optimizer.lr": 3}


# A new kind -----------------------------------------------------------------------------------------------------------
ODD = """
import random
from dataclasses import dataclass

from fsg.study.domains.base import Domain, register


@register
@dataclass(frozen=True)
class Odd(Domain):
    kind = "odd"

    low: int
    high: int

    @classmethod
    def parse(cls, arguments, when):
        low, high = arguments
        if low % 2 == 0 or high % 2 == 0:
            raise ValueError("odd: both ends are odd.")
        return cls(low, high, when=when)

    @property
    def arguments(self):
        return [self.low, self.high]

    @property
    def extremes(self):
        return self.low, self.high

    @property
    def count(self):
        return (self.high - self.low) // 2 + 1

    def grid(self):
        return iter(range(self.low, self.high + 1, 2))

    def holds(self, value):
        return isinstance(value, int) and self.low <= value <= self.high and value % 2 == 1

    def draw(self, rng):
        return rng.randrange(self.low, self.high + 1, 2)

    def encode(self, value):
        return (value - self.low) / (self.high - self.low)

    def decode(self, place):
        step = round(place * (self.high - self.low) / 2)
        return min(max(self.low + 2 * step, self.low), self.high)

    def perturb(self, value, factor):
        return self.decode(self.encode(value * factor))

    def to_optuna(self):
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, step=2)
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """The package with one more file in it, in a folder of its own."""
    (tmp_path / "odd.py").write_text(ODD)
    monkeypatch.setattr(domains, "__path__", [*domains.__path__, str(tmp_path)])
    before = dict(KINDS)
    discover()
    yield {"gradient.length": {"odd": [1, 21]}, "gradient.gain": {"choice": ["bounded", "locked"]}}
    KINDS.clear()
    KINDS.update(before)
    del sys.modules["fsg.study.domains.odd"]


def test_a_new_kind_is_read_written_and_checked(odd):
    space = Space.model_validate(odd)
    assert "odd" in KINDS
    assert space.model_dump() == odd
    assert dict(describe(space))["gradient.length"] == "odd [1, 21]"
    assert space.misfits(parse_trial({})) == []
    assert (
        Space.model_validate({"gradient.length": {"odd": [-1, 21]}}).misfits(parse_trial({}))[0][0] == "gradient.length"
    )
    assert space.size == 22 == len(list(space.grid()))
    with pytest.raises(ValueError, match="both ends are odd"):
        parse_domain({"odd": [1, 2]})
    with pytest.raises(ValueError, match=r"Allowed: .*odd"):
        parse_domain({"even": [2, 4]})


@pytest.mark.parametrize("sampler", ["random", "tpe", "curves", "gp", "grid"])
def test_a_new_kind_is_searched(odd, sampler, tmp_path):
    space = Space.model_validate(odd)
    made = make_sampler(sampler, 0, space, 3)
    searcher = Proposals(space, made, tmp_path / "j", "val_accuracy", "max", digest, grid=sampler == "grid")
    lengths = []
    for _ in range(14):
        key, point = searcher.ask()
        assert space.domains["gradient.length"].holds(point["gradient.length"])
        assert space.point_of(space.resolve(parse_trial({}), point).model_dump()) == point
        lengths.append(point["gradient.length"])
        searcher.report(key, {"epoch": 1, "val_accuracy": point["gradient.length"]})
        searcher.end(key, "finished")
    assert len(set(lengths)) > 3


def test_a_new_kind_has_its_place_in_the_cube_and_changes_in_a_population(odd):
    space = Space.model_validate(odd)
    cube, rng = Cube(space), random.Random(0)
    for _ in range(30):
        point = space.draw(rng)
        row = cube.encode(point)
        assert cube.decode(row) == point
        assert cube.snap(row[None] + 0.01)[0, 0] == row[0]
    members = [Member(f"k{n}", {0: space.draw(rng)}, {3: float(n)}, epoch=3) for n in range(8)]
    for seed in range(10):
        for change in changes(members, 3, 0.5, Perturb(space.domains, 0.3), lambda point: True, seed):
            assert space.domains["gradient.length"].holds(change.point["gradient.length"])


def test_two_kinds_of_one_name_are_refused():
    with pytest.raises(ValueError, match='two kinds of domains are named "choice"'):

        @register
        class Choice(Domain):
            kind = "choice"
