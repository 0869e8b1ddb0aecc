"""Proof of fsg/study/designs/fractions.py and fractional designs: balance, resolution, and aliases by brute force."""

import itertools
from collections import Counter
from math import prod

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fsg.config import parse_trial
from fsg.study.design import aliases
from fsg.study.designs import FractionalFactorial, FullFactorial
from fsg.study.designs.fractions import Fraction, available, smallest_fraction

LETTERS = "abcdefgh"
COMPONENTS = [
    {"on": {"epochs": 20}},
    {"on": {"dtype": "float64"}},
    {"on": {"autocast": "bfloat16"}},
    {"on": {"deterministic": False}},
    {"on": {"gradient": {"beta": 0.9}}},
    {"on": {"gradient": {"length": 9}}},
]


def design(k, **options):
    components = {letter: component for letter, component in zip(LETTERS[:k], COMPONENTS, strict=False)}
    return FractionalFactorial(kind="fractional_factorial", components=components, **options)


def problem(found):
    place, message = next(iter(found.problems(parse_trial({}))))
    return place, message


def column(runs, term):
    """The contrast of a term over the runs, computed from nothing but the runs."""
    return tuple(prod(1 if run[i] else -1 for i in term) for run in runs)


def brute_force(runs, k):
    """Terms whose contrasts agree up to sign: a partition of all 2^k terms, the mean among them."""
    classes = {}
    for size in range(k + 1):
        for term in itertools.combinations(range(k), size):
            contrast = column(runs, term)
            key = contrast if contrast[0] > 0 else tuple(-x for x in contrast)
            classes.setdefault(key, set()).add((sum(1 << i for i in term), contrast[0]))
    # signs are relative to each other: multiply by that of the shortest member
    return {
        frozenset((bits, sign * min(members, key=lambda m: (m[0].bit_count(), m[0]))[1]) for bits, sign in members)
        for members in classes.values()
    }


@st.composite
def fractions(draw):
    k = draw(st.integers(3, 6))
    base = draw(st.integers(2, k - 1))
    terms = [t for t in range(2**base) if t.bit_count() >= 2]
    chosen = draw(
        st.lists(st.tuples(st.sampled_from(terms), st.sampled_from([1, -1])), min_size=k - base, max_size=k - base)
    )
    return Fraction(k, tuple((base + i, word) for i, word in enumerate(chosen)))


@given(fractions())
def test_a_fraction_has_its_runs_once_and_balanced(fraction):
    runs = list(fraction.runs())
    assert len(runs) == len(set(runs)) == 2 ** (fraction.k - len(fraction.generators))
    for factor in range(fraction.k):
        assert Counter(run[factor] for run in runs) == {True: len(runs) // 2, False: len(runs) // 2}


@given(fractions())
def test_main_effects_are_orthogonal_from_resolution_three_on(fraction):
    assume(fraction.resolution >= 3)
    runs = list(fraction.runs())
    for a, b in itertools.combinations(range(fraction.k), 2):
        assert sum(x * y for x, y in zip(column(runs, [a]), column(runs, [b]), strict=True)) == 0


@given(fractions())
@settings(deadline=None)
def test_aliases_are_those_that_the_runs_themselves_show(fraction):
    found = {frozenset(members) for members in fraction.classes()}
    relative = {
        frozenset((bits, sign * sorted(c, key=lambda m: (m[0].bit_count(), m[0]))[0][1]) for bits, sign in c)
        for c in found
    }
    assert relative == brute_force(list(fraction.runs()), fraction.k)


@given(fractions())
@settings(deadline=None)
def test_the_resolution_is_the_fewest_factors_of_two_terms_that_look_alike(fraction):
    runs = list(fraction.runs())
    shortest = min(
        size
        for size in range(1, fraction.k + 1)
        for term in itertools.combinations(range(fraction.k), size)
        if len(set(column(runs, term))) == 1
    )
    assert fraction.resolution == shortest


@pytest.mark.parametrize(
    ("k", "have"),
    [
        # Box, Hunter & Hunter, Statistics for Experimenters, table of 2^(k-p) designs.
        (2, {}),
        (3, {3: 4}),
        (4, {4: 8}),
        (5, {3: 8, 5: 16}),
        (6, {3: 8, 4: 16, 6: 32}),
        (7, {3: 8, 4: 16, 7: 64}),
        (8, {4: 16, 5: 64, 8: 128}),
        (9, {3: 16, 4: 32, 6: 128, 9: 256}),
        (10, {3: 16, 4: 32, 5: 128, 6: 256, 10: 512}),
    ],
)
def test_the_smallest_fractions_are_those_of_the_textbook(k, have):
    assert available(k) == have
    for resolution, runs in have.items():
        found = smallest_fraction(k, resolution)
        assert found.resolution == resolution
        assert len(list(found.runs())) == runs


@given(st.integers(1, 6))
def test_a_full_factorial_has_every_combination_once(k):
    components = dict(zip(LETTERS[:k], COMPONENTS, strict=False))
    full = FullFactorial(kind="full_factorial", components=components)
    assert len(full.arms()) == len(set(full.levels().values())) == 2**k
    assert aliases(full) == []


def test_aliases_are_written_with_the_defining_relation_first():
    assert aliases(design(3, generators=["c = a*b"])) == ["I = a*b*c", "a = b*c", "b = a*c", "c = a*b"]
    assert aliases(design(3, generators=["c=-a*b"])) == ["I = -a*b*c", "a = -b*c", "b = -a*c", "c = -a*b"]
    assert aliases(design(4, resolution=4))[:2] == ["I = a*b*c*d", "a = b*c*d"]
    assert "a*b = c*d" in aliases(design(4, resolution=4))
    assert aliases(None) == []


def test_a_chosen_resolution_is_the_generator_that_a_textbook_takes():
    assert design(4, resolution=3).levels() == design(4, generators=["d = a*b*c"]).levels()


def test_arms_of_a_fraction_are_named_as_those_of_the_whole():
    assert list(design(3, resolution=3).levels()) == ["full", "no_b_c", "no_a_c", "no_a_b"]


@pytest.mark.parametrize(
    ("k", "options", "place", "message"),
    [
        (3, {"resolution": 4}, ("resolution",), "no fraction of 3 components has resolution 4; there are 3 in 4 runs."),
        (5, {"resolution": 2}, ("resolution",), "has resolution 2; there are 3 in 8 runs, 5 in 16 runs."),
        (2, {"resolution": 3}, ("resolution",), "there is none of so few; use full_factorial."),
        (3, {}, (), "a fraction is chosen in one way"),
        (3, {"resolution": 3, "generators": ["c = a*b"]}, (), "a fraction is chosen in one way"),
        (3, {"generators": ["c = ab"]}, ("generators", 0), '"c = ab" is no generator'),
        (3, {"generators": ["c = a*bb"]}, ("generators", 0), 'unknown component "bb". Did you mean "b"?'),
        (3, {"generators": ["c = a*c"]}, ("generators", 0), "needs components that no generator makes"),
        (3, {"generators": ["c = a*a"]}, ("generators", 0), "needs components that no generator makes, each once"),
        (4, {"generators": ["c = a*b", "c = a*d"]}, ("generators", 0), '"c" is generated twice.'),
        (4, {"generators": ["c = a*b", "d = a*b"]}, ("generators",), "mixes up main effects: I = c*d"),
        (
            3,
            {"resolution": 3, "effects": ["a"]},
            ("effects", 0),
            'the effect "a" is asked for, but this fraction cannot tell it from b*c',
        ),
        (4, {"resolution": 4, "effects": ["a", "a*b"]}, ("effects", 1), "cannot tell it from c*d"),
        (4, {"resolution": 4, "effects": ["e"]}, ("effects", 0), '"e" is no effect of a, b, c, d'),
    ],
)
def test_a_fraction_that_cannot_be_or_cannot_answer_is_refused(k, options, place, message):
    found = problem(design(k, **options))
    assert found[0] == place
    assert message in found[1]


def test_a_fraction_that_answers_what_is_asked_is_taken():
    assert list(design(4, resolution=4, effects=["a", "d"]).problems(parse_trial({}))) == []
    assert list(design(5, resolution=5, effects=["a", "a*b"]).problems(parse_trial({}))) == []


def test_a_fraction_is_taken_whole_or_not_at_all():
    components = {"a": COMPONENTS[0], "b": COMPONENTS[1], "c": COMPONENTS[2] | {"requires": ["a"]}}
    found = FractionalFactorial(kind="fractional_factorial", components=components, resolution=3)
    assert "balanced only when whole, but no_a_b: c requires a" in problem(found)[1]


def test_effects_are_of_fractions_alone():
    with pytest.raises(ValidationError, match="extra"):
        FullFactorial(kind="full_factorial", switches=["hgs"], effects=["hgs"])
