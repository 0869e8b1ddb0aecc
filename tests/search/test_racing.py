"""Proof of fsg/search/racing.py: seeds are spared where the paired interval says so, and only there."""

import random

from fsg.search.racing import best_of, hopeless, next_seed, spread

SEEDS = (0, 1, 2, 3, 4)
GOOD = {seed: 90.0 + seed for seed in SEEDS}


def near(shift, noise, seeds=SEEDS):
    return {seed: GOOD[seed] + shift + noise[seed] for seed in seeds}


NOISE = [0.1, -0.1, 0.05, -0.05, 0.0]


def test_seeds_run_in_order_until_all_have():
    assert next_seed({}, [], SEEDS) == 0
    assert next_seed({0: 1.0, 1: 1.0}, [], SEEDS) == 2
    assert next_seed(GOOD, [GOOD], SEEDS) is None


def test_without_a_whole_configuration_nothing_is_hopeless():
    assert best_of([{0: 99.0}, {0: 1.0, 1: 1.0}], SEEDS) is None
    assert not hopeless({0: 0.0}, [{0: 99.0}], SEEDS)


def test_the_best_is_by_the_mean_over_all_seeds():
    assert best_of([near(-1, NOISE), GOOD, {0: 1000.0}], SEEDS) is GOOD


def test_one_seed_decides_only_once_the_spread_is_known():
    worse = {0: GOOD[0] - 5}
    assert not hopeless(worse, [GOOD, worse], SEEDS)
    assert hopeless(worse, [GOOD, near(-0.1, NOISE), worse], SEEDS)
    assert next_seed(worse, [GOOD, near(-0.1, NOISE), worse], SEEDS) is None


def test_a_difference_within_the_noise_goes_on():
    close = {0: GOOD[0] - 0.05}
    assert next_seed(close, [GOOD, near(-0.1, NOISE), close], SEEDS) == 1


def test_the_pairing_takes_out_what_the_seeds_share():
    """Seeds differ by whole points, the difference from the best hardly."""
    deviation, freedom = spread([near(-1, NOISE)], GOOD)
    assert (round(deviation, 3), freedom) == (0.079, 4)
    assert hopeless(near(-1, NOISE, (0, 1)), [GOOD, near(-0.1, NOISE)], SEEDS)


def test_the_best_itself_is_not_hopeless():
    assert not hopeless(dict(GOOD), [GOOD, near(-0.1, NOISE)], SEEDS)


def test_an_equal_configuration_is_rarely_raced_out():
    """True differences of zero, five seeds, a look after each: twice the 2.5 % of one look at most, or little more."""
    rng = random.Random(0)
    out = 0
    for _ in range(400):
        best = {seed: rng.gauss(1.0, 0.5) for seed in SEEDS}
        others = [{seed: rng.gauss(0, 0.5) for seed in SEEDS} for _ in range(3)]
        own, rival = {}, {seed: best[seed] - 1.0 + 1.0 for seed in SEEDS}
        values = {seed: rival[seed] + rng.gauss(0, 0.5) for seed in SEEDS}
        while (seed := next_seed(own, [best, *others, own], SEEDS)) is not None:
            own[seed] = values[seed]
        out += len(own) < len(SEEDS)
    assert out / 400 < 0.12


def test_hopeless_configurations_cost_about_one_seed():
    rng = random.Random(0)
    seeds_run = []
    for _ in range(100):
        own, values = {}, {seed: GOOD[seed] - 3 + rng.gauss(0, 0.3) for seed in SEEDS}
        while (seed := next_seed(own, [GOOD, near(-0.2, NOISE), own], SEEDS)) is not None:
            own[seed] = values[seed]
        seeds_run.append(len(own))
    assert sum(seeds_run) / 100 < 1.2
