"""A worker that becomes free goes to a trial that has none on the way."""

from types import SimpleNamespace

import pytest

from fsg.ray_engine.worker_reuse import WorkerReuse


class FakeTrial(SimpleNamespace):
    __hash__ = object.__hash__


def chosen(slots, statuses):
    """The number of the trial chosen among trials that came in order, each PENDING, RUNNING or TERMINATED."""
    trials = [FakeTrial(number=n, trial_id=str(n), status=status) for n, status in enumerate(statuses)]
    reuse = WorkerReuse(slots)
    for trial in trials:
        reuse.on_trial_add(None, trial)
    live = {t for t in trials if t.status != "TERMINATED"}
    found = reuse.choose_trial_to_run(SimpleNamespace(get_live_trials=lambda: live))
    return found and found.number


@pytest.mark.parametrize(
    ("slots", "statuses", "number"),
    [
        (1, ["TERMINATED", "PENDING"], 1),
        # The second trial's worker is starting: the free one goes to the third.
        (2, ["TERMINATED", "PENDING", "PENDING"], 2),
        (2, ["TERMINATED", "RUNNING", "PENDING", "PENDING"], 2),
        (3, ["TERMINATED", "PENDING", "PENDING", "PENDING"], 3),
        (3, ["TERMINATED", "RUNNING", "PENDING", "PENDING", "PENDING"], 3),
        # Nobody else waits: Ray may give it to the one whose worker is starting.
        (2, ["TERMINATED", "PENDING"], None),
        (2, ["RUNNING", "RUNNING"], None),
    ],
)
def test_a_free_worker_goes_to_the_oldest_trial_that_has_none_on_the_way(slots, statuses, number):
    assert chosen(slots, statuses) == number
