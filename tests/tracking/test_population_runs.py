"""A member of a population in MLflow: one run; its first values are params, what it became metrics and a tag."""

import json

from fsg.tracking.runs import StudyRuns

KEY, DONOR = "a" * 12, "b" * 12


def test_a_schedule_is_metrics_from_epoch_0_and_a_tag_while_params_stay_the_first():
    runs = StudyRuns({"study_id": "s", "name": "members", "kind": "sweep", "time": 1.0})
    config = {"optimizer": {"lr": 0.1}, "gradient": {"gain": "bounded"}}
    runs.fold({"event": "planned", "time": 1.0, "key": KEY, "arm": "sweep", "seed": 0, "config": config})
    runs.fold({"event": "started", "time": 2.0, "key": KEY, "attempt": 1, "node": "n", "device": "cpu"})
    for epoch, lr, gain in ((3, 0.08, "locked"), (6, 0.096, "locked")):
        values = {"optimizer.lr": lr, "gradient.gain": gain}
        event = {
            "event": "exploited",
            "time": 2.0 + epoch,
            "key": KEY,
            "epoch": epoch,
            "donor": DONOR,
            "values": values,
        }
        runs.fold(event)
    run = runs.runs["seed", KEY]
    assert run.params["optimizer.lr"] == "0.1"
    assert [(p.name, p.value, p.step) for p in run.points] == [
        ("schedule.optimizer.lr", 0.1, 0), ("schedule.optimizer.lr", 0.08, 3), ("schedule.optimizer.lr", 0.096, 6),
    ]  # fmt: skip
    told = json.loads(run.tags["fsg.schedule"])
    assert [(c["epoch"], c["donor"], c["values"]["gradient.gain"]) for c in told] == [
        (3, DONOR, "locked"),
        (6, DONOR, "locked"),
    ]
