"""A search end to end: Optuna proposes, ASHA stops, the ledger and Optuna's journal agree on how each trial ended."""

import signal

import optuna
import pytest
from optuna.trial import TrialState
from tiny_studies import SWEEP, WILD, LocalStudy, Study

from fsg.search.proposals import KEY

STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def journal(study):
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(study.folder.search / "optuna.journal"))
    )
    trials = optuna.load_study(storage=storage, study_name="fsg").trials
    assert all(t.state.is_finished() for t in trials), "a trial is open for ever"
    return {t.user_attrs[KEY]: t for t in trials if KEY in t.user_attrs}  # the others repeat a point that was run


def assert_journal_tells_what_happened(study):
    records, told = study.folder.state().trials, journal(study)
    assert set(told) == set(records)
    for key, record in records.items():
        assert told[key].state == STATES[record.status]
        assert told[key].intermediate_values == {m["epoch"]: m["val_accuracy"] for m in record.epochs}
        if record.status == "finished":
            assert told[key].value == record.final["val_accuracy"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory, shared_ray):
    """Six trials, some of which overflow: their learning rate is that of WILD."""
    space = SWEEP["space"] | {"optimizer.lr": {"choice": [0.003, 0.01, 0.03, 100.0]}}
    base = SWEEP["base"] | {"quantizer": "bwn", "optimizer": WILD["optimizer"], "data": {"batch_size": 32}}
    del space["data.batch_size"]
    study = Study(tmp_path_factory.mktemp("search"), SWEEP | {"base": base, "space": space})
    return study, study.run()


def test_every_trial_ends_once_as_finished_pruned_or_failed(searched):
    study, complete = searched
    records = study.folder.state().trials.values()
    assert complete and len(records) == 6
    assert {r.status for r in records} == {"finished", "pruned", "failed"}
    for record in records:
        assert sum(e["event"] in STATES and e.get("key") == record.key for e in study.events) == 1
        assert record.attempts == 1
        if record.status == "finished":
            assert [m["epoch"] for m in record.epochs] == [1, 2, 3, 4]
        if record.status == "pruned":
            assert 1 <= len(record.epochs) < 4 and record.reason.startswith("asha: ")
        if record.status == "failed":
            assert record.reason.startswith("diverged: ")


def test_optuna_is_told_how_each_trial_really_ended(searched):
    assert_journal_tells_what_happened(searched[0])


def test_a_complete_search_runs_nothing_again(searched, monkeypatch):
    study, _ = searched
    before = study.folder.ledger_path.read_bytes()
    monkeypatch.setattr("ray.tune.Tuner", None)
    assert study.run()
    assert study.folder.ledger_path.read_bytes() == before


def test_a_search_stopped_in_the_middle_goes_on_to_its_number_of_trials(tmp_path):
    """Ctrl-C as the third trial starts."""
    search = LocalStudy(tmp_path, SWEEP | {"search": {"trials": 4}})

    def interrupt(event):
        if event["event"] == "started" and sum(e["event"] == "started" for e in search.events) == 3:
            signal.raise_signal(signal.SIGINT)

    assert not search.run(interrupt)
    before = {key: r.status for key, r in search.folder.state().trials.items()}
    ended = [key for key, status in before.items() if status in STATES]
    assert len(ended) == 2 < len(before)

    assert search.run()
    records = search.folder.state().trials
    assert len(records) == 4 and set(before) <= set(records)
    assert all(len(search.of(key, "started")) == 1 for key in ended), "an ended trial was run again"
    assert all(r.status in STATES for r in records.values())
    assert_journal_tells_what_happened(search)


def test_a_search_ends_when_every_point_has_been_run(tmp_path):
    few = {"quantizer.name": {"choice": ["bwn", "bwn_channel"]}}
    search = LocalStudy(tmp_path, SWEEP | {"space": few, "search": {"trials": 5}, "scheduler": "none"})
    assert search.run(), "a space with nothing left is a complete study"
    assert [r.status for r in search.folder.state().trials.values()] == ["finished"] * 2


def test_a_search_over_epochs_knows_a_short_trial_from_a_pruned_one(tmp_path):
    space = {"epochs": {"choice": [1, 2]}, "quantizer.name": "bwn"}
    search = LocalStudy(tmp_path, SWEEP | {"space": space, "search": {"trials": 2}, "scheduler": "none"})
    assert search.run()
    assert {len(r.epochs) for r in search.folder.state().trials.values()} == {1, 2}
    assert_journal_tells_what_happened(search)
