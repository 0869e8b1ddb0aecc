"""An ablation end to end through a real Ray."""

from tiny_studies import ABLATION, ONE_SEED, WILD, numbers, trainables

from fsg.execution.retry import Limits
from fsg.train import Trainer


def test_every_planned_trial_finishes_once(twin):
    study, complete = twin
    assert complete
    keys = [trial.key for trial in study.spec.plan.trials()]
    assert [e["key"] for e in study.events if e["event"] == "planned"] == keys
    assert sorted(e["key"] for e in study.events if e["event"] == "finished") == sorted(keys)
    for key in keys:
        assert [e["attempt"] for e in study.of(key, "started")] == [1]
        assert [e["metrics"]["epoch"] for e in study.of(key, "epoch")] == list(range(1, 13))
        assert [e["epoch"] for e in study.of(key, "checkpoint")] == list(range(1, 13))


def test_arms_are_paired_and_a_worker_trains_what_the_trainer_trains(twin):
    study, _ = twin
    assert set(study.trials) == {(arm, seed) for arm in ("slow_rate", "ste") for seed in (0, 1)}
    trial = next(t for t in study.spec.plan.trials() if (t.arm, t.seed) == ("ste", 1))
    alone = [numbers(result.metrics) for result in Trainer(trial.config.model_copy(update={"device": "cpu"}))]
    record = study.trials["ste", 1]
    assert [numbers(m) for m in record.epochs] == alone
    assert numbers(record.final) == alone[-1]
    assert "test_accuracy" in record.final


def test_two_trials_train_side_by_side_on_two_cores(twin):
    """The two workers were held until both were there: see ``together``."""
    spans = [(t.started, t.ended) for t in twin[0].trials.values()]
    side_by_side = [sum(start <= at < end for start, end in spans) for at, _ in spans]
    assert max(side_by_side) == 2


def test_a_complete_study_runs_nothing_again(twin, monkeypatch):
    study, _ = twin
    before = study.folder.ledger_path.read_bytes()
    monkeypatch.setattr("ray.tune.Tuner", None)
    assert study.run()
    assert study.folder.ledger_path.read_bytes() == before


def test_trials_that_diverge_crash_or_lose_every_worker_are_recorded_and_the_rest_goes_on(study):
    arms = {"wild": WILD, "blocked": {"optimizer": {"lr": 0.02}}, "doomed": {"optimizer": {"lr": 0.03}}}
    broken = study(ABLATION | ONE_SEED | {"arms": arms})
    keys = {trial.arm: trial.key for trial in broken.spec.plan.trials()}
    (broken.folder.checkpoints / keys["blocked"]).write_text("a file where its checkpoints should go")

    def kill_worker(event):
        if event["event"] == "started" and event["key"] == keys["doomed"]:
            for process in trainables():
                process.kill()

    assert broken.run(kill_worker, cpus_per_trial=2, limits=Limits(retries={"lost": 1}))
    assert broken.trials["ste", 0].status == "finished"
    wild = broken.trials["wild", 0]
    assert wild.status == "failed"
    assert wild.reason.startswith("diverged: epoch 1: the loss is not finite at step ")
    crashed = broken.trials["blocked", 0]
    assert crashed.status == "failed"
    assert crashed.reason.startswith("crashed: ") and keys["blocked"] in crashed.reason
    assert "\n" not in crashed.reason and "Traceback" not in crashed.reason
    doomed = broken.trials["doomed", 0]
    assert (doomed.status, len(doomed.epochs), doomed.attempts) == ("failed", 0, 2)
    assert doomed.reason.startswith("lost: ") and doomed.reason.endswith("(after 2 attempts)")

    before = broken.folder.ledger_path.read_bytes()
    assert broken.run()
    assert broken.folder.ledger_path.read_bytes() == before, "a failed trial was tried again unasked"
