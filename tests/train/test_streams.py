"""The random streams of a trial."""

import itertools

from fsg.train.seeds import _NUMBERS, stream_seed


def test_no_stream_of_a_trial_is_that_of_another_trial():
    """numpy takes [5, 0], [5] and 5 for one seed: findings/numpy_seed_trailing_zero.sh."""
    seeds = [*range(50), 2**31, 2**32 - 1]
    assert len({stream_seed(seed, stream) for seed, stream in itertools.product(seeds, _NUMBERS)}) == 52 * len(_NUMBERS)
