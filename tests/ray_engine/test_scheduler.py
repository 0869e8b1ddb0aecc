"""Early stopping and where a trial trains, without running Ray."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ray.tune.schedulers import TrialScheduler
from tiny_studies import SWEEP

from fsg.config import parse_trial
from fsg.execution.reports import ASSIGNMENT, EpochReport, TrialAssignment, as_result
from fsg.execution.trial_run import training_device
from fsg.ray_engine.scheduler import RuleScheduler
from fsg.record.ledger import TrialRecord
from fsg.search.stopping import make_judge
from fsg.study.spec import load_study


@pytest.fixture
def spec(tmp_path):
    def load(**changes):
        path = tmp_path / "sweep.yaml"
        path.write_text(yaml.safe_dump(SWEEP | changes))
        return load_study(path)

    return load


def scheduled(*known):
    return RuleScheduler(make_judge(*known))


def told(scheduler, values, name="newcomer", judged=True, first=1):
    """The decisions on a trial that reports ``values``, epoch by epoch, from the ``first`` on."""
    assignment = TrialAssignment(name, parse_trial({}), Path("last.pt"), {}, judged=judged)
    trial = SimpleNamespace(trial_id=name, config={ASSIGNMENT: assignment})
    scheduler.on_trial_add(None, trial)
    reports = [
        EpochReport(n, {"epoch": n, "val_accuracy": value}, {}, Path("last.pt")) for n, value in enumerate(values, 1)
    ]
    return [scheduler.on_trial_result(None, trial, as_result(report)) for report in reports[first - 1 :]]


def past(status, *values):
    metrics = [{"epoch": n, "val_accuracy": value} for n, value in enumerate(values, 1)]
    return TrialRecord("k", "sweep", 0, {}, status, metrics)


def test_asha_stops_the_worse_half_at_a_rung_and_nobody_without_a_scheduler(spec):
    scheduler = scheduled(spec(), {})
    assert told(scheduler, [80.0], "first") == [TrialScheduler.CONTINUE]
    assert told(scheduler, [70.0], "second") == [TrialScheduler.STOP]
    free = scheduled(spec(scheduler="none"), {})
    assert told(free, [80.0, 80.0]) + told(free, [1.0], "second") == [TrialScheduler.CONTINUE] * 3


def test_asha_remembers_over_a_restart_what_earlier_trials_reached(spec):
    records = {"a": past("finished", 80.0, 85.0, 88.0, 90.0), "b": past("pruned", 60.0)}
    assert told(scheduled(spec(), records), [65.0]) == [TrialScheduler.STOP]
    assert told(scheduled(spec(), records), [95.0]) == [TrialScheduler.CONTINUE]
    assert told(scheduled(spec(), {}), [65.0]) == [TrialScheduler.CONTINUE], "nothing to compare with"


def test_a_trial_to_be_resumed_is_not_judged_against_itself(spec):
    records = {"a": past("running", 80.0)}
    assert told(scheduled(spec(), records), [70.0]) == [TrialScheduler.CONTINUE]


@pytest.mark.parametrize("status", ["running", "failed"])
def test_asha_remembers_over_a_restart_the_rungs_of_trials_that_ran_and_failed(spec, status):
    records = {"a": past(status, 80.0, 85.0)}
    assert told(scheduled(spec(), records), [65.0]) == [TrialScheduler.STOP], "its first rung was forgotten"
    scheduler = scheduled(spec(), {"a": past("running", 80.0, 85.0), "b": past("finished", 90.0, 95.0, 95.0, 95.0)})
    assert told(scheduler, [80.0, 85.0], "a") == [TrialScheduler.CONTINUE, TrialScheduler.STOP], (
        "the last epoch is judged"
    )


def test_asha_holds_others_against_an_epoch_that_was_recorded_and_trained_beyond_before_a_restart(spec):
    """Found by a disk that failed: the worker reports a later epoch next, and the rung stayed without the trial."""
    scheduler = scheduled(spec(), {"a": past("running", 80.0)})
    assert told(scheduler, [80.0, 85.0], "a", first=2) == [TrialScheduler.CONTINUE]
    assert told(scheduler, [65.0]) == [TrialScheduler.STOP]


def test_asha_passes_over_values_that_were_not_finite(spec):
    scheduler = scheduled(spec(), {"a": past("finished", None, 80.0)})
    assert told(scheduler, [None]) == [TrialScheduler.CONTINUE]


def test_a_further_seed_is_not_judged(spec):
    scheduler = scheduled(spec(), {"a": past("finished", 80.0, 85.0, 88.0, 90.0), "b": past("pruned", 60.0)})
    assert told(scheduler, [1.0], judged=False) == [TrialScheduler.CONTINUE]


def test_searched_epochs_move_the_end_and_not_the_base(spec):
    space = SWEEP["space"] | {"epochs": {"choice": [4, 8]}}
    scheduler = scheduled(spec(space=space), {})
    assert told(scheduler, [80.0, 81.0, 82.0, 83.0, 84.0, 85.0])[-1] == TrialScheduler.CONTINUE


@pytest.mark.parametrize(
    ("asked", "gpus", "device"),
    [("auto", 0, "cpu"), ("auto", 0.5, "cuda"), ("cpu", 1, "cpu"), ("cuda:1", 0, "cuda:1")],
)
def test_a_trial_takes_the_gpu_that_ray_gave_it_and_no_other(asked, gpus, device):
    assert training_device(asked, gpus) == device
