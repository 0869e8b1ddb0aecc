"""Workers are struck while they train, through a real Ray: every trial goes on and ends as its uninterrupted twin did."""

import signal

import pytest
from tiny_studies import ABLATION, Study, outcome, worker_of

from fsg.execution.retry import Limits
from fsg.train.checkpoint import load_checkpoint

STRIKES = {"lost": signal.SIGKILL, "preempted": signal.SIGTERM, "hang": signal.SIGSTOP}
CHECKPOINTS_BEFORE = 3


@pytest.fixture(scope="module")
def struck(tmp_path_factory, shared_ray):
    """The small ablation; three of its four trials are struck once each after their third checkpoint: (study, cause -> key)."""
    study = Study(tmp_path_factory.mktemp("struck"), ABLATION)
    left, victims, seen = dict(STRIKES), {}, {}

    def strike(event):
        if event["event"] != "checkpoint" or not left:
            return
        key = event["key"]
        seen[key] = seen.get(key, 0) + 1
        if seen[key] == CHECKPOINTS_BEFORE and key not in victims.values():
            cause, blow = left.popitem()
            victims[cause] = key
            worker = worker_of((study.folder.path / event["path"]).parent)
            assert worker is not None, f"nobody works on {event['path']}"
            worker.send_signal(blow)

    study.complete = study.run(strike, limits=Limits(hang_least=10, hang_first=300))
    return study, victims


def test_every_trial_ends_with_the_bits_of_its_uninterrupted_twin(struck, finished):
    study, _ = struck
    assert study.complete
    assert {place: outcome(record) for place, record in study.trials.items()} == {
        place: outcome(record) for place, record in finished.trials.items()
    }


@pytest.mark.parametrize("cause", STRIKES)
def test_the_ledger_says_what_befell_it_and_it_went_on_from_its_checkpoint(struck, cause):
    study, victims = struck
    key = victims[cause]
    (retry,) = study.of(key, "retried")
    assert retry["cause"] == cause
    assert retry["reason"].startswith(f"{cause}: ")
    assert retry["epoch"] >= CHECKPOINTS_BEFORE
    assert [start["attempt"] for start in study.of(key, "started")] == [1, 2]
    epochs = ABLATION["base"]["epochs"]
    assert len(study.of(key, "epoch")) <= epochs + 1, "more than its checkpoint's epoch was run again"


def test_who_was_not_struck_ran_once(struck):
    study, victims = struck
    (spared,) = {trial.key for trial in study.trials.values()} - set(victims.values())
    assert len(study.of(spared, "started")) == 1


def test_every_trial_keeps_its_best_and_its_last_checkpoint_and_no_other(struck):
    study, _ = struck
    for record in study.trials.values():
        kept = study.folder.checkpoints / record.key
        assert {path.name for path in kept.iterdir()} - {"stacks.txt"} == {"best.pt", "last.pt"}
        best = max(record.epochs, key=lambda metrics: metrics["val_accuracy"])  # the first of equals
        assert load_checkpoint(kept / "best.pt")["epoch"] == best["epoch"]
        assert load_checkpoint(kept / "last.pt")["epoch"] == ABLATION["base"]["epochs"]


def test_the_stacks_of_who_hung_are_kept(struck):
    study, victims = struck
    stacks = study.folder.checkpoints / victims["hang"] / "stacks.txt"
    assert "(most recent call first)" in stacks.read_text()
    assert str(stacks) in study.of(victims["hang"], "retried")[0]["reason"]
