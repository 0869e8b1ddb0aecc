"""What Optuna proposes and is told, for every sampler and every way a trial ends. No Ray: milliseconds."""

import optuna
import pytest

from fsg.config import digest
from fsg.errors import BackendUnavailable
from fsg.search.outcomes import Infeasible, Outcome
from fsg.search.proposals import KEY, REASON, REPEATS, SEEDS, START, Proposals
from fsg.search.samplers import make_sampler
from fsg.study.space import Space

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
STEPS = Space.model_validate(
    {
        "gradient.beta": {"quniform": [0.0, 1.0, 0.1]},
        "gradient.length": {"randint": [1, 8]},
        "gradient.gain": {"choice": ["bounded", "locked"]},
    }
)
CONDITIONAL = Space.model_validate(
    {
        "gradient.slow_net": {"choice": ["mamba", "fir"]},
        "gradient.slow.d_state": {"randint": [1, 8], "when": {"gradient.slow_net": "mamba"}},
        "gradient.length": {"randint": [1, 8]},
    }
)
ENDS = {"finished": STATE.COMPLETE, "pruned": STATE.PRUNED, "failed": STATE.FAIL}
SAMPLERS = ["curves", "random", "tpe", "gp", "cmaes", "qmc", "nsga2", "grid"]
samplers = pytest.mark.parametrize("sampler", SAMPLERS)
learners = pytest.mark.parametrize("sampler", ["curves", "tpe", "gp", "cmaes", "nsga2"])


def proposals(sampler="tpe", journal=None, space=None, seed=3, mode="max", key_of=digest, **options):
    space = space or (STEPS if sampler == "grid" else SPACE)
    made = make_sampler(sampler, seed, space, longest=3)
    grid = sampler == "grid"
    return Proposals(space, made, journal, "val_accuracy", mode, key_of, grid=grid, seed=seed, **options)


def epochs(count, best=90.0):
    return [{"epoch": n, "val_accuracy": best - 10 / n} for n in range(1, count + 1)]


def told(journal):
    """What Optuna itself reads in the journal, or holds in memory."""
    if isinstance(journal, Proposals):
        return journal._study.get_trials()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    return optuna.load_study(storage=storage, study_name="fsg").trials


def run(searcher, count, value=lambda point: 100 * point["gradient.beta"]):
    """Ask and finish so many trials; their points."""
    asked = []
    for _ in range(count):
        key, point = searcher.ask()
        asked.append(point)
        searcher.report(key, {"epoch": 1, "val_accuracy": value(point)})
        searcher.end(key, "finished")
    return asked


@samplers
def test_every_proposed_point_lies_in_the_space(sampler):
    searcher = proposals(sampler)
    space = STEPS if sampler == "grid" else SPACE
    for point in run(searcher, 14):
        assert list(point) == list(space.paths)
        for path, value in point.items():
            assert space.domains[path].holds(value), (path, value)


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_each_end_is_told_as_it_was_with_its_intermediate_values(sampler, status, tmp_path):
    searcher = proposals(sampler, tmp_path / "journal")
    key, _ = searcher.ask()
    for metrics in epochs(3):
        searcher.report(key, metrics)
    searcher.end(key, status, reason="why")
    (trial,) = told(tmp_path / "journal")
    assert trial.state == ENDS[status]
    assert trial.intermediate_values == {1: 80.0, 2: 85.0, 3: 90.0 - 10 / 3}
    assert trial.value == (90.0 - 10 / 3 if status == "finished" else trial.value)
    assert trial.user_attrs.get(REASON) == (None if status == "finished" else "why")


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_a_trial_that_ended_without_any_value_is_told_as_failed(sampler, status, tmp_path):
    searcher = proposals(sampler, tmp_path / "journal")
    key, _ = searcher.ask()
    searcher.report(key, {"epoch": 1, "val_accuracy": None})
    searcher.end(key, status)
    (trial,) = told(tmp_path / "journal")
    assert trial.state == STATE.FAIL
    assert trial.user_attrs[REASON] == "no finite val_accuracy was measured"


@samplers
def test_every_sampler_goes_on_through_all_kinds_of_ends_and_leaves_nothing_running(sampler, tmp_path):
    """Eight at a time in flight: stopped, failed, finished and killed ones side by side; then a restart."""
    journal = tmp_path / "journal"
    searcher = proposals(sampler, journal)
    outcomes = {}
    for wave in range(2):
        asked = [searcher.ask() for _ in range(8)]
        assert len({key for key, _ in asked}) == 8
        for n, (key, point) in enumerate(asked):
            status = ["finished", "pruned", "failed", "finished"][n % 4]
            for metrics in epochs(1 + n % 3, best=90 + point["gradient.beta"]):
                searcher.report(key, metrics)
            outcomes[key] = Outcome(point, status, epochs(1 + n % 3), reason="lost")
            if wave < 1:
                searcher.end(key, status)
    again = proposals(sampler, journal)
    assert again.recall(outcomes) == []
    states = [trial.state for trial in told(journal)]
    assert STATE.RUNNING not in states and STATE.WAITING not in states
    assert [states.count(s) for s in (STATE.COMPLETE, STATE.PRUNED, STATE.FAIL)] == [8, 4, 4]
    assert again.ask()[0] not in outcomes


@samplers
def test_the_same_seed_proposes_the_same_points(sampler):
    def points(seed):
        return run(proposals(sampler, seed=seed), 12)  # beyond TPE's and GP's random start

    assert points(3) == points(3) != points(4)


@learners
def test_a_sampler_learns_in_the_direction_that_is_better(sampler):
    space = Space.model_validate({"gradient.beta": {"uniform": [0.0, 1.0]}, "optimizer.lr": {"loguniform": [1e-3, 1]}})

    count = {"curves": 18, "gp": 18, "nsga2": 160}.get(sampler, 60)

    def mean_beta(mode):
        betas = [point["gradient.beta"] for point in run(proposals(sampler, space=space, mode=mode), count)]
        return sum(betas[-6:]) / 6

    assert mean_beta("max") > 0.6 > 0.4 > mean_beta("min")


@samplers
def test_a_point_that_has_been_run_is_told_its_value_at_once_and_not_run_again(sampler):
    if sampler == "cmaes":
        pytest.skip("searches no choices")
    space = Space.model_validate({"gradient.gain": {"choice": ["bounded", "locked", "free"]}})
    searcher = proposals(sampler, space=space)
    values = {"bounded": 90.0, "locked": 80.0}
    for _ in range(3):
        key, point = searcher.ask()
        if point["gradient.gain"] in values:
            searcher.report(key, {"epoch": 1, "val_accuracy": values[point["gradient.gain"]]})
        searcher.end(key, "finished")
    assert searcher.ask() is None, "three points are all there are"
    trials = told(searcher)
    assert len([t for t in trials if KEY in t.user_attrs]) == 3
    repeats = [t for t in trials if REPEATS in t.user_attrs]
    assert bool(repeats) != (sampler == "grid"), "a grid repeats nothing"
    for trial in repeats:
        value = values.get(trial.params["gradient.gain"])
        assert (trial.state, trial.value) == (STATE.COMPLETE if value else STATE.FAIL, value)


def test_a_grid_runs_every_point_once_in_an_order_of_its_seed():
    space = Space.model_validate({"gradient.length": {"randint": [1, 5]}, "gradient.hgs": {"choice": [True, False]}})

    def points(seed):
        searcher, asked = proposals("grid", space=space, seed=seed), []
        while (found := searcher.ask()) is not None:
            asked.append(tuple(found[1].values()))
            searcher.end(found[0], "failed")
        return asked

    assert len(points(1)) == len(set(points(1))) == 10
    assert points(1) != points(2) and sorted(points(1)) == sorted(points(2))


@pytest.mark.parametrize("sampler", ["curves", "random", "tpe", "grid"])
def test_a_conditional_path_is_asked_only_where_its_condition_holds(sampler):
    searcher = proposals(sampler, space=CONDITIONAL)
    asked = run(searcher, 30, lambda point: point["gradient.length"])
    assert {point["gradient.slow_net"] for point in asked} == {"mamba", "fir"}
    for point, trial in zip(asked, [t for t in told(searcher) if KEY in t.user_attrs], strict=True):
        assert ("gradient.slow.d_state" in point) == (point["gradient.slow_net"] == "mamba")
        assert set(trial.params) == set(point)


@samplers
def test_an_infeasible_point_is_told_as_failed_with_the_constraint_and_another_is_asked(sampler):
    def key_of(point):
        if point["gradient.beta"] > 0.35:
            raise Infeasible("gradient.beta <= 0.35")
        return digest(point)

    searcher = proposals(sampler, key_of=key_of)
    assert all(point["gradient.beta"] <= 0.35 for point in run(searcher, 12))
    refused = [t for t in told(searcher) if KEY not in t.user_attrs]
    assert refused
    assert {(t.state, t.user_attrs[REASON]) for t in refused} == {(STATE.FAIL, "infeasible: gradient.beta <= 0.35")}


@samplers
def test_a_space_without_a_feasible_point_ends_after_bounded_tries(sampler):
    def key_of(point):
        raise Infeasible("never")

    searcher = proposals(sampler, key_of=key_of)
    assert searcher.ask() is None
    states = [t.state for t in told(searcher)]
    assert len(states) <= 200 and set(states) == {STATE.FAIL}


@samplers
def test_a_named_point_is_tried_as_it_is_and_once(sampler):
    point = {"gradient.beta": 0.3, "gradient.length": 2, "gradient.gain": "locked"}
    searcher = proposals(sampler, space=STEPS)
    key = searcher.propose(point, "paper")
    assert key == digest(point)
    assert searcher.propose(point, "again") is None
    searcher.report(key, epochs(1)[0])
    searcher.end(key, "finished")
    first = told(searcher)[0]
    assert (first.params, first.value, first.user_attrs[START]) == (point, 80.0, "paper")
    assert run(searcher, 3)


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp", "qmc", "nsga2", "grid"])
def test_several_objectives_are_told_together(sampler):
    searcher = proposals(sampler, space=STEPS, objectives=[("step_ms", "min")])
    for _ in range(12):
        key, point = searcher.ask()
        searcher.report(key, {"epoch": 1, "val_accuracy": point["gradient.beta"], "step_ms": point["gradient.length"]})
        searcher.report(key, {"epoch": 2, "val_accuracy": None})
        searcher.end(key, "finished")
    study = searcher._study
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for trial in (t for t in study.trials if KEY in t.user_attrs):
        assert trial.values == [trial.params["gradient.beta"], trial.params["gradient.length"]]
    assert study.best_trials


@pytest.mark.parametrize(("sampler", "count"), [("tpe", 60), ("gp", 20), ("nsga2", 160)])
def test_a_sampler_learns_from_a_constraint_on_a_metric(sampler, count):
    """The best accuracy is where the step is too long."""
    space = Space.model_validate({"gradient.beta": {"uniform": [0.0, 1.0]}, "optimizer.lr": {"loguniform": [1e-3, 1]}})
    searcher = proposals(sampler, space=space)
    betas = []
    for _ in range(count):
        key, point = searcher.ask()
        betas.append(point["gradient.beta"])
        searcher.report(key, {"epoch": 1, "val_accuracy": point["gradient.beta"]})
        searcher.end(key, "finished", violations={"step_ms < 5": point["gradient.beta"] - 0.4})
    assert told(searcher)[0].constraints.keys() == {"step_ms < 5"}
    assert sorted(betas[-10:])[5] < 0.6, "unconstrained, the last ones are near 1"


def test_a_mean_over_seeds_is_what_the_sampler_is_told(tmp_path):
    searcher = proposals("tpe", tmp_path / "journal")
    key, _ = searcher.ask()
    for metrics in epochs(2):
        searcher.report(key, metrics)
    searcher.end(key, "finished", {"val_accuracy": 70.0}, seeds=3)
    (trial,) = told(tmp_path / "journal")
    assert (trial.value, trial.intermediate_values[2], trial.user_attrs[SEEDS]) == (70.0, 85.0, 3)


@samplers
@pytest.mark.parametrize("status", ENDS)
def test_a_restart_tells_what_the_driver_died_before_telling(sampler, status, tmp_path):
    journal = tmp_path / "journal"
    key, point = proposals(sampler, journal).ask()
    assert told(journal)[0].state == STATE.RUNNING
    again = proposals(sampler, journal)
    assert again.recall({key: Outcome(point, status, epochs(2), reason="lost")}) == []
    (trial,) = told(journal)
    assert trial.state == ENDS[status]
    assert trial.intermediate_values == {1: 80.0, 2: 85.0}


@samplers
@pytest.mark.parametrize("status", ["open", None])
def test_a_restart_returns_what_has_not_ended_to_be_run(sampler, status, tmp_path):
    """None: named in the journal, and killed before the ledger was written."""
    journal = tmp_path / "journal"
    key, point = proposals(sampler, journal).ask()
    again = proposals(sampler, journal)
    outcomes = {key: Outcome(point, status, epochs(1))} if status else {}
    assert again.recall(outcomes) == [(key, point)]
    for metrics in epochs(2):
        again.report(key, metrics)
    again.end(key, "finished")
    (trial,) = told(journal)
    assert (trial.state, trial.value) == (STATE.COMPLETE, 85.0)


def test_a_point_killed_before_it_had_its_name_never_ran(tmp_path):
    journal = tmp_path / "journal"
    proposals("random", journal)._study.ask()
    assert proposals("random", journal).recall({}) == []
    assert told(journal)[0].state == STATE.FAIL


def test_a_point_that_was_named_and_not_asked_for_before_the_driver_ended_never_ran(tmp_path):
    journal = tmp_path / "journal"
    proposals("random", journal)._study.enqueue_trial({"gradient.beta": 0.5})
    assert proposals("random", journal).recall({}) == []
    assert told(journal)[0].state == STATE.FAIL


def test_a_restart_remembers_which_points_have_been_run(tmp_path):
    space = Space.model_validate({"gradient.gain": {"choice": ["bounded", "locked"]}})
    journal = tmp_path / "journal"
    first = proposals("random", journal, space)
    run(first, 2, lambda point: 50.0)
    again = proposals("random", journal, space)
    again.recall({})
    assert again.ask() is None


@samplers
def test_a_lost_journal_is_made_again_from_the_ledger(sampler, tmp_path):
    asked = [proposals(sampler, seed=n).ask() for n in range(4)]
    statuses = ["finished", "pruned", "failed", "open"]
    outcomes = {k: Outcome(p, s, epochs(2)) for (k, p), s in zip(asked, statuses, strict=True)}
    again = proposals(sampler, tmp_path / "journal")
    assert again.recall(outcomes) == [asked[3]]
    trials = told(tmp_path / "journal")
    assert [t.state for t in trials] == [STATE.COMPLETE, STATE.PRUNED, STATE.FAIL, STATE.RUNNING]
    assert [t.params for t in trials] == [point for _, point in asked]
    assert again.ask()[0] not in outcomes


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


def test_a_database_holds_several_studies(tmp_path):
    url = f"sqlite:///{tmp_path}/all.db"
    for name in ("one", "two"):
        run(proposals("tpe", url, name=name), 2)
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path}/all.db")
    assert {s.study_name: s.n_trials for s in optuna.get_all_study_summaries(storage)} == {"one": 2, "two": 2}


def test_a_database_that_is_not_there_is_refused_by_its_key():
    with pytest.raises(BackendUnavailable, match=r"^search\.storage: sqlite:////nowhere/x\.db cannot be used"):
        proposals("tpe", "sqlite:////nowhere/x.db")


def test_gp_proposes_what_it_proposes_with_greenlet(monkeypatch):
    """Without it Optuna searches from one start after the other, which rounds otherwise: other points from the same seed."""
    from optuna._gp import batched_lbfgsb as search

    space = Space.model_validate({path: SPACE.model_dump()[path] for path in ("optimizer.lr", "gradient.beta")})

    def points():
        searcher = proposals("gp", space=space)
        return run(searcher, 14, lambda point: -((point["gradient.beta"] - 0.3) ** 2) + 10 * point["optimizer.lr"])

    found = points()
    for installed in (True, False):
        monkeypatch.setattr(search._greenlet_imports, "is_successful", lambda installed=installed: installed)
        assert (points() == found) is installed


def test_what_a_power_failure_takes_from_the_journal_comes_back_from_the_ledger(tmp_path):
    journal = tmp_path / "journal"
    searcher = proposals("random", journal)
    run(searcher, 2)
    whole = journal.read_bytes()
    lines = whole.splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-4]) + b"\0" * 40 + b"\n" + lines[-1])
    outcomes = {t.user_attrs[KEY]: Outcome(t.params, "finished", epochs(1)) for t in told(searcher)}
    again = proposals("random", journal)
    assert again.recall(outcomes) == []
    trials = [t for t in told(journal) if KEY in t.user_attrs]
    assert sorted(t.user_attrs[KEY] for t in trials) == sorted(outcomes)
    assert {t.state for t in trials} == {STATE.COMPLETE}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2"])
@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_a_repeated_point_that_breaks_a_constraint_is_told_that_it_does(sampler, restarted, tmp_path):
    space = Space.model_validate(
        {"gradient.length": {"randint": [1, 3]}, "gradient.gain": {"choice": ["bounded", "locked"]}}
    )
    searcher = proposals(sampler, tmp_path / "journal", space=space)
    for number in range(6):
        if restarted and number == 3:
            searcher = proposals(sampler, tmp_path / "journal", space=space)
            searcher.recall({})
        key, point = searcher.ask()
        searcher.report(key, {"epoch": 1, "val_accuracy": float(point["gradient.length"])})
        broken = point["gradient.length"] - 2.5
        searcher.end(key, "finished", violations={"step_ms < 20": broken, "gap < 9": -broken})
    trials = told(searcher)
    of = {t.user_attrs[KEY]: t.constraints for t in trials if KEY in t.user_attrs}
    repeats = [t for t in trials if REPEATS in t.user_attrs]
    assert repeats and all(t.constraints == of[t.user_attrs[REPEATS]] for t in repeats)
    # GPSampler tells constraints apart by their order: findings/optuna_gp_constraint_order.sh
    assert {tuple(t.constraints) for t in trials} == {("step_ms < 20", "gap < 9")}
