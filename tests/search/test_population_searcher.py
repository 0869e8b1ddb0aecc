"""A population through the real searcher, with curves instead of training and no Ray: one schedule, whatever happens."""

import pytest
from test_search_logic import CHANGED, SWEEP, Run

from fsg.errors import CheckpointCorrupt
from fsg.record.ledger import Ledger
from fsg.train.checkpoint import CheckpointStore

PBT = {"name": "pbt", "perturb_epochs": 2, "quantile": 0.34}
RANGES = {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "gradient.beta": {"uniform": [0.0, 1.0]}}
POPULATION = SWEEP | {
    "base": {"epochs": 7},
    "space": CHANGED | RANGES,
    "search": {"sampler": "random", "trials": 6},
    "scheduler": PBT,
}


def schedule(run):
    """The exchanges, in order, without their times."""
    events = [e for e in run.folder.ledger().read() if e["event"] == "exploited"]
    return sorted((e["epoch"], e["key"], e["donor"], str(sorted(e["values"].items()))) for e in events)


def results(run):
    return sorted((r.key, r.status, str(r.epochs), str(r.last_config)) for r in run.records)


@pytest.fixture
def population(tmp_path):
    made = iter(range(99))

    def make(**changes):
        folder = tmp_path / str(next(made))
        folder.mkdir()
        return Run(folder, POPULATION | changes)

    return make


@pytest.fixture(params=[PBT, PBT | {"name": "pb2"}], ids=["pbt", "pb2"])
def rule(request):
    return {"scheduler": request.param, "space": RANGES if request.param["name"] == "pb2" else POPULATION["space"]}


def test_the_worst_go_on_from_the_best_at_every_pause_and_all_end_with_their_epochs(population, rule):
    done = population(**rule).go()
    told = schedule(done)
    assert {epoch for epoch, *_ in told} == {2, 4, 6}
    assert [r.status for r in done.records] == ["finished"] * 6
    assert all([m["epoch"] for m in r.epochs] == list(range(1, 8)) for r in done.records)
    records = done.folder.state().trials
    for epoch, key, donor, _ in told:
        of = {k: records[k].epochs[epoch - 1]["val_accuracy"] for k in (key, donor)}
        assert of[donor] > of[key]


def test_the_weights_are_those_that_the_ledger_tells_of(population):
    done = population().go()
    records = done.folder.state().trials

    def trained_by(key, until):
        """A donor is never itself replaced at the same pause, so its weights of then are its own history."""
        last = max((e for e in records[key].exploits if e.epoch <= until), key=lambda e: e.epoch, default=None)
        return (trained_by(last.donor, last.epoch) if last else []) + [key] * (until - (last.epoch if last else 0))

    for key in records:
        assert done.lineage(key) == trained_by(key, 7)
    assert any(len(set(done.lineage(key))) > 1 for key in records)


def test_the_schedule_does_not_depend_on_who_came_first(population, rule):
    plain, other = population(**rule).go(workers=1), population(**rule).go(workers=5)
    assert schedule(plain) == schedule(other) and results(plain) == results(other)


@pytest.mark.parametrize("stop", [1, 5, 12, 13, 17, 33])
def test_a_killed_population_goes_on_to_the_same_end(population, stop):
    plain, killed = population().go(), population()
    killed.go(stop_after=stop)
    killed.go(stop_after=4)
    killed.go()
    assert schedule(killed) == schedule(plain) and results(killed) == results(plain)
    assert not any(t.state.name in ("RUNNING", "WAITING") for t in killed.told)


@pytest.mark.parametrize("nth", [0, 3])
def test_a_member_that_optuna_knows_and_the_ledger_does_not_yet_is_planned(population, nth):
    plain, refused = population().go(), population()
    refused.go(stop_after=1)
    path = refused.folder.ledger_path
    lines = path.read_bytes().splitlines(keepends=True)
    planned = [number for number, line in enumerate(lines) if b'"planned"' in line]
    path.write_bytes(b"".join(lines[: planned[nth]]))
    for file in refused.folder.checkpoints.glob("*/last.pt"):  # nobody had begun yet
        file.unlink()
    refused.go()
    assert schedule(refused) == schedule(plain) and results(refused) == results(plain)


@pytest.mark.parametrize("recorded", [0, 1])
def test_a_kill_in_the_middle_of_an_exchange_changes_nothing(population, recorded):
    plain, killed = population().go(), population()
    killed.go(stop_after=13)  # all have come to the first pause, and two are replaced
    path = killed.folder.ledger_path
    lines = path.read_bytes().splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if b'"exploited"' in line)
    assert sum(b'"exploited"' in line for line in lines) == 2
    path.write_bytes(b"".join(lines[: first + recorded]))
    for file in killed.folder.checkpoints.glob("*/last.pt"):  # nobody had gone on yet
        CheckpointStore(file).save({"by": CheckpointStore(file).load()["by"][:2]})
    killed.go()
    assert schedule(killed) == schedule(plain) and results(killed) == results(plain)


def test_a_member_that_diverges_is_out_and_the_rest_go_on(population):
    done = population().go(lambda config, epoch: None if config.gradient.beta > 0.8 and epoch == 3 else 50 + epoch)
    statuses = [r.status for r in done.records]
    assert "failed" in statuses and set(statuses) <= {"failed", "finished"}
    assert all(r.reason == "diverged: it" for r in done.records if r.status == "failed")


def test_a_metric_that_is_not_finite_is_replaced(population):
    first = []

    def value(config, epoch):
        first[:] = first or [config.optimizer.lr]
        return float("nan") if config.optimizer.lr == first[0] and epoch == 2 else 50 + epoch

    done = population().go(value)
    assert [key for epoch, key, *_ in schedule(done) if epoch == 2] == [done.records[0].key]


def test_a_damaged_donor_is_not_copied_and_the_member_goes_on(population, monkeypatch):
    def damaged(*_):
        raise CheckpointCorrupt("its digest does not match")

    monkeypatch.setattr(CheckpointStore, "adopt", damaged)
    done = population().go()
    assert schedule(done) == [] and {r.status for r in done.records} == {"finished"}


def test_a_budget_ends_a_population_at_a_pause_with_everything_recorded(population):
    done = population(budget={"wall_time": 1e-6}).go()
    assert [r.status for r in done.records] == ["pruned"] * 6
    assert {len(r.epochs) for r in done.records} == {0, 2}, "who had begun came to the pause"
    assert done.folder.state().stopped.startswith("budget.wall_time: ")
    assert not any(t.state.name == "RUNNING" for t in done.told)
    size = len(Ledger(done.folder.ledger_path).read())
    done.go()
    assert len(Ledger(done.folder.ledger_path).read()) == size


def test_in_a_space_with_fewer_points_than_members_the_population_is_smaller_and_trains_to_its_end(population):
    done = population(space={"optimizer.lr": {"choice": [0.001, 0.01, 0.1]}}, scheduler=PBT | {"quantile": 0.5}).go()
    assert [r.status for r in done.records] == ["finished"] * 3
    assert done.folder.state().stopped.startswith("the space is exhausted: ")
