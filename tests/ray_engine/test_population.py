"""A population end to end: real Ray, real training, stopped in the middle and gone on with."""

import signal

import pytest
import torch
from tiny_studies import BASE, LocalStudy, Study

from fsg.config import TrialConfig
from fsg.train.checkpoint import load_checkpoint

EPOCHS = 4  # one pause: after each every member is a new worker
POPULATION = {
    "name": "members",
    "base": BASE | {"gradient": "multi_fc", "epochs": EPOCHS},
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {"optimizer.lr": {"loguniform": [1e-5, 1e-1]}, "gradient.fast.lr": {"loguniform": [1e-5, 1e-1]}},
    "search": {"sampler": "random", "trials": 4, "seed": 1},
    "scheduler": {"name": "pbt", "perturb_epochs": 2},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_ray):
    study = Study(tmp_path_factory.mktemp("population"), POPULATION)
    return study, study.run()


def exploited(study):
    return [{k: v for k, v in e.items() if k not in ("time", "crc")} for e in study.events if e["event"] == "exploited"]


def accuracies(study):
    return {t.key: [m["val_accuracy"] for m in t.epochs] for t in study.folder.state().trials.values()}


def test_a_population_trains_exchanges_and_ends(trained):
    study, complete = trained
    records = study.folder.state().trials
    assert complete and {r.status for r in records.values()} == {"finished"}
    assert {e["epoch"] for e in exploited(study)} == {2}
    for record in records.values():
        assert [m["epoch"] for m in record.epochs] == list(range(1, EPOCHS + 1))
        config = TrialConfig.model_validate(record.last_config)
        for metrics in record.epochs:
            held = record.config if not record.exploits or metrics["epoch"] <= record.exploits[0].epoch else None
            if held:
                assert metrics["lr"] <= held["optimizer"]["lr"]
        stored = load_checkpoint(study.folder.checkpoints / record.key / "last.pt")
        assert (
            stored["epoch"] == EPOCHS
            and TrialConfig.model_validate_json(stored["config"]).optimizer == config.optimizer
        )


def test_a_replaced_member_really_trains_with_its_new_rate(trained):
    study, _ = trained
    for told in exploited(study):
        record = study.folder.state().trials[told["key"]]
        own = [e for e in record.exploits if e.epoch == told["epoch"]]
        assert own[0].values == told["values"]
        following = record.epochs[told["epoch"]]["lr"]
        factor = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * told["epoch"] / EPOCHS)).item())
        assert following == pytest.approx(told["values"]["optimizer.lr"] * factor)


def test_a_population_stopped_in_the_middle_goes_on_to_the_same_end(tmp_path, trained):
    """Ctrl-C in the stretch after the first pause, in this process; uninterrupted it ran on Ray."""
    stopped = LocalStudy(tmp_path, POPULATION)

    def interrupt(event):
        if event["event"] == "epoch" and event["metrics"]["epoch"] == 3 and not hit:
            hit.append(event)
            signal.raise_signal(signal.SIGINT)

    hit = []
    assert not stopped.run(interrupt)
    assert {t.status for t in stopped.folder.state().trials.values()} <= {"running", "paused"}
    assert stopped.run()
    assert exploited(stopped) == exploited(trained[0])
    assert accuracies(stopped) == accuracies(trained[0])
