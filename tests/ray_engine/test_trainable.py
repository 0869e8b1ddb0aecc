"""The trainable by itself, as Ray's worker calls it. No Ray running."""

import threading
from dataclasses import replace

import pytest

from fsg.config import parse_trial
from fsg.execution.reports import ASSIGNMENT, REPORT, TrialAssignment, TrialEnd
from fsg.execution.retry import TrialEnded
from fsg.ray_engine.nodes import software
from fsg.ray_engine.trainable import FsgTrainable
from fsg.train import Trainer
from fsg.train.checkpoint import load_checkpoint

TRIAL = {"gradient": "fsg", "epochs": 3, "data": {"name": "synthetic", "batch_size": 512}, "device": "cpu"}
TIMES = ("step_ms", "images_per_s")


def given(checkpoint, **changes):
    return {ASSIGNMENT: TrialAssignment("k", parse_trial(TRIAL | changes), checkpoint, software())}


@pytest.fixture
def worker(tmp_path):
    """A fresh process would build it the same way."""

    def start(**changes):
        return FsgTrainable(given(tmp_path / "last.pt", **changes))

    return start


def numbers(result):
    return {name: value for name, value in result[REPORT].metrics.items() if name not in TIMES}


def test_one_step_is_one_epoch_and_the_last_says_done(worker):
    trainable = worker()
    results = [trainable.step() for _ in range(3)]
    assert [(r[REPORT].epoch, r["done"]) for r in results] == [(1, False), (2, False), (3, True)]
    assert [r[REPORT].status for r in results] == ["running", "running", "finished"]
    alone = [r.metrics for r in Trainer(parse_trial(TRIAL))]
    assert [numbers(r) for r in results] == [{n: v for n, v in m.items() if n not in TIMES} for m in alone]


def test_a_resumed_trial_first_reports_the_epoch_its_driver_may_not_have_heard_of(worker):
    before = worker()
    before.step()
    last_words = before.step()  # saved, and then the driver was killed
    after = worker()
    assert after.step()[REPORT].metrics == last_words[REPORT].metrics
    third = after.step()
    assert (third[REPORT].epoch, third["done"]) == (3, True)
    assert numbers(third) == {n: v for n, v in list(Trainer(parse_trial(TRIAL)))[-1].metrics.items() if n not in TIMES}


def test_a_trial_that_has_finished_keeps_its_last_checkpoint_alone_unless_the_best_is_asked_for(worker, tmp_path):
    trainable = worker()
    for _ in range(2):
        trainable.step()
    assert {path.name for path in tmp_path.iterdir()} == {"stacks.txt", "last.pt", "last.previous.pt"}
    trainable.step()
    trainable.cleanup()
    assert {path.name for path in tmp_path.iterdir()} == {"last.pt"}

    other = replace(trainable.run.assignment, checkpoint=tmp_path / "b" / "last.pt", best=("lr", "max"))
    asked = FsgTrainable({ASSIGNMENT: other})
    rates = [numbers(asked.step())["lr"] for _ in range(3)]
    asked.cleanup()
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"last.pt", "best.pt"}
    assert load_checkpoint(tmp_path / "b" / "best.pt")["epoch"] == 1 + rates.index(max(rates)) < 3


def test_a_trial_killed_after_its_last_epoch_only_says_so(worker, monkeypatch):
    whole = worker()
    results = [whole.step() for _ in range(3)]
    monkeypatch.setattr(Trainer, "run_epoch", None)
    again = worker().step()
    assert again["done"] and again[REPORT].metrics == results[-1][REPORT].metrics


def test_a_reused_actor_starts_the_next_trial_afresh(worker, tmp_path):
    actor = worker()
    actor.step()
    assert actor.reset_config(given(tmp_path / "other.pt", seed=1))
    assert numbers(actor.step()) == numbers(FsgTrainable(given(tmp_path / "third.pt", seed=1)).step())


def test_divergence_is_a_result_that_says_so(worker):
    wild = {"optimizer": {"name": "sgd", "lr": 100.0, "weight_decay": 1.0}, "quantizer": "bwn", "gradient": "ste"}
    trainable = worker(**wild, epochs=20, data={"name": "synthetic", "batch_size": 32})
    results = [trainable.step()]
    while not results[-1].get("done"):
        results.append(trainable.step())
    end = results[-1][REPORT]
    assert isinstance(end, TrialEnd) and end.cause == "diverged" and str(end).startswith("diverged: epoch ")


def test_a_metric_that_is_not_finite_is_reported_as_none(worker, monkeypatch):
    from fsg.train import EpochResult

    odd = EpochResult(1, {"epoch": 1, "val_loss": float("nan"), "val_accuracy": 50.0}, {})
    monkeypatch.setattr(Trainer, "run_epoch", lambda *_: odd)
    assert worker().step()[REPORT].metrics == {"epoch": 1, "val_loss": None, "val_accuracy": 50.0}


def test_a_node_with_other_software_than_the_driver_begins_no_trial(tmp_path):
    assignment = given(tmp_path / "last.pt")[ASSIGNMENT]
    config = {ASSIGNMENT: replace(assignment, software=software() | {"torch": "1.0"})}
    with pytest.raises(TrialEnded, match=r"^user: node .* has torch .* instead of 1\.0"):
        FsgTrainable(config).step()


@pytest.mark.parametrize(("cores", "threads"), [(2.0, 2), (3.5, 3), (0.5, 1)])
def test_a_trial_computes_on_its_share_of_cores_whatever_the_trial_before_it_had(
    worker, tmp_path, monkeypatch, cores, threads
):
    from types import SimpleNamespace

    import torch

    from fsg.ops.slow_scan.cpu import share

    share_of = {"CPU": 1.0}
    monkeypatch.setattr(
        FsgTrainable, "trial_resources", property(lambda self: SimpleNamespace(required_resources=share_of))
    )
    before = torch.get_num_threads()
    try:
        actor = worker()
        actor.step()
        assert torch.get_num_threads() == 1
        share_of["CPU"] = cores
        actor.reset_config(given(tmp_path / "other.pt"))
        actor.step()
        assert torch.get_num_threads() == threads
        meet, seen = threading.Barrier(threads, timeout=20), []

        def work(queue):
            seen.append(meet.wait())  # passes when all threads are at work at once

        share(8, work)
        assert len(seen) == threads
    finally:
        torch.set_num_threads(before)
