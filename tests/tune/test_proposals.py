"""What Optuna proposes and is told, for every sampler and every way a trial ends. No Ray: milliseconds."""

import optuna
import pytest

from fsg.config import TrialConfig, digest, merge, nested
from fsg.study.ledger import TrialRecord
from fsg.study.space import Space
from fsg.tune.proposals import KEY, Proposals, make_sampler

STATE = optuna.trial.TrialState
SPACE = Space.model_validate(
    {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "gradient.beta": {"uniform": [0.0, 1.0]},
        "data.validation_share": {"quniform": [0.1, 0.3, 0.05]},
        "gradient.length": {"randint": [1, 8]},
        "gradient.fast.hidden": {"lograndint": [4, 64]},
        "gradient.gain": {"choice": ["bounded", "locked"]},
        "epochs": 9,
    }
)
ENDS = {"finished": STATE.COMPLETE, "pruned": STATE.PRUNED, "failed": STATE.FAIL}
samplers = pytest.mark.parametrize("sampler", ["random", "tpe"])


def proposals(sampler="tpe", journal=None, space=SPACE, seed=3, mode="max"):
    return Proposals(space, make_sampler(sampler, seed), journal, "val_accuracy", mode, key_of=digest)


def epochs(count, best=90.0):
    return [{"epoch": n, "val_accuracy": best - 10 / n} for n in range(1, count + 1)]


def told(journal):
    """What Optuna itself reads in the journal."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.load_study(storage=storage, study_name="fsg").trials


def record(key, point, status, metrics):
    """A trial as the ledger has it."""
    config = TrialConfig().model_dump(mode="json")
    for path, value in point.items():
        config = merge(config, nested(path, value))
    return TrialRecord(key, "sweep", 0, config, status, metrics)


@samplers
def test_every_proposed_point_lies_in_the_space(sampler):
    searcher = proposals(sampler)
    for _ in range(30):
        key, point = searcher.ask()
        assert set(point) == set(SPACE.paths)
        for path, value in point.items():
            domain = SPACE.domains[path]
            assert value in domain.choices if domain.choices else domain.low <= value <= domain.high
            assert type(value) is int if domain.kind in ("randint", "lograndint") else True
        searcher.report(key, epochs(1)[0])
        searcher.end(key, "finished")


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_each_end_is_told_as_it_was_with_its_intermediate_values(sampler, status, tmp_path):
    searcher = proposals(sampler, tmp_path / "journal")
    key, _ = searcher.ask()
    for metrics in epochs(3):
        searcher.report(key, metrics)
    searcher.end(key, status)
    (trial,) = told(tmp_path / "journal")
    assert trial.state == ENDS[status]
    assert trial.intermediate_values == {1: 80.0, 2: 85.0, 3: 90.0 - 10 / 3}
    assert trial.value == (90.0 - 10 / 3 if status == "finished" else trial.value)


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_a_trial_that_ended_without_any_value_is_told_as_failed(sampler, status, tmp_path):
    searcher = proposals(sampler, tmp_path / "journal")
    key, _ = searcher.ask()
    searcher.report(key, {"epoch": 1, "val_accuracy": None})
    searcher.end(key, status)
    assert told(tmp_path / "journal")[0].state == STATE.FAIL


@samplers
def test_the_same_seed_proposes_the_same_points(sampler):
    def points(seed):
        searcher = proposals(sampler, seed=seed)
        asked = []
        for _ in range(14):  # beyond TPE's random start
            key, point = searcher.ask()
            asked.append(point)
            searcher.report(key, {"epoch": 1, "val_accuracy": 100 * point["gradient.beta"]})
            searcher.end(key, "finished")
        return asked

    assert points(3) == points(3) != points(4)


def test_tpe_learns_in_the_direction_that_is_better():
    def mean_beta(mode):
        searcher = proposals("tpe", mode=mode)
        betas = []
        for _ in range(40):
            key, point = searcher.ask()
            betas.append(point["gradient.beta"])
            searcher.report(key, {"epoch": 1, "val_accuracy": 100 * point["gradient.beta"]})
            searcher.end(key, "finished")
        return sum(betas[20:]) / 20

    assert mean_beta("max") > 0.7 > 0.3 > mean_beta("min")


@samplers
def test_a_point_that_has_been_run_is_told_its_value_at_once_and_not_run_again(sampler, tmp_path):
    space = Space.model_validate({"gradient.gain": {"choice": ["bounded", "locked", "free"]}})
    searcher = proposals(sampler, tmp_path / "journal", space)
    values = {"bounded": 90.0, "locked": 80.0}
    for _ in range(3):
        key, point = searcher.ask()
        if point["gradient.gain"] in values:
            searcher.report(key, {"epoch": 1, "val_accuracy": values[point["gradient.gain"]]})
        searcher.end(key, "finished")
    assert searcher.ask() is None, "three points are all there are"
    trials = told(tmp_path / "journal")
    assert len([t for t in trials if KEY in t.user_attrs]) == 3
    repeats = [t for t in trials if "repeats" in t.user_attrs]
    assert repeats
    for trial in repeats:
        value = values.get(trial.params["gradient.gain"])
        assert (trial.state, trial.value) == (STATE.COMPLETE if value else STATE.FAIL, value)


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_a_restart_tells_what_the_driver_died_before_telling(sampler, status, tmp_path):
    journal = tmp_path / "journal"
    key, point = proposals(sampler, journal).ask()
    assert told(journal)[0].state == STATE.RUNNING
    again = proposals(sampler, journal)
    assert again.recall({key: record(key, point, status, epochs(2))}) == []
    (trial,) = told(journal)
    assert trial.state == ENDS[status]
    assert trial.intermediate_values == {1: 80.0, 2: 85.0}


@samplers
@pytest.mark.parametrize("status", ["planned", "running", None])
def test_a_restart_returns_what_has_not_ended_to_be_run(sampler, status, tmp_path):
    """None: named in the journal, and killed before the ledger was written."""
    journal = tmp_path / "journal"
    key, point = proposals(sampler, journal).ask()
    again = proposals(sampler, journal)
    records = {key: record(key, point, status, epochs(1))} if status else {}
    assert again.recall(records) == [(key, point)]
    for metrics in epochs(2):
        again.report(key, metrics)
    again.end(key, "finished")
    (trial,) = told(journal)
    assert (trial.state, trial.value) == (STATE.COMPLETE, 85.0)


def test_a_point_killed_before_it_had_its_name_never_ran(tmp_path):
    journal = tmp_path / "journal"
    before = proposals("random", journal)
    before._study.ask(before._distributions)
    assert proposals("random", journal).recall({}) == []
    assert told(journal)[0].state == STATE.FAIL


@samplers
def test_a_lost_journal_is_made_again_from_the_ledger(sampler, tmp_path):
    asked = [proposals(sampler, seed=n).ask() for n in range(4)]
    statuses = ["finished", "pruned", "failed", "running"]
    records = {k: record(k, p, s, epochs(2)) for (k, p), s in zip(asked, statuses, strict=True)}
    again = proposals(sampler, tmp_path / "journal")
    assert again.recall(records) == [asked[3]]
    trials = told(tmp_path / "journal")
    assert [t.state for t in trials] == [STATE.COMPLETE, STATE.PRUNED, STATE.FAIL, STATE.RUNNING]
    assert [t.params for t in trials] == [point for _, point in asked]
    assert again.ask()[0] not in records


def test_a_journal_that_a_kill_cut_off_and_left_locked_goes_on_at_once(tmp_path):
    journal = tmp_path / "journal"
    key, point = proposals("random", journal).ask()
    with journal.open("ab") as file:
        file.write(b'{"op_code":5,"worker_')
    (tmp_path / "journal.lock").symlink_to(journal)
    again = proposals("random", journal)
    assert again.recall({}) == [(key, point)]
    again.report(key, epochs(1)[0])
    again.end(key, "finished")
    assert told(journal)[0].state == STATE.COMPLETE
