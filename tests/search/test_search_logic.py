"""A whole sweep through the real searcher and scheduler, with curves instead of training and no engine."""

import itertools

import optuna
import pytest
import yaml

from fsg.errors import StudyError
from fsg.execution.reports import EpochReport, TrialEnd
from fsg.record.folder import StudyFolder
from fsg.search.configurations import outcomes, settled
from fsg.search.population_searcher import PopulationSearcher
from fsg.search.proposals import SEEDS, START
from fsg.search.searcher import SweepSearcher
from fsg.search.stopping import make_judge
from fsg.study.population import is_population
from fsg.study.spec import load_study
from fsg.train.checkpoint import CheckpointStore

SWEEP = {
    "name": "simulated",
    "base": {"epochs": 4},
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {
        "gradient.beta": {"quniform": [0.0, 1.0, 0.05]},
        "gradient.length": {"randint": [1, 8]},
        "gradient.gain": {"choice": ["bounded", "locked"]},
    },
    "search": {"sampler": "random", "trials": 12},
}
CHANGED = {
    "gradient.beta": {"quniform": [0.0, 1.0, 0.05]},
    "gradient.gain": {"choice": ["bounded", "locked"]},
}
RUNNING = ("planned", "running", "paused")


class Run:
    """A driver without Ray: asks, trains by a formula, two trials side by side, writes what the recorder writes."""

    def __init__(self, folder, data):
        (folder / "sweep.yaml").write_text(yaml.safe_dump(data))
        self.spec = load_study(folder / "sweep.yaml")
        self.folder = StudyFolder.create_or_open(self.spec, folder / "studies")
        self.ids = itertools.count()

    def go(self, value=None, stop_after=10**9, workers=2):
        value = value or (lambda config, epoch: 50 + 40 * config.gradient.beta - 9 / epoch + 0.1 * config.seed)
        ledger, records = self.folder.ledger(), self.folder.state().trials
        kind = PopulationSearcher if is_population(self.spec) else SweepSearcher
        self.searcher = kind(self.folder, self.spec, ledger, records)
        judge = make_judge(self.spec, records, self.searcher.expected)
        alive = {}
        for _ in range(stop_after):
            while len(alive) < workers:
                name = f"attempt{next(self.ids)}"
                assignment = self.searcher.take(name)
                if assignment is None:
                    break
                ledger.append("started", key=assignment.key, attempt=1, node="n", device="cpu")
                alive[name] = (assignment, assignment.heard)
            if not alive:
                return self
            name, (assignment, done) = alive.popitem() if len(alive) == 1 else next(iter(alive.items()))
            alive.pop(name, None)
            key, config, epoch = assignment.key, assignment.config, done + 1
            found = value(config, epoch)
            if found is None:
                ledger.append("failed", key=key, reason="diverged: it")
                self.searcher.done(name, TrialEnd("diverged", "it"))
                continue
            metrics = {"epoch": epoch, "val_accuracy": found, "step_ms": 1.0 + config.gradient.length}
            ledger.append("epoch", key=key, metrics=metrics)
            if is_population(self.spec):
                self.train(assignment.checkpoint, key, epoch)
            status = "finished" if epoch == config.epochs else "paused" if epoch == assignment.until else "running"
            report = EpochReport(epoch, metrics, {}, assignment.checkpoint, status)
            if status == "finished":
                ledger.append("finished", key=key, metrics=metrics)
                self.searcher.done(name, report)
            elif status == "paused":
                ledger.append("paused", key=key, epoch=epoch)
                self.searcher.done(name, report)
            elif reason := judge.stop(key, metrics) if assignment.judged else None:
                ledger.append("pruned", key=key, epoch=epoch, reason=reason)
                self.searcher.done(name, report)
            else:
                self.searcher.heard(name, report)
                alive[name] = (assignment, epoch)
        return self

    def train(self, path, key, epoch):
        """A checkpoint that remembers who trained it, epoch by epoch."""
        state = CheckpointStore(path).load() or {"by": []}
        assert len(state["by"]) == epoch - 1, "it began with another epoch's weights"
        CheckpointStore(path).save({"by": [*state["by"], key]})

    def lineage(self, key):
        return CheckpointStore(self.folder.checkpoints / key / "last.pt").load()["by"]

    @property
    def records(self):
        return list(self.folder.state().trials.values())

    @property
    def told(self):
        journal = optuna.storages.journal.JournalFileBackend(str(self.folder.search / "optuna.journal"))
        return optuna.load_study(storage=optuna.storages.JournalStorage(journal), study_name="fsg").trials


@pytest.fixture
def run(tmp_path):
    return lambda **changes: Run(tmp_path, SWEEP | changes)


@pytest.mark.parametrize("scheduler", ["none", "asha", "hyperband", "median", {"name": "pbt", "perturb_epochs": 2}])
@pytest.mark.parametrize("sampler", ["auto", "curves", "tpe", "gp", "cmaes", "random", "qmc", "nsga2", "grid"])
def test_every_sampler_with_every_scheduler_is_killed_goes_on_and_agrees_with_the_ledger(run, sampler, scheduler):
    """Suggest, report, stop, fail and restore: a kill after nine results, and configurations that diverge."""
    changes = {"space": CHANGED} if isinstance(scheduler, dict) else {}

    def value(config, epoch):
        return None if config.gradient.beta > 0.85 else 50 + 40 * config.gradient.beta - 9 / epoch

    killed = run(search={"sampler": sampler, "trials": 12}, scheduler=scheduler, **changes)
    killed.go(value, stop_after=9)
    assert any(r.status in RUNNING for r in killed.records)
    done = killed.go(value)
    ends = {"finished": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}
    assert len(done.records) == 12
    told = {t.user_attrs["fsg_key"]: t for t in done.told if "fsg_key" in t.user_attrs}
    assert {r.key: ends[r.status] for r in done.records} == {key: t.state.name for key, t in told.items()}
    assert all(len(told[r.key].intermediate_values) == len(r.epochs) for r in done.records)
    assert not any(t.state.name in ("RUNNING", "WAITING") for t in done.told)
    if scheduler == "none":
        assert {r.status for r in done.records} <= {"finished", "failed"}


@pytest.mark.parametrize("stop", [1, 3, 7, 15, 25])
@pytest.mark.parametrize("seeds", [1, 3])
def test_a_killed_sweep_goes_on_to_its_number_of_configurations(run, stop, seeds):
    killed = run(scheduler="asha", seeds_per_config=seeds)
    killed.go(stop_after=stop)
    assert any(r.status in RUNNING for r in killed.records)
    killed.go()
    assert not any(r.status in RUNNING for r in killed.records)
    assert settled(killed.spec, killed.folder.state().trials) == 12
    assert not any(t.state.name in ("RUNNING", "WAITING") for t in killed.told)


def test_a_lost_searchers_memory_is_made_again_with_all_seeds(run):
    killed = run(seeds_per_config=3)
    killed.go(stop_after=30)
    (killed.folder.search / "optuna.journal").unlink()
    killed.go()
    means = [t.value for t in killed.told if t.state.name == "COMPLETE" and "fsg_key" in t.user_attrs]
    assert len(means) == 12
    known = {round(o.metrics["val_accuracy"], 6) for o in outcomes(killed.spec, killed.folder.state().trials).values()}
    assert {round(mean, 6) for mean in means} == known


def test_the_searcher_sees_the_mean_and_the_ledger_all_seeds(run):
    """Nothing is hopeless where seeds differ more than configurations."""
    import random

    rng = random.Random(0)
    done = run(seeds_per_config=3, search={"sampler": "random", "trials": 3})
    done.go(lambda config, epoch: rng.gauss(50, 5))
    assert [r.seed for r in sorted(done.records, key=lambda r: r.seed)] == [0] * 3 + [1] * 3 + [2] * 3
    told = [t for t in done.told if "fsg_key" in t.user_attrs]
    assert {t.user_attrs[SEEDS] for t in told} == {3}
    finals = [r.final["val_accuracy"] for r in done.records]
    assert sum(t.value for t in told) / 3 == pytest.approx(sum(finals) / 9)


def test_hopeless_configurations_do_not_run_all_seeds(run):
    done = run(seeds_per_config=5, search={"sampler": "random", "trials": 12})
    done.go(lambda config, epoch: 50 + 40 * config.gradient.beta + (hash((config.seed, config.gradient.beta)) % 7) / 10)
    seeds = [o.seeds for o in outcomes(done.spec, done.folder.state().trials).values()]
    assert len(seeds) == 12 and max(seeds) == 5
    assert sum(seeds) < 40, "60 would be all of them"


def test_the_rest_of_the_seeds_of_a_stopped_or_failed_configuration_is_not_run(run):
    done = run(seeds_per_config=3, scheduler="asha")
    done.go(lambda config, epoch: None if config.gradient.beta < 0.3 else 50 + config.gradient.beta)
    by_status = {status: [r for r in done.records if r.status == status] for status in ("pruned", "failed")}
    assert by_status["pruned"] and by_status["failed"]
    assert {r.seed for status in by_status.values() for r in status} == {0}
    failed = [t for t in done.told if t.state.name == "FAIL" and "fsg_key" in t.user_attrs]
    assert {t.user_attrs["reason"] for t in failed} == {"diverged: it"}


def test_the_best_configuration_is_never_stopped_in_a_further_seed(run):
    done = run(seeds_per_config=3, scheduler={"name": "asha", "grace_epochs": 1, "reduction_factor": 2})
    done.go(lambda config, epoch: 50 + config.gradient.beta - 20 * (config.seed > 0) + epoch)
    assert not any(r.status == "pruned" for r in done.records if r.seed > 0)


@pytest.mark.parametrize("budget", [{"trials": 5}, {"trials": 1}])
def test_a_budget_ends_a_sweep_with_everything_recorded(run, budget):
    done = run(budget=budget, seeds_per_config=2).go(workers=1)
    state = done.folder.state()
    assert len(state.trials) == budget["trials"]
    assert state.stopped == f"budget.trials: {budget['trials']} of {budget['trials']} used"
    assert done.searcher.exhausted
    assert [e["event"] for e in done.folder.ledger().read()].count("stopped") == 1
    assert not any(t.state.name == "RUNNING" for t in done.told)


def test_named_points_come_first_and_are_not_repeated_after_a_restart(run):
    points = [{"name": "a", "point": {"gradient.beta": 1.0}}, {"name": "b", "point": {"gradient.length": 8}}]
    done = run(start_from=points)
    done.go(stop_after=2)
    done.go()
    assert [r.config["gradient"]["beta"] for r in done.records[:2]] == [1.0, 0.5]
    assert [t.user_attrs[START] for t in done.told if START in t.user_attrs and "fsg_key" in t.user_attrs] == ["a", "b"]
    assert len(done.records) == 12


def test_the_best_of_an_earlier_study_come_first(tmp_path):
    earlier = Run(tmp_path, SWEEP | {"name": "earlier"}).go()
    best = sorted(earlier.records, key=lambda r: -r.final["val_accuracy"])[:2]
    later = Run(tmp_path, SWEEP | {"start_from": [{"study": "earlier", "best": 2}]}).go()
    assert [r.config["gradient"] for r in later.records[:2]] == [r.config["gradient"] for r in best]
    labels = [t.user_attrs[START] for t in later.told if START in t.user_attrs]
    assert labels == ["earlier, best 1", "earlier, best 2"]


def test_points_of_an_earlier_study_outside_this_space_are_passed_over(tmp_path):
    Run(tmp_path, SWEEP | {"name": "earlier"}).go()
    narrow = SWEEP["space"] | {"gradient.beta": {"uniform": [0.0, 0.4]}}
    later = Run(tmp_path, SWEEP | {"space": narrow, "start_from": [{"study": "earlier", "best": 1}]}).go()
    assert later.records[0].config["gradient"]["beta"] <= 0.4


def test_points_of_an_earlier_study_outside_a_conditional_domain_are_passed_over(tmp_path):
    branch = {"gradient.hgs": {"choice": [True]}, "gradient.beta": SWEEP["space"]["gradient.beta"]}
    Run(tmp_path, SWEEP | {"name": "earlier", "space": branch}).go()
    narrow = branch | {"gradient.beta": {"uniform": [0.0, 0.4], "when": {"gradient.hgs": True}}}
    base = {"epochs": 4, "gradient": {"beta": 0.01}}
    later = Run(tmp_path, SWEEP | {"base": base, "space": narrow, "start_from": [{"study": "earlier", "best": 1}]}).go()
    assert 0.3 < later.records[0].config["gradient"]["beta"] <= 0.4, "the best of those inside, and not the base's"


@pytest.mark.parametrize(
    ("start", "space", "message"),
    [
        ({"study": "earlyer"}, {}, 'no study "earlyer". Did you mean "earlier"?'),
        ({"study": "earlier"}, {"gradient.beta": {"uniform": [0.001, 0.002]}}, "configurations lies in this space"),
    ],
)
def test_an_earlier_study_that_gives_nothing_is_refused_at_its_line(tmp_path, start, space, message):
    Run(tmp_path, SWEEP | {"name": "earlier"}).go()
    with pytest.raises(StudyError, match=r"sweep\.yaml:\d+: ") as caught:
        Run(tmp_path, SWEEP | {"space": SWEEP["space"] | space, "start_from": [start]}).go()
    assert message in str(caught.value)


def test_constraints_hold_in_every_trial_that_runs(run):
    done = run(constraints=["gradient.beta <= 0.1 * gradient.length"]).go()
    assert all(r.config["gradient"]["beta"] <= 0.1 * r.config["gradient"]["length"] for r in done.records)
    assert len(done.records) == 12
    assert any("infeasible" in t.user_attrs.get("reason", "") for t in done.told)


def test_a_constraint_on_a_metric_is_told_at_the_mean_of_the_seeds(run):
    done = run(constraints=["step_ms <= 2 * gradient.length"], seeds_per_config=2).go()
    for trial in (t for t in done.told if t.state.name == "COMPLETE" and "fsg_key" in t.user_attrs):
        length = trial.params["gradient.length"]
        assert trial.constraints == {"step_ms <= 2 * gradient.length": 1 + length - 2 * length}


def test_several_objectives_are_told_with_the_bits_of_the_quantizer(run):
    space = {"quantizer": {"choice": ["dorefa", "bwn"]}, "gradient.length": {"randint": [1, 8]}}
    space["quantizer.bits"] = {"randint": [2, 4], "when": {"quantizer": "dorefa"}}
    objectives = [{"name": "step_ms", "mode": "min"}, {"name": "bits", "mode": "min"}]
    done = run(space=space, objectives=objectives, search={"sampler": "tpe", "trials": 12}).go()
    for trial in (t for t in done.told if "fsg_key" in t.user_attrs):
        assert trial.values[1:] == [1.0 + trial.params["gradient.length"], trial.params.get("quantizer.bits", 1)]


def test_a_whole_grid_ends_by_itself(run):
    space = {"gradient.length": {"randint": [1, 3]}, "gradient.hgs": {"choice": [True, False]}}
    done = run(space=space, search={"sampler": "grid", "trials": 50})
    done.go(stop_after=5)
    done.go()
    assert len(done.records) == 6 and done.searcher.exhausted
    assert done.folder.state().stopped == "the space is exhausted: every point of its grid has been run or must not be"


def test_a_space_with_fewer_points_than_trials_says_why_it_ended(run):
    done = run(space={"gradient.length": {"randint": [1, 4]}}, search={"sampler": "random", "trials": 6}).go()
    state = done.folder.state()
    assert len(state.trials) == 4 and done.searcher.exhausted
    assert state.stopped == "the space is exhausted: 100 proposals in a row had been run before or must not be"
    assert [e["event"] for e in done.folder.ledger().read()].count("stopped") == 1


def test_a_search_that_had_all_its_trials_was_not_stopped(run):
    assert run().go().folder.state().stopped is None


def test_a_resumed_sobol_search_tries_the_points_of_an_uninterrupted_one(tmp_path):
    def points(name, stops):
        (tmp_path / name).mkdir()
        space = {"gradient.beta": {"uniform": [0.0, 1.0]}, "optimizer.lr": {"loguniform": [1e-4, 1e-1]}}
        run = Run(tmp_path / name, SWEEP | {"space": space, "search": {"sampler": "qmc", "trials": 12}})
        for stop in stops:
            run.go(stop_after=stop, workers=1)
        configs = [trial.config for trial in run.folder.state().trials.values()]
        return [(config["gradient"]["beta"], config["optimizer"]["lr"]) for config in configs]

    assert points("resumed", [13, 10**9]) == points("whole", [10**9])
