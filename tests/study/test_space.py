"""Proof of fsg/study/space.py: domains that are what they say, and no space with a point that is no valid trial."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.study.domains import parse_domain
from fsg.study.domains.continuous import LogUniform, Uniform
from fsg.study.domains.stepped import LogRandInt, QUniform, RandInt
from fsg.study.domains.unordered import Choice, Fixed
from fsg.study.space import Space, describe

BASE = parse_trial({})


def space(**domains):
    return Space.model_validate({path.replace("__", "."): value for path, value in domains.items()})


def problems(base=BASE, **domains):
    return space(**domains).misfits(base)


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ({"uniform": [0, 1]}, Uniform(0, 1)),
        ({"loguniform": [1e-4, 0.1]}, LogUniform(1e-4, 0.1)),
        ({"quniform": [0.1, 0.9, 0.2]}, QUniform(0.1, 0.9, 0.2)),
        ({"randint": [-1, 8]}, RandInt(-1, 8)),
        ({"lograndint": [1, 64]}, LogRandInt(1, 64)),
        ({"choice": ["a", 2, 1.5, True, None]}, Choice(("a", 2, 1.5, True, None))),
        ("adam", Fixed("adam")),
        (False, Fixed(False)),
    ],
)
def test_a_domain_is_read_and_written(written, domain):
    assert parse_domain(written) == domain
    assert domain.as_written() == written
    assert parse_domain(domain) is domain


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"uniform": [1, 1]}, "low is 1 and high is 1; low must be below high"),
        ({"uniform": [2, 1]}, "low must be below high"),
        ({"uniform": [1]}, r"uniform takes \[low, high\], found 1 values"),
        ({"quniform": [0, 1]}, r"quniform takes \[low, high, q\], found 2 values"),
        ({"quniform": [0, 1, 0]}, "the step must be above 0 and at most high - low = 1"),
        ({"quniform": [0, 1, 2]}, "the step must be above 0"),
        ({"quniform": [0, 1, 0.3]}, "0.3 steps from 0 never reach 1"),
        ({"uniform": [0, float("inf")]}, "high is inf, expected a finite number"),
        ({"uniform": [False, True]}, "low is False, expected a finite number"),
        ({"uniform": ["a", "b"]}, "low is 'a', expected a finite number"),
        ({"randint": [0.5, 2]}, "low is 0.5, expected a whole number"),
        ({"loguniform": [0, 1]}, "low is 0; a logarithmic range starts above 0"),
        ({"lograndint": [-1, 1]}, "low is -1; a logarithmic range starts above 0"),
        ({"choice": []}, "choice has no values"),
        ({"choice": [1, 1]}, "choice holds 1 twice"),
        ({"choice": [None, "a", None]}, "choice holds None twice"),
        ({"choice": [1, 2, True]}, "choice holds 1 and true, which a search remembers as one value; keep one of them"),
        ({"choice": [0, 0.0]}, "choice holds 0 and 0.0, which a search remembers as one value"),
        ({"choice": [False, "a", 0.0]}, "choice holds false and 0.0, which"),
        ({"choice": [[1]]}, r"choice holds \[1\], expected a finite number, text"),
        ({"choice": [float("nan")]}, "choice holds nan"),
        ({"choice": "ab"}, "choice takes a list, found 'ab'"),
        ({"gauss": [0, 1]}, 'unknown domain "gauss". Allowed: uniform, loguniform'),
        ({"unifrom": [0, 1]}, 'unknown domain "unifrom". Did you mean "uniform"'),
        ({}, "expected exactly one domain of .*, found none"),
        ({"uniform": [0, 1], "choice": [1]}, "found uniform, choice"),
        ([1, 2], "expected a fixed scalar or one domain"),
        (float("nan"), "expected a fixed scalar"),
    ],
)
def test_a_domain_that_cannot_be_is_refused(written, message):
    with pytest.raises(ValueError, match=message):
        parse_domain(written)


def test_fixed_values_are_not_drawn():
    found = space(optimizer__lr={"uniform": [0.1, 1]}, epochs=3, data__root=None)
    assert found.paths == ("optimizer.lr",)
    assert list(found.domains) == ["optimizer.lr"]
    assert found.fixed == {"epochs": 3, "data.root": None}
    config = found.resolve(BASE, {"optimizer.lr": 0.5})
    assert (config.optimizer.lr, config.epochs, config.data.root) == (0.5, 3, None)


@pytest.mark.parametrize("values", [{}, {"optimizer.lr": 1.0, "epochs": 3}, {"optimizer.rl": 1.0}])
def test_a_point_has_one_value_for_each_path(values):
    with pytest.raises(ConfigError, match=r"a point of this space has values for optimizer\.lr; found"):
        space(optimizer__lr={"uniform": [0.1, 1]}).resolve(BASE, values)


def test_a_new_kind_of_section_is_chosen_before_its_options_are_set():
    found = space(
        optimizer__lr={"uniform": [0.1, 1]}, optimizer__name="sgd", quantizer={"choice": ["bwn", "bwn_channel"]}
    )
    config = found.resolve(BASE, {"optimizer.lr": 0.5, "quantizer": "bwn_channel"})
    assert (config.optimizer.name, config.optimizer.lr, config.quantizer.name) == ("sgd", 0.5, "bwn_channel")
    assert found.misfits(BASE) == []


def test_the_base_keeps_what_the_space_does_not_name():
    base = parse_trial({"optimizer": {"lr": 0.3, "weight_decay": 0.2}, "gradient": {"beta": 0.1}})
    config = space(optimizer__lr={"uniform": [0.1, 1]}).resolve(base, {"optimizer.lr": 0.5})
    assert config == parse_trial({"optimizer": {"lr": 0.5, "weight_decay": 0.2}, "gradient": {"beta": 0.1}})


def test_a_sound_space_has_no_misfits():
    assert problems(optimizer__lr={"loguniform": [1e-4, 1]}, gradient__hgs={"choice": [True, False]}, epochs=3) == []


def test_a_range_of_whole_numbers_fits_a_float_field():
    assert problems(optimizer__lr={"randint": [1, 10]}) == []


@pytest.mark.parametrize(
    ("domains", "path", "message"),
    [
        ({"optimizer.rl": {"uniform": [0, 1]}}, "optimizer.rl", 'no "optimizer.rl". Did you mean "optimizer.lr"?'),
        ({"seed": {"randint": [0, 9]}}, "seed", '"seed" cannot be searched'),
        ({"epochs": {"uniform": [1, 9]}}, "epochs", "It takes whole numbers; use randint."),
        ({"gradient.length": {"loguniform": [1, 9]}}, "gradient.length", "use lograndint."),
        ({"gradient.length": {"quniform": [1, 9, 1]}}, "gradient.length", "use randint."),
        ({"gradient.hgs": {"randint": [0, 1]}}, "gradient.hgs", "input should be a valid boolean"),
        ({"gradient.beta": {"uniform": [0, 1.5]}}, "gradient.beta", '"gradient.beta" is 1.5'),
        (
            {"optimizer.lr": {"uniform": [0, 1]}},
            "optimizer.lr",
            '"optimizer.lr" is 0.0: input should be greater than 0',
        ),
        ({"gradient.gain": {"choice": ["bounded", "bound"]}}, "gradient.gain", "allowed: bounded, locked, free"),
        ({"gradient.gain": {"choice": ["free", 1]}}, "gradient.gain", '"gradient.gain" is 1'),
        ({"gradient": {"uniform": [0, 1]}}, "gradient", '"gradient" is 0.0'),
        ({"gradient.lr": {"uniform": [0.1, 1]}}, "gradient.lr", 'unknown key "gradient.lr"'),
        ({"optimizer.lr": {"uniform": [0.1, 1]}, "epochs": 0}, "epochs", '"epochs" is 0'),
        ({"epochs": 0, "optimizer.lr": {"uniform": [0.1, 1]}}, "epochs", '"epochs" is 0'),
        ({"epochs": 3}, "", "nothing to search"),
    ],
)
def test_a_domain_that_does_not_fit_its_field_is_named(domains, path, message):
    found = Space.model_validate(domains).misfits(BASE)
    assert [blamed for blamed, _ in found] == [path]
    assert message in found[0][1]


def test_every_misfit_is_named():
    found = problems(
        epochs={"randint": [0, 3]}, optimizer__lr={"uniform": [0.1, 1]}, gradient__beta={"uniform": [0, 2]}
    )
    assert [path for path, _ in found] == ["epochs", "gradient.beta"]


@pytest.mark.parametrize(
    "domains",
    [
        {"optimizer.name": {"choice": ["sgd", "adam"]}, "optimizer.momentum": {"uniform": [0, 0.9]}},
        {"optimizer.momentum": {"uniform": [0, 0.9]}, "optimizer.name": {"choice": ["sgd", "adam"]}},
        {"epochs": {"randint": [5, 20]}, "schedule.warmup_epochs": {"randint": [0, 10]}},
        {"gradient.name": {"choice": ["fsg", "ste"]}, "gradient.beta": {"uniform": [0, 1]}},
        {
            "gradient": {"choice": ["fsg", "ema", "scalar"]},
            "gradient.beta": {"uniform": [0, 1]},
            "epochs": {"randint": [1, 3]},
        },
    ],
)
def test_values_that_cannot_stand_together_are_refused(domains):
    found = Space.model_validate(domains).misfits(BASE)
    assert len(found) == 1
    assert found[0][0] in domains


def test_a_space_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        space(epochs={"randint": [1, 3]}).root = {}


def test_a_space_describes_itself_a_line_a_path():
    found = dict(
        describe(space(optimizer__lr={"loguniform": [1e-4, 0.1]}, gradient__gain={"choice": ["free"]}, epochs=3))
    )
    assert found == {"optimizer.lr": "loguniform [0.0001, 0.1]", "gradient.gain": "choice ['free']", "epochs": "3"}


PATHS = ["optimizer.lr", "optimizer.name", "optimizer.momentum", "gradient", "gradient.length", "epochs"]
PATHS += ["schedule.warmup_epochs", "gradient.beta"]
DOMAINS = st.sampled_from(
    [
        {"uniform": [0.1, 0.9]},
        {"uniform": [0, 3]},
        {"randint": [1, 4]},
        {"randint": [5, 9]},
        {"choice": ["sgd", "adam"]},
        0,
        {"choice": ["fsg", "ste"]},
        {"choice": [0, 0.5]},
        {"quniform": [0, 1, 0.5]},
        {"lograndint": [1, 16]},
        "adam",
        "ema",
        3,
    ]
)


@given(st.dictionaries(st.sampled_from(PATHS), DOMAINS, min_size=1, max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_corner_of_a_space_without_misfits_is_a_valid_trial(domains):
    found = Space.model_validate(domains)
    if not found.misfits(BASE):
        for values in itertools.product(*(domain.extremes for domain in found.domains.values())):
            found.resolve(BASE, dict(zip(found.paths, values, strict=True)))


# Conditions -----------------------------------------------------------------------------------------------------------
CONDITIONAL = {
    "gradient.slow.d_state": {"randint": [1, 8], "when": {"gradient.slow_net": "mamba"}},
    "gradient.slow_net": {"choice": ["mamba", "lstm", "fir"]},
    "gradient.slow.d_inner": {"choice": [4, 8], "when": {"gradient.slow_net": ["mamba", "lstm"]}},
    "gradient.init": {"fixed": "random", "when": {"gradient.slow_net": "lstm"}},
}
BY_KIND = {
    "quantizer": {"choice": ["dorefa", "bwn"]},
    "quantizer.bits": {"randint": [1, 4], "when": {"quantizer.name": "dorefa"}},
}


def test_a_conditional_domain_is_written_as_it_was_read():
    found = Space.model_validate(CONDITIONAL)
    assert found.model_dump() == CONDITIONAL
    assert Space.model_validate(found.model_dump()) == found


def test_a_condition_is_asked_before_what_depends_on_it():
    found = Space.model_validate(CONDITIONAL)
    assert found.conditional
    assert found.order.index("gradient.slow_net") < found.order.index("gradient.slow.d_state")
    assert found.paths == ("gradient.slow_net", "gradient.slow.d_state", "gradient.slow.d_inner")


@pytest.mark.parametrize(
    ("point", "changed"),
    [
        ({"gradient.slow_net": "fir"}, {"slow_net": "fir"}),
        ({"gradient.slow_net": "lstm", "gradient.slow.d_inner": 4}, {"slow_net": "lstm", "init": "random"}),
        (
            {"gradient.slow_net": "mamba", "gradient.slow.d_inner": 4, "gradient.slow.d_state": 2},
            {"slow_net": "mamba", "init": "ste"},
        ),
    ],
)
def test_a_conditional_path_is_set_only_where_its_condition_holds(point, changed):
    found = Space.model_validate(CONDITIONAL)
    config = found.resolve(BASE, point)
    assert {name: getattr(config.gradient, name) for name in changed} == changed
    assert found.point_of(config.model_dump()) == point
    with pytest.raises(ConfigError, match="a point of this space has values for"):
        found.resolve(BASE, point | {"gradient.slow.d_state": 3} if "gradient.slow.d_state" not in point else {})


def test_options_of_one_kind_are_searched_beside_another_kind():
    found = Space.model_validate(BY_KIND)
    assert found.misfits(BASE) == []
    assert found.resolve(BASE, {"quantizer": "bwn"}).quantizer.name == "bwn"
    assert found.resolve(BASE, {"quantizer": "dorefa", "quantizer.bits": 3}).quantizer.bits == 3
    without = {path: {k: v for k, v in d.items() if k != "when"} for path, d in BY_KIND.items()}
    assert Space.model_validate(without).misfits(BASE), "bits of bwn went unnoticed"


def test_a_grid_has_every_point_once():
    points = list(Space.model_validate(BY_KIND).grid())
    assert points == [{"quantizer": "dorefa", "quantizer.bits": n} for n in (1, 2, 3, 4)] + [{"quantizer": "bwn"}]


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"gradient.slow_nett": "mamba"}, 'which is not in the space. Did you mean "gradient.slow_net"?'),
        ({"optimizer.name": "sgd"}, "which is not in the space. Add it, searched or fixed"),
        ({"gradient.slow_net": "mambo"}, 'which it never is: mamba, lstm, fir. Did you mean "mamba"?'),
        ({"gradient.beta": 0.5}, "a uniform; only a choice or a fixed value can be one"),
        ({"gradient.hgs": True}, "its conditions go round in a circle: gradient.lre -> gradient.hgs -> gradient.lre"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(when, message):
    domains = {
        "gradient.slow_net": {"choice": ["mamba", "lstm", "fir"]},
        "gradient.beta": {"uniform": [0, 1]},
        "gradient.hgs": {"choice": [True, False], "when": {"gradient.lre": True}},
        "gradient.lre": {"choice": [True, False], "when": when},
    }
    found = dict(Space.model_validate(domains).misfits(BASE))
    assert message in found["gradient.lre"]


@pytest.mark.parametrize("order", [1, -1])
def test_values_that_meet_only_at_a_later_value_of_their_condition_are_held_together(order):
    """Two epochs and three of warming up stand together where the quantizer is bwn, the second of those that have epochs."""
    domains = [
        ("epochs", {"choice": [9, 2], "when": {"quantizer": ["dorefa", "bwn"]}}),
        ("schedule.warmup_epochs", {"choice": [0, 3], "when": {"quantizer": "bwn"}}),
    ]
    found = Space.model_validate(BY_KIND | dict(domains[::order])).misfits(BASE)
    assert len(found) == 1 and "warm up for fewer" in found[0][1]


@pytest.mark.parametrize("when", [None, {}, 3, ["gradient.hgs"], {"gradient.hgs": []}, {"gradient.hgs": {"a": 1}}])
def test_a_condition_needs_paths_and_values(when):
    with pytest.raises(ValueError, match="when"):
        parse_domain({"choice": [1, 2], "when": when})


def test_a_condition_on_true_does_not_hold_for_one():
    found = Space.model_validate(
        {"gradient.hgs": {"choice": [True, False]}, "gradient.length": {"fixed": 3, "when": {"gradient.hgs": 1}}}
    )
    assert "which it never is" in found.misfits(BASE)[0][1]


@given(st.integers(0, 10_000))
@settings(max_examples=100, deadline=None)
def test_any_random_point_resolves_and_is_read_back(seed):
    import random

    for domains in (
        CONDITIONAL,
        BY_KIND,
        {"optimizer.lr": {"loguniform": [1e-3, 1]}, "epochs": {"lograndint": [2, 9]}},
    ):
        found = Space.model_validate(domains)
        point = found.draw(random.Random(seed))
        assert found.point_of(found.resolve(BASE, point).model_dump()) == point
