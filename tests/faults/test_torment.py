"""Studies that are struck at random moments, through the command line, keep every promise. The long version: fsg bench faults."""

import pytest

from fsg.bench.faults.rounds import run_round

pytestmark = pytest.mark.long


def test_a_study_struck_at_random_keeps_every_promise(tmp_path):
    done = run_round(tmp_path, "sweep", seed=2, blows=4, every=(1.5, 6.0), with_server=False)
    assert done.broken == []
    assert done.struck.kills > 0, "nothing was struck: nothing was shown"
    assert done.again <= done.struck.kills, "more than one epoch was lost to a blow"
