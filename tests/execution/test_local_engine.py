"""The engine that trains in this process: the same ledger as Ray's, and the same ends of trials that do not go well."""

import json

import pytest
from tiny_studies import ABLATION, SWEEP, TIMES, WILD, LocalStudy

from fsg.errors import StudyError

POPULATION = SWEEP | {
    "name": "population",
    "space": {"optimizer.lr": {"loguniform": [1e-3, 1e-1]}},
    "search": {"sampler": "random", "trials": 3, "seed": 0},
    "scheduler": {"name": "pbt", "perturb_epochs": 2, "quantile": 0.4},
}


def without_times(state):
    """What the ledger says of each trial, less times and the device's name."""
    found = {}
    for key, record in state.trials.items():
        epochs = [{k: v for k, v in epoch.items() if k not in TIMES} for epoch in record.epochs]
        found[key] = (record.status, record.arm, record.seed, epochs, record.attempts, record.config)
    return found


def told(study):
    """Its events without their content; the twin's workers were held together by damaged checkpoints."""
    events = [event for event in study.folder.events() if event["event"] != "damaged"]
    return sorted(json.dumps([event["event"], event.get("key"), event.get("epoch")]) for event in events)


def test_a_study_has_the_same_ledger_on_either_engine_but_for_times(finished, twin):
    ray, complete = twin
    assert complete
    assert without_times(finished.folder.state()) == without_times(ray.folder.state())
    assert told(finished) == told(ray), "other events"


def test_a_sweep_runs_prunes_and_ends(tmp_path):
    study = LocalStudy(tmp_path, SWEEP)
    assert study.run()
    statuses = [record.status for record in study.folder.state().trials.values()]
    assert len(statuses) == 6 and set(statuses) == {"finished", "pruned"}
    assert study.run(), "a second run finds nothing to do"
    assert [r.attempts for r in study.folder.state().trials.values()] == [1] * 6


def test_a_population_pauses_exchanges_and_ends(tmp_path):
    study = LocalStudy(tmp_path, POPULATION)
    assert study.run()
    state = study.folder.state()
    assert [r.status for r in state.trials.values()] == ["finished"] * 3 and any(
        r.exploits for r in state.trials.values()
    )


def test_trials_that_diverge_fail_with_the_reason_and_the_rest_goes_on(tmp_path):
    study = LocalStudy(tmp_path, ABLATION | {"arms": {"wild": WILD}})
    assert study.run()
    by_arm = {}
    for record in study.folder.state().trials.values():
        by_arm.setdefault(record.arm, set()).add((record.status, (record.reason or "")[:9]))
    assert by_arm == {"ste": {("finished", "")}, "wild": {("failed", "diverged:")}}


def test_ctrl_c_leaves_a_trial_to_go_on_with_from_its_last_epoch(tmp_path, finished):
    study, told = LocalStudy(tmp_path, ABLATION), []

    def interrupt(event):
        if event["event"] == "checkpoint":
            told.append(event)
            if len(told) == 3:
                raise KeyboardInterrupt

    assert not study.run(interrupt)
    assert [r.status for r in study.folder.state().trials.values()].count("running") == 1
    assert study.run()
    ours, uninterrupted = without_times(study.folder.state()), without_times(finished.folder.state())
    assert {k: v[3] for k, v in ours.items()} == {k: v[3] for k, v in uninterrupted.items()}


def test_what_a_user_must_mend_stops_the_study_with_its_message(tmp_path):
    weights = str(tmp_path / "no.pt")
    study = LocalStudy(tmp_path, ABLATION | {"base": ABLATION["base"] | {"model": {"pretrained": weights}}})
    with pytest.raises(StudyError, match=r"no\.pt.*\nThe study was stopped"):
        study.run()
    assert {r.status for r in study.folder.state().trials.values()} == {"planned"}
