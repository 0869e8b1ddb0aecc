"""Studies of an earlier release go on: their checkpoints, their copy in MLflow, and two of them to their end, one on Ray."""

import json

import pytest
import torch

from fsg.config import parse_trial
from fsg.execution.devices import device_name
from fsg.record.folder import StudyFolder
from fsg.tracking.contents import contents
from fsg.train import Trainer
from fsg.train.checkpoint import CheckpointStore, load_checkpoint

TIMES = ("step_ms", "images_per_s")
# What 0.1 did not measure, or of an epoch that it began only the steps since then.
LATER = ("grad_norm", "moved", "flips_other", "history_share", "slow_share")


def numbers(metrics):
    return {name: value for name, value in metrics.items() if name not in TIMES}


def trained(metrics):
    return {name: value for name, value in numbers(metrics).items() if not name.startswith(("val_", "test_", *LATER))}


def uninterrupted(record):
    trainer = Trainer(parse_trial(record.config | {"device": "cpu"}))
    return [numbers(result.metrics) for result in trainer]


def known_to_0_1(metrics):
    """Less what 0.1.0 did not measure."""
    return {name: value for name, value in numbers(metrics).items() if not name.startswith(LATER)}


def same_machine(state):
    """Whether bits may be held against those of the recording."""
    here = (torch.__version__.partition("+")[0], device_name("cpu"))
    return (state.header["versions"]["torch"], *{t.device for t in state.trials.values()}) == here


def test_a_checkpoint_of_every_estimator_goes_on(unpacked):
    folder = unpacked("estimators.tar.xz") / "estimators"
    following = json.loads((folder / "following_epoch.json").read_text())
    assert len(following) >= 10
    for name, recorded in following.items():
        state = load_checkpoint(folder / f"{name}.pt")
        trainer = Trainer(parse_trial(json.loads(state["config"])))
        trainer.load_state_dict(CheckpointStore(folder / f"{name}.pt").load())
        assert trainer.epoch == 1
        metrics = trainer.run_epoch().metrics
        for metric in ("train_loss", "val_loss"):  # other processors round otherwise
            assert metrics[metric] == pytest.approx(recorded[metric], rel=0.02), (name, metric)


def test_a_moved_trial_goes_on_from_the_middle_of_its_epoch(study_of):
    folder = study_of("cut_off")
    state, within = folder.state(), 0
    for key, record in state.trials.items():
        checkpoint = CheckpointStore(folder.checkpoints / key / "last.pt").load()
        within += checkpoint["tally"] is not None
        trainer = Trainer(parse_trial(record.config | {"device": "cpu"}))
        trainer.load_state_dict(checkpoint)
        results = [known_to_0_1(result.metrics) for result in trainer]
        assert len(results) == record.config["epochs"] - checkpoint["epoch"]
        if same_machine(state):
            assert results == [known_to_0_1(metrics) for metrics in uninterrupted(record)[checkpoint["epoch"] :]]
    assert within, "none was in the middle of an epoch"


def test_its_copy_in_mlflow_is_found_again_and_not_made_twice(study_of, unpacked, fsg):
    place = unpacked("mlflow.tar.xz")
    folder = study_of("factorial")
    uri = f"sqlite:///{place}/mlflow.db"
    study_id = folder.state().header["study_id"]
    before = contents(uri, study_id)
    assert all(len(runs) == 1 for runs in before.values()) and len(before) == 1 + 10 + 20
    said = fsg("sync", "factorial", "--tracking-uri", uri)
    assert said.code == 0, said.err
    after = contents(uri, study_id)
    assert {
        k: [(r.status, r.parent, r.params, r.history) for r in runs] for k, runs in after.items() if k[0] == "seed"
    } == {k: [(r.status, r.parent, r.params, r.history) for r in runs] for k, runs in before.items() if k[0] == "seed"}
    assert after.keys() == before.keys() and all(len(runs) == 1 for runs in after.values())


@pytest.mark.long
def test_a_study_that_was_cut_off_is_resumed_by_ray_to_its_end(study_of, fsg, shared_ray, unpacked):
    uri = f"sqlite:///{unpacked('mlflow.tar.xz')}/mlflow.db"
    folder = study_of("cut_off")
    before = folder.state()
    said = fsg("resume", "cut_off", "--tracking-uri", uri)
    assert said.code == 0, said.err + said.out
    state = folder.state()
    assert state.trials.keys() == before.trials.keys()
    for key, record in state.trials.items():
        assert record.status == "finished" and len(record.epochs) == 25
        known = before.trials[key].epochs
        assert record.epochs[: len(known)] == known, "an epoch that was recorded ran again to another result"
        if same_machine(before):
            # Since 0.1.0 the moments of BatchNorm are exact, so what is evaluated reads otherwise; what is trained is the same.
            assert [trained(m) for m in record.epochs] == [trained(m) for m in uninterrupted(record)]
    paths = [event["path"] for event in folder.events() if event["event"] == "checkpoint"]
    assert all(path.startswith("checkpoints/") for path in paths[-2:]), "a path of this machine is in the ledger"
    assert "fsg 0.1.0, now" in said.out and "its table says which seeds ran under what" in said.out


def test_a_study_that_lost_its_last_trial_runs_that_one_alone(study_of, fsg, local_engine, unpacked):
    uri = f"sqlite:///{unpacked('mlflow.tar.xz')}/mlflow.db"
    folder = study_of("sequential")
    whole = folder.state()
    last = list(whole.trials)[-1]
    lines = folder.ledger_path.read_bytes().splitlines(keepends=True)
    folder.ledger_path.write_bytes(b"".join(line for line in lines if f'"{last}"'.encode() not in line))
    said = fsg("resume", "sequential", "--tracking-uri", uri)
    assert said.code == 0, said.err + said.out
    state = StudyFolder(folder.path).state()
    assert state.trials.keys() == whole.trials.keys()
    started = [event["key"] for event in folder.events() if event["event"] == "started"]
    assert started.count(last) == 1 and len(started) == len(whole.trials)
    assert "NOT ALL UNDER THE SAME" in said.out and f"seed {whole.trials[last].seed} of" in said.out
