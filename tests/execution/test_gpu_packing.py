"""What a trial gets of a machine: pure bookkeeping, of numbers that were measured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import parse_trial
from fsg.execution.gpu_packing import MOST, Packing, share, size_of
from fsg.record.ledger import TrialRecord

GB = 10**9
CONFIG = parse_trial({"gradient": "fsg"})


@pytest.mark.parametrize(
    ("peak", "capacity", "expected"),
    [
        (10 * GB, 80 * GB, 0.1666),  # six of 12
        (33 * GB, 80 * GB, 0.5),
        (34 * GB, 80 * GB, 1.0),  # two would leave no head-room
        (100 * GB, 80 * GB, 1.0),
        (1, 80 * GB, 1 / MOST),
        (0, 80 * GB, 1.0),  # not known
        (0, 0, 1.0),
    ],
)
def test_a_share_holds_the_peak_and_head_room(peak, capacity, expected):
    assert share(peak, capacity) == expected


@given(st.floats(1, 1e12), st.floats(1, 1e12), st.floats(0, 2))
def test_trials_that_share_a_gpu_fit_on_it_together(peak, capacity, headroom):
    part = share(peak, capacity, headroom)
    together = int(1 / part)
    assert 0 < part <= 1 and together <= MOST
    assert together == 1 or together * peak * (1 + headroom) <= capacity * (1 + 1e-9)


def test_size_is_what_decides_memory_and_nothing_else():
    same = {
        "gradient": {"name": "fsg", "beta": 0.3, "fast": {"lr": 0.1}},
        "seed": 7,
        "epochs": 3,
        "optimizer": {"lr": 0.5},
    }
    assert size_of(parse_trial(same)) == size_of(CONFIG)
    for other in (
        {"gradient": {"name": "fsg", "length": 9}},
        {"gradient": "ste"},
        {"data": {"batch_size": 7}},
        {"dtype": "float64"},
        {"optimizer": "sgd"},
    ):
        assert size_of(parse_trial({"gradient": "fsg", **other})) != size_of(CONFIG)


def packing(auto=True, gpus=1.0, records=None):
    return Packing(2, gpus, auto, {"CPU": 16, "GPU": 4}, records or {})


def test_a_size_has_a_whole_gpu_until_it_was_measured():
    shares = packing()
    assert shares.resources("a", CONFIG) == {"cpu": 2, "gpu": 1.0}
    shares.measured(CONFIG, 10 * GB, 80 * GB)
    shares.measured(CONFIG, 9 * GB, 80 * GB)
    assert shares.resources("b", CONFIG) == {"cpu": 2, "gpu": 0.1666}
    assert shares.resources("c", parse_trial({"gradient": "ste"}))["gpu"] == 1.0


def test_what_was_asked_for_is_given_however_much_it_needs():
    shares = packing(auto=False, gpus=0.5)
    shares.measured(CONFIG, 10 * GB, 80 * GB)
    assert shares.resources("a", CONFIG) == {"cpu": 2, "gpu": 0.5}


@pytest.mark.parametrize(("gpus", "gpu"), [(0.25, 1.0), (0, 0), (2, 2)])
def test_who_ran_out_of_memory_runs_alone(gpus, gpu):
    shares = packing(auto=False, gpus=gpus)
    shares.ran_out("a")
    assert shares.resources("a", CONFIG) == {"cpu": 16, "gpu": gpu}
    assert shares.resources("b", CONFIG) == {"cpu": 2, "gpu": gpus}


def test_a_restart_remembers_peaks_and_who_ran_out():
    data = CONFIG.model_dump(mode="json")
    records = {
        "a": TrialRecord("a", "full", 0, data, memory=(10 * GB, 80 * GB)),
        "b": TrialRecord("b", "full", 1, data, retries=[{"cause": "memory", "epoch": 0, "reason": ""}]),
    }
    shares = packing(records=records)
    assert shares.resources("a", CONFIG)["gpu"] == 0.1666
    assert shares.resources("b", CONFIG) == {"cpu": 16, "gpu": 1.0}
