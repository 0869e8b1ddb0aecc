"""What a sweep has taught, from a ledger written by hand: no training, no Ray."""

import math
import random

import pytest
import yaml

from fsg.record.folder import StudyFolder
from fsg.report.search_plots import draw_search, plots
from fsg.report.study_report import make_report
from fsg.search.configurations import configuration, outcomes
from fsg.search.insights import Ended, counted, ended, importance, measures
from fsg.study.spec import load_study

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
    def make(count, measured=None, **changes):
        """So many configurations; every third pruned, and beta all that matters, or as ``measured``, None being pruned."""
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
                pruned = n % 3 == 2
                if measured:
                    value = measured(found.point)
                    value, pruned = (10.0, True) if value is None else (value, False)
                for epoch in range(1, 2 if pruned else 4):
                    last = {"epoch": epoch, "val_accuracy": value - 9 / epoch, "step_ms": 5.0 + n % 7}
                    ledger.append("epoch", key=trial.key, metrics=last)
                if pruned:
                    ledger.append("pruned", key=trial.key, epoch=1, reason="asha")
                    break
                ledger.append("finished", key=trial.key, metrics=last)
        return folder, spec

    return make


@pytest.fixture
def undrawn(monkeypatch):
    """Plots are made and not painted, which takes a second each."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, path, **how: path.touch())


def names(paths):
    return sorted(path.name for path in paths)


def studies(spec, state):
    """The configurations, by each measure."""
    return [ended(outcomes(spec, state.trials), measure) for measure in measures(spec)]


def write_insights(spec, state, folder):
    folder.mkdir(exist_ok=True)
    return draw_search(spec, studies(spec, state), folder)


def test_a_finished_sweep_gets_its_table_and_plots(sweep):
    folder, spec = sweep(30)
    written = [path for _, path in write_insights(spec, folder.state(), folder.reports)]
    plots = ["contour", "history", "importances", "parallel", "slice"]
    assert names(written) == [f"search_{name}.png" for name in plots]
    assert all(path.parent == folder.reports and path.stat().st_size > 100 for path in written)


def test_what_decides_the_value_is_most_important(sweep):
    folder, spec = sweep(45)
    (shares,) = importance(studies(spec, folder.state())[0], spec).values()
    assert max(shares, key=shares.get) == "gradient.beta"
    assert sum(shares.values()) == pytest.approx(1)


@pytest.mark.parametrize("mode", ["max", "min"])
def test_the_best_are_the_highest_or_the_lowest_as_the_metric_has_it(sweep, mode):
    """Of lr only a narrow range is good, and of beta only one is bad: which of them tells the best depends on the direction."""

    def ridge(point):
        rate, beta = math.log10(point["optimizer.lr"]), point["gradient.beta"]
        return (80 if -2.6 < rate < -2.1 else 50 - abs(rate)) - (40 if 0.4 < beta < 0.6 else 0)

    folder, spec = sweep(90, ridge, metric={"name": "val_accuracy", "mode": mode})
    (shares,) = importance(studies(spec, folder.state())[0], spec).values()
    assert next(iter(shares)) == ("optimizer.lr" if mode == "max" else "gradient.beta")


def test_what_was_stopped_counts_as_none_of_the_best(sweep):
    """The finished ones alone cannot tell: what rules had the others stopped."""

    def cut(point):
        return None if point["gradient.beta"] < 0.6 else 60 + point["optimizer.lr"]

    folder, spec = sweep(60, cut)
    (study,) = studies(spec, folder.state())
    (shares,) = importance(study, spec).values()
    assert next(iter(shares)) == "gradient.beta"
    whole = [place for place, value in enumerate(study.values) if value is not None]
    finished = Ended(
        study.measure, *(tuple(field[n] for n in whole) for field in (study.points, study.values, study.numbers))
    )
    (alone,) = importance(finished, spec).values()
    assert next(iter(alone)) == "optimizer.lr"
    assert counted(study) == f"{len(whole)} configurations that ran to their end and " + (
        f"{60 - len(whole)} that were stopped, as none of the best"
    )


def test_picture_and_table_show_the_same_numbers_of_one_method_that_both_name(sweep):
    folder, spec = sweep(30)
    state = folder.state()
    (study,) = studies(spec, state)
    (axes,) = dict(plots(study, spec))["importances"]().axes
    drawn = {name.get_text(): bar.get_width() for name, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)}
    (table,) = [grid for grid in make_report(spec, state).grids if "what mattered" in grid.title]
    assert table.headers == ("parameter", "PED-ANOVA") and "PED-ANOVA" in axes.get_xlabel()
    assert {row[0].text: row[1].text for row in table.rows} == {name: f"{share:.0%}" for name, share in drawn.items()}
    assert [row[0].text for row in table.rows] == list(drawn)[::-1], "the largest on top"
    assert [text.get_text() for text in axes.texts] == [row[1].text for row in table.rows][::-1]


def test_a_configuration_is_one_point_at_the_mean_of_its_seeds(sweep):
    folder, spec = sweep(4, seeds_per_config=3)
    (study,) = studies(spec, folder.state())
    assert [value is None for value in study.values] == [False, False, True, False]
    finals = [r.final["val_accuracy"] for r in list(folder.state().trials.values())[:3]]
    assert study.values[0] == pytest.approx(sum(finals) / 3)
    assert study.numbers == (0, 1, 2, 3)


def test_each_of_several_objectives_has_its_importance_and_plots(sweep, undrawn):
    folder, spec = sweep(30, objectives=[{"name": "step_ms", "mode": "min"}])
    written = names(path for _, path in write_insights(spec, folder.state(), folder.reports))
    for plot in ("contour", "importances", "slice"):
        assert {f"search_{plot}_val_accuracy.png", f"search_{plot}_step_ms.png"} <= set(written)
    _, by_time = studies(spec, folder.state())
    assert min(value for _, value in by_time.finished) == 5.0


def test_too_few_finished_configurations_get_a_sentence_and_neither_importances_nor_contours(sweep, undrawn):
    folder, spec = sweep(23)  # 16 finished
    written = names(path for _, path in write_insights(spec, folder.state(), folder.reports))
    assert {"search_importances.png", "search_contour.png"} <= set(written)
    report = make_report(spec, folder.state())
    assert any("what mattered" in grid.title for grid in report.grids)
    assert not any("What mattered" in note for grid in report.grids for note in grid.notes)


@pytest.mark.parametrize(("count", "finished"), [(22, "15 configurations finished"), (1, "1 configuration finished")])
def test_with_one_fewer_there_is_a_sentence_instead(sweep, undrawn, count, finished):
    folder, spec = sweep(count)
    written = names(path for _, path in write_insights(spec, folder.state(), folder.reports))
    assert written and not {"search_importances.png", "search_contour.png"} & set(written)
    report = make_report(spec, folder.state())
    assert not any("what mattered" in grid.title for grid in report.grids)
    said = f"What mattered, and contours, are told from 16 finished configurations on, for fewer mislead; {finished}."
    assert report.grids[0].notes[-1] == said
    assert said in report.markdown


def test_equal_values_tell_nothing_of_what_mattered(sweep, undrawn):
    folder, spec = sweep(30, lambda point: 50.0)
    report = make_report(spec, folder.state())
    assert report.grids[0].notes[-1] == "What mattered cannot be told: all configurations came to the same value."
    assert "search_contour.png" not in names(path for _, path in write_insights(spec, folder.state(), folder.reports))


def test_a_sweep_of_a_billion_values_gets_its_plots(sweep):
    space = {
        "data.split_seed": {"randint": [0, 2**53]},
        "gradient.beta": {"quniform": [0.0, 1.0, 1e-9]},
        "data.batch_size": {"lograndint": [2, 65536]},
    }
    folder, spec = sweep(30, space=space)
    written = names(path for _, path in write_insights(spec, folder.state(), folder.reports))
    assert written == [f"search_{name}.png" for name in ("contour", "history", "importances", "parallel", "slice")]


def test_nothing_ended_nothing_written(sweep):
    folder, spec = sweep(0)
    assert write_insights(spec, folder.state(), folder.reports) == []
