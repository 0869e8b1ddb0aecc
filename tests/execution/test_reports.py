"""Assignments and reports are carried whole by the real Ray Tune, and let go of once their trial is over."""

import gc
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from ray import cloudpickle, tune
from ray.tune import Callback
from ray.tune.execution.placement_groups import resource_dict_to_pg_factory
from ray.tune.search import Searcher

from fsg.config import parse_trial
from fsg.execution.reports import (
    ASSIGNMENT,
    EpochReport,
    TrialAssignment,
    TrialEnd,
    as_result,
    assignment_of,
    report_of,
)
from fsg.ray_engine.recorder import Recorder
from fsg.ray_engine.snapshots import Forget, NotInSnapshots
from fsg.ray_engine.worker_reuse import WorkerReuse

TRIALS, EPOCHS = 6, 3


def assigned(number):
    config = parse_trial({"seed": number, "gradient": {"name": "fsg", "beta": 0.25}})
    best, resources = ("val_loss", "min"), {"cpu": 1.0, "gpu": 0.0}
    return TrialAssignment(f"trial{number}", config, Path("/c/last.pt"), {"torch": "2"}, best, resources, False, 1, 9)


def reported(number, epoch):
    if number == 0 and epoch == 2:
        return TrialEnd("diverged", "epoch 2: the training loss is nan.")
    metrics, layers = {"epoch": epoch, "val_loss": None}, {"conv": {"gain": 1.0, "cosine": None}}
    status = "finished" if epoch == EPOCHS else "running"
    print_of, damaged = {"weights": "a", "batches": "b"}, (("last.pt.damaged-1", "why"),)
    return EpochReport(epoch, metrics, layers, Path(f"/c/{number}"), status, (1, 2), print_of, "cpu", damaged)


class Worker(tune.Trainable):
    """Says whether it was assigned what it should be, and reports."""

    def setup(self, config):
        self.number = config[ASSIGNMENT].config.seed
        self.epoch, self.right = 0, config[ASSIGNMENT] == assigned(self.number)

    def reset_config(self, config):
        self.setup(config)
        return True

    def step(self):
        self.epoch += 1
        return as_result(reported(self.number, self.epoch)) | {"right": self.right}


class Plan(NotInSnapshots, Searcher):
    """Assigns, and holds what anybody hears against what was sent."""

    def __init__(self):
        super().__init__()
        self.begun, self.open, self.seen, self.wrong = 0, {}, set(), []

    def look(self, who, number, result):
        report = report_of(result)
        epoch = 2 if isinstance(report, TrialEnd) else report.epoch
        self.seen.add((who, number, epoch))
        if report != reported(number, epoch) or not result["right"]:
            self.wrong.append((who, result))

    def suggest(self, trial_id):
        if self.begun == TRIALS:
            return None if self.open else Searcher.FINISHED
        self.open[trial_id] = self.begun
        self.begun += 1
        return {ASSIGNMENT: assigned(self.begun - 1)}

    def on_trial_result(self, trial_id, result):
        self.look("searcher", self.open[trial_id], result)

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.look("searcher", self.open.pop(trial_id), result)

    def save(self, path):
        """Nothing."""

    def restore(self, path):
        """Nothing."""


class Hears(NotInSnapshots, Callback):
    """Tells the plan what a callback hears."""

    def __init__(self, plan):
        self.plan = plan

    def on_trial_result(self, iteration, trials, trial, result, **info):
        self.plan.look("callback", assignment_of(trial).config.seed, result)


class Judge(WorkerReuse):
    """Tells the plan what a scheduler hears."""

    def __init__(self, plan):
        super().__init__(slots=2)
        self.plan = plan

    def on_trial_result(self, controller, trial, result):
        self.plan.look("scheduler", assignment_of(trial).config.seed, result)
        return "CONTINUE"

    def on_trial_complete(self, controller, trial, result):
        self.plan.look("scheduler", assignment_of(trial).config.seed, result)


class Silent(Recorder):
    """The real recorder, which keeps Ray's snapshots empty, without a ledger."""

    def on_trial_result(self, controller, trial, result):
        return self.inner.on_trial_result(controller, trial, result)

    def on_trial_complete(self, controller, trial, result):
        self.inner.on_trial_complete(controller, trial, result)


def test_ray_carries_assignments_and_reports_whole_to_everyone_and_keeps_none(shared_ray, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_MAX_PENDING_TRIALS_PG", "4")  # some wait while a snapshot is made
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "0.1")
    plan, encoded = Plan(), []
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # Ray's processes do not find this file
    monkeypatch.setattr(
        "ray.tune.utils.serialization.TuneFunctionEncoder._to_cloudpickle",
        lambda self, thing: encoded.append(type(thing)) or {"value": "", "_type": ""},
    )
    tune.Tuner(
        tune.with_resources(Worker, lambda config: resource_dict_to_pg_factory(config[ASSIGNMENT].resources)),
        tune_config=tune.TuneConfig(
            search_alg=plan, scheduler=Silent(None, Judge(plan)), num_samples=-1, reuse_actors=True
        ),
        run_config=tune.RunConfig(
            name="tune", storage_path=str(tmp_path), verbose=0, callbacks=[Hears(plan), Forget()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    ).fit()  # fmt: skip
    assert not plan.wrong
    expected = {(n, e) for n in range(TRIALS) for e in range(1, EPOCHS + 1) if (n, e) != (0, 3)}
    for who in ("scheduler", "searcher", "callback"):
        assert {(n, e) for w, n, e in plan.seen if w == who} == expected, who
    gc.collect()
    kept = [thing for thing in gc.get_objects() if type(thing) in (TrialAssignment, EpochReport)]
    assert not kept and TrialAssignment not in encoded


def test_the_text_of_an_assignment_is_short_because_ray_keeps_it():
    """Ray makes a tag of it, sent with every result, and remembers each text that it could not write as JSON."""
    assert str(assigned(1)) == repr(assigned(1)) == "TrialAssignment(trial1)"


def test_only_done_is_told_to_ray_and_values_cannot_be_changed():
    assert as_result(reported(1, 1)).keys() == {"report", "done"} and not as_result(reported(1, 1))["done"]
    assert as_result(reported(1, EPOCHS))["done"] and as_result(TrialEnd("diverged", "it"))["done"]
    assert report_of(None) is None and report_of({"done": True}) is None
    for value, name in ((assigned(1), "key"), (reported(1, 1), "epoch"), (TrialEnd("diverged", "it"), "reason")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, "other")
