"""The checks that the fault suite stands on find each kind of broken promise, and none where there is none."""

import re

import pytest

from fsg.bench.faults import promises
from fsg.config import TrialConfig
from fsg.record.ledger import TrialRecord
from fsg.tracking.contents import RunContent

CONFIG = TrialConfig(epochs=2).model_dump(mode="json")
LAST = {"epoch": 2, "val_accuracy": 91.5, "step_ms": 3.0}


def event(name, key="a", **fields):
    return {"event": name, "key": key, "time": 1.0, **fields}


def trial(key="a", again=()):
    """The events of a trial that ran well; ``again`` are epochs recorded a second time before it finished."""
    return [
        event("planned", key, arm="ste", seed=0, config=CONFIG),
        event("started", key, attempt=1, node="here", device="cpu"),
        event("epoch", key, metrics={"epoch": 1, "val_accuracy": 80.0}),
        *(event("epoch", key, metrics={"epoch": n, "val_accuracy": 80.0}) for n in again),
        event("epoch", key, metrics=LAST),
        event("finished", key, metrics=LAST),
    ]


def twin(config):
    return LAST | {"step_ms": 99.0}


def test_a_study_that_kept_its_promises_has_no_finding():
    assert promises.of_the_ledger(trial() + trial("b"), twin, planned=2) == []


@pytest.mark.parametrize(
    ("events", "finding"),
    [
        (trial()[:-1], "trial a: left running"),
        (trial()[:1], "trial a: left planned"),
        ([*trial(), event("started", attempt=2, node="here", device="cpu")], '"started" after it had finished'),
        ([*trial(), event("epoch", metrics=LAST)], '"epoch" after it had finished'),
        ([*trial(), event("finished", metrics=LAST)], '"finished" after it had finished'),
        ([e for e in trial() if e.get("metrics", {}).get("epoch") != 1], r"finished without epochs \[1\]"),
        ([*trial()[:-1], event("failed", reason="crashed")], "trial a: failed: crashed"),
        ([*trial()[:-1], event("finished", metrics=LAST | {"val_accuracy": 91.4})], "is 91.4, uninterrupted 91.5"),
        ([], "0 trials in the ledger, 1 in the plan"),
    ],
)
def test_each_broken_promise_of_the_ledger_is_named(events, finding):
    found = promises.of_the_ledger(events, twin, planned=1)
    assert len(found) == 1
    assert re.search(finding, found[0])


def test_epochs_that_ran_twice_are_counted():
    assert promises.epochs_run_again(trial()) == 0
    assert promises.epochs_run_again(trial(again=[1, 1]) + trial("b", again=[1])) == 3


def run(status="FINISHED", value=91.5):
    return RunContent(status, 5, None, {}, {}, {"val_accuracy": [(2, 1000, value)]})


def test_orphans_doubles_and_differences_in_the_tracking_copy_are_named():
    anew = {("seed", "a"): [run()]}
    assert promises.of_tracking(anew, anew) == []
    assert promises.of_tracking({("seed", "a"): [run("RUNNING")]}, {("seed", "a"): [run("RUNNING")]}) == [
        "seed a: left RUNNING in MLflow"
    ]
    assert "seed a: 2 MLflow runs" in promises.of_tracking({("seed", "a"): [run(), run()]}, anew)
    assert promises.of_tracking({("seed", "a"): [run(value=1.0)]}, anew) == [
        "seed a: the MLflow copy differs from one made anew"
    ]
    assert promises.of_tracking({}, anew) == ["seed a: the MLflow copy differs from one made anew"]


def record(status):
    return TrialRecord("a", "trial", 0, CONFIG, status=status)


def test_a_searcher_that_forgets_doubles_or_leaves_open_is_found_out():
    finished = {"a": record("finished")}
    assert promises.of_memory([("a", "COMPLETE"), (None, "FAIL")], finished) == []
    assert promises.of_memory([], finished) == ["trial a: forgotten by the searcher"]
    assert promises.of_memory([("a", "COMPLETE"), ("a", "COMPLETE")], finished) == [
        "trial a: the searcher was told of it 2 times"
    ]
    assert promises.of_memory([("a", "RUNNING")], finished) == ["trial a: left RUNNING in the searcher's memory"]
    assert promises.of_memory([("a", "PRUNED")], finished) == [
        "trial a: finished in the ledger, PRUNED in the searcher's memory"
    ]


def test_the_uninterrupted_twin_is_the_trainers_own_result():
    from fsg.train import Trainer

    config = TrialConfig.model_validate(
        {**CONFIG, "gradient": {"name": "ste"}, "data": {**CONFIG["data"], "batch_size": 512}}, strict=False
    )
    *_, last = Trainer(config)
    found = promises.uninterrupted(config.model_dump(mode="json"))
    assert {k: v for k, v in found.items() if k not in promises.TIMES} == {
        k: v for k, v in last.metrics.items() if k not in promises.TIMES
    }
