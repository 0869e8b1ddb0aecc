"""What a sweep has taught, from a ledger written by hand: no training, no Ray."""

import random

import pytest
import yaml

from fsg.study.folder import StudyFolder
from fsg.study.spec import load_study
from fsg.tune.configurations import configuration
from fsg.tune.insights import as_optuna, importance, write_insights

SWEEP = {
    "name": "taught",
    "base": {"epochs": 3},
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {
        "optimizer.lr": {"loguniform": [1e-4, 1e-1]},
        "gradient.beta": {"uniform": [0, 1]},
        "gradient.slow_net": {"choice": ["mamba", "fir"]},
        "gradient.slow.d_state": {"randint": [1, 8], "when": {"gradient.slow_net": "mamba"}},
    },
    "search": {"sampler": "random", "trials": 40},
}


@pytest.fixture
def sweep(tmp_path):
    def make(count, **changes):
        """So many configurations; every third pruned, and beta all that matters."""
        (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(SWEEP | changes))
        spec = load_study(tmp_path / "sweep.yaml")
        folder = StudyFolder.create_or_open(spec, tmp_path / "studies")
        ledger, rng = folder.ledger(), random.Random(0)
        for n in range(count):
            found = configuration(spec, spec.space.draw(rng))
            for seed in spec.seeds:
                trial = found.trial(spec, seed)
                config = trial.config.model_dump(mode="json")
                ledger.append("planned", key=trial.key, arm=trial.arm, seed=seed, config=config)
                value = 50 + 40 * found.point["gradient.beta"] + rng.random()
                for epoch in range(1, 2 if n % 3 == 2 else 4):
                    last = {"epoch": epoch, "val_accuracy": value - 9 / epoch, "step_ms": 5.0 + n % 7}
                    ledger.append("epoch", key=trial.key, metrics=last)
                if n % 3 == 2:
                    ledger.append("pruned", key=trial.key, epoch=1, reason="asha")
                    break
                ledger.append("finished", key=trial.key, metrics=last)
        return folder, spec

    return make


def names(paths):
    return sorted(path.name for path in paths)


def test_a_finished_sweep_gets_its_table_and_plots(sweep):
    folder, spec = sweep(30)
    written = [path for _, path in write_insights(spec, folder.state(), folder.reports)]
    plots = ["contour", "history", "importances", "parallel", "slice"]
    assert names(written) == [f"search_{name}.png" for name in plots]
    assert all(path.parent == folder.reports and path.stat().st_size > 100 for path in written)


def test_what_decides_the_value_is_most_important_by_either_method(sweep):
    folder, spec = sweep(45)
    for shares in importance(as_optuna(spec, folder.state(), spec.metric), spec).values():
        assert max(shares, key=shares.get) == "gradient.beta"
        assert sum(shares.values()) == pytest.approx(1)


def test_a_configuration_is_one_point_at_the_mean_of_its_seeds(sweep):
    folder, spec = sweep(4, seeds_per_config=3)
    trials = as_optuna(spec, folder.state(), spec.metric).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    finals = [r.final["val_accuracy"] for r in list(folder.state().trials.values())[:3]]
    assert trials[0].value == pytest.approx(sum(finals) / 3)
    assert len(trials[0].intermediate_values) == 3


def test_each_of_several_objectives_has_its_importance_and_plots(sweep):
    folder, spec = sweep(30, objectives=[{"name": "step_ms", "mode": "min"}])
    written = names(path for _, path in write_insights(spec, folder.state(), folder.reports))
    for plot in ("contour", "importances", "slice"):
        assert {f"search_{plot}_val_accuracy.png", f"search_{plot}_step_ms.png"} <= set(written)
    by_time = as_optuna(spec, folder.state(), spec.objectives[0])
    assert by_time.best_value == 5.0


def test_few_trials_have_no_importance(sweep):
    folder, spec = sweep(4)
    written = write_insights(spec, folder.state(), folder.reports)
    assert written and "search_importances.png" not in names(path for _, path in written)


def test_nothing_ended_nothing_written(sweep):
    folder, spec = sweep(0)
    assert write_insights(spec, folder.state(), folder.reports) == []
