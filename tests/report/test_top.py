"""The best configurations of a sweep: ranked by the mean of their seeds, every seed shown, the front marked."""

import csv
import io
import re
from pathlib import Path

import pytest
from handmade import HEADER, Metric, state, trial
from rich.console import Console

from fsg.errors import StudyError
from fsg.record.ledger import Exploit
from fsg.report.cells import short
from fsg.report.csv import top_csv
from fsg.report.markdown import grid_markdown
from fsg.report.search_figures import all_curves, pareto_pairs, schedules
from fsg.report.study_report import make_report
from fsg.report.terminal import TerminalTable
from fsg.report.top import top_configurations
from fsg.report.top_tables import importance_grid, schedule_grid, seeds_grid, top_grid
from fsg.study.domains import parse_domain
from fsg.study.spec import parse_study
from fsg.yaml_source import YamlSource


def sweep(**over):
    """The specification of a search for the best ``optimizer.lr``."""
    data = {
        "name": "search",
        "base": {"epochs": 3},
        "metric": {"name": "val_accuracy", "mode": "max", "unit": "%"},
        "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
        "search": {"sampler": "random", "trials": 4},
    }
    return parse_study(YamlSource(Path("sweep.yaml"), data | over))


def printed(grid):
    console = Console(width=120, file=io.StringIO())
    console.print(TerminalTable(grid))
    return console.file.getvalue()


def configured(lr, seed, value, **fields):
    config = {"seed": seed, "optimizer": {"lr": lr, "name": "adam"}}
    return trial("sweep", seed, value, key=f"{lr}-{seed}", config=config, **fields)


@pytest.fixture
def raced():
    """0.1 has one lucky seed, 0.2 the best mean, 0.3 was not run on all seeds, 0.4 was stopped."""
    values = {0.1: (99.0, 90.0, 90.0), 0.2: (94.0, 95.0, 96.0), 0.3: (97.0,)}
    trials = [configured(lr, seed, v) for lr, of in values.items() for seed, v in enumerate(of)]
    return state(*trials, configured(0.4, 0, 99.9, status="pruned"), header=HEADER)


def test_configurations_are_ranked_by_their_mean_and_those_with_fewer_seeds_come_last(raced):
    top = top_configurations(raced, Metric(), 5)
    assert [row.parameters["optimizer.lr"] for row in top.rows] == [0.2, 0.1, 0.3]
    best = top.rows[0]
    assert (best.key, best.metric.estimate, dict(best.values)) == ("0.2-0", 95.0, {0: 94.0, 1: 95.0, 2: 96.0})
    assert best.metric.half_width == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert top.varying == ("optimizer.lr",), "seeds are no parameter"
    assert "8 trials: 7 finished, 1 pruned" in top.notes[0]
    assert any("1 configurations ran fewer seeds" in note for note in top.notes)
    assert [row.key for row in top_configurations(raced, Metric(mode="min"), 1).rows] == ["0.1-0"]


def test_the_table_shows_the_interval_and_every_seed(raced):
    top = top_configurations(raced, Metric(), 5)
    assert top_grid(top).rows[0][2].text == "95.0 ± 2.5"
    seeds = seeds_grid(top)
    assert seeds.headers == ("trial", "seed 0", "seed 1", "seed 2")
    assert [cell.text for cell in seeds.rows[2]] == ["0.3-0", "97.00", "–", "–"]
    rows = list(csv.DictReader(io.StringIO(top_csv(top))))
    assert rows[0]["seed_2"] == "96.0" and float(rows[0]["optimizer.lr"]) == 0.2 and rows[2]["seed_1"] == ""


def test_the_table_says_how_often_trials_were_interrupted(raced):
    assert not any("interrupted" in note for note in top_configurations(raced, Metric(), 5).notes)
    next(iter(raced.trials.values())).retries.append(
        {"cause": "lost", "epoch": 3, "reason": "lost: its node went away."}
    )
    assert top_configurations(raced, Metric(), 5).notes[-1].endswith("by cause: 1 lost.")


def test_rank_1_is_bold_only_where_tests_tell_it_from_every_other_of_as_many_seeds(raced):
    top = top_configurations(raced, Metric(), 5)
    assert [row.best for row in top.rows] == [False] * 3, "one lucky seed of the second is in the way"
    assert any(note.endswith("(paired t); here none is.") for note in top.notes)
    clear = [configured(lr, s, v + s * (1 + lr)) for lr, v in ((0.1, 60.0), (0.2, 95.0), (0.3, 50.0)) for s in range(3)]
    few = configured(0.5, 0, 99.0)
    top = top_configurations(state(*clear, few), Metric())
    assert [(row.parameters["optimizer.lr"], row.best) for row in top.rows] == [
        (0.2, True), (0.1, False), (0.3, False), (0.5, False),
    ]  # fmt: skip
    for grid in (top_grid(top), seeds_grid(top)):
        assert [row[0].best for row in grid.rows] == [True, False, False, False]
    assert "**0.2-0**" in grid_markdown(top_grid(top)) and "★" in printed(top_grid(top))
    lowest = top_configurations(state(*clear, few), Metric(mode="min"))
    assert [row.parameters["optimizer.lr"] for row in lowest.rows if row.best] == [0.3]


def test_one_seed_a_configuration_makes_nothing_bold():
    top = top_configurations(state(*(configured(lr, 0, 90 * lr) for lr in (0.1, 0.9))), Metric())
    assert not any(cell.best for row in top_grid(top).rows for cell in row)
    assert not any("Bold" in note for note in top.notes)


def test_one_seed_has_no_interval_and_names_are_short():
    parts = [{"optimizer": {"lr": 0.1 * i}, "fast": {"lr": 10.0**-i}, "gradient": {"length": i}} for i in (1, 2)]
    top = top_configurations(
        state(*(trial("-", 0, 90.0 + i, key=f"k{i}", config=c) for i, c in enumerate(parts))), Metric(), 1
    )
    text = grid_markdown(top_grid(top)).replace("\\", "")
    assert "| fast.lr | length | optimizer.lr |" in text and "k1" in text and "k0" not in text and "±" not in text


def test_a_layer_is_named_by_more_than_its_number():
    layers = {"quantizer.layers.features.0": 1, "quantizer.layers.classifier": 2, "optimizer.lr": 3}
    assert short(layers) == ("features.0", "classifier", "lr")


def test_nothing_finished_is_an_empty_table_and_nothing_planned_an_error():
    top = top_configurations(state(trial("-", 0, 1.0, status="failed")), Metric())
    assert top.rows == () and top_csv(top) == "" and top_grid(top).rows == ()
    with pytest.raises(StudyError, match="no trial yet"):
        top_configurations(state(), Metric())


def test_what_breaks_a_constraint_is_left_out_and_counted(raced):
    top = top_configurations(raced, Metric(), 5, allowed=lambda trials: trials[0].config["optimizer"]["lr"] != 0.2)
    assert [row.key for row in top.rows] == ["0.1-0", "0.3-0"]
    assert top.notes[-1] == "1 finished configurations break a constraint and are left out."


SEARCHED = ("lr", "beta", "length", "d_state", "slow_net", "weight_decay", "momentum", "hidden", "rank", "taps")


def searched_widely(rows=3):
    """A ranking over ten searched parameters; ``made`` follows from them, epochs and test accuracy are constants."""
    points = [{name: round(0.1234 * (i + 1), 4) for name in SEARCHED} | {"made": f"m{i}"} for i in range(rows)]
    trials = (trial("-", 0, 90.0 + i, key=f"k{i}", config=point) for i, point in enumerate(points))
    return top_configurations(state(*trials), Metric(), searched=SEARCHED)


def test_searched_parameters_come_first_and_constants_last():
    headers = top_grid(searched_widely()).headers
    assert headers[:3] == ("trial", "#", "val_accuracy [%]") and set(headers[3:13]) == set(SEARCHED)
    assert headers[13:] == ("made", "test [%]", "epochs")
    one_row = top_grid(searched_widely(rows=1)).headers
    assert one_row == ("trial", "#", "val_accuracy [%]", "test [%]", "epochs"), "one row has nothing that varies"


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40, 30])
def test_no_terminal_is_too_narrow_for_the_searched_parameters(width):
    console = Console(width=width, file=io.StringIO())
    grid = top_grid(searched_widely())
    console.print(TerminalTable(grid))
    said = console.file.getvalue()
    left_out = said.partition("Left out, for want of width: ")[2].partition(".")[0]
    words = set(said.replace(left_out, "").split()) if left_out else set(said.split())
    assert set(SEARCHED) <= words
    assert len(re.findall("(?m)^k0 ", said)) == len(re.findall("(?m)^trial +[^· ]", said)), "each part names its rows"
    values = {cell.text for row in grid.rows for cell in row[3:13]}
    assert values <= words
    assert max(map(len, said.splitlines())) <= width
    assert ("epochs" in left_out) == (width < 200)


def test_a_choice_among_sections_is_a_searched_parameter_too():
    space = {"gradient": {"choice": ["ste", "fsg"]}, "optimizer.lr": {"loguniform": [1e-4, 1e-1]}}
    points = [
        {"gradient": {"name": "ste"}, "optimizer": {"lr": 0.01}},
        {"gradient": {"name": "fsg", "beta": 0.5}, "optimizer": {"lr": 0.02}},
    ]
    trials = (trial("-", 0, 90.0 + i, key=f"k{i}", config=point) for i, point in enumerate(points))
    grid = make_report(sweep(space=space), state(*trials)).grids[0]
    assert grid.headers[3:6] == ("name", "lr", "beta") and grid.kept == 5, "beta follows from the choice"


def test_epochs_that_were_searched_are_one_column():
    trials = (trial("-", 0, 90.0 + i, key=f"k{i}", config={"epochs": 3 + i}) for i in range(2))
    top = top_configurations(state(*trials), Metric(), searched=("epochs",))
    assert top_grid(top).headers == ("trial", "#", "val_accuracy [%]", "epochs", "test [%]")


def test_the_schedule_of_a_population_loses_no_parameter_either(members):
    grid = schedule_grid(top_configurations(state(*members), Metric()), members)
    assert grid.kept == len(grid.headers)


@pytest.mark.parametrize("why", ["budget.trials: 4 of 4 used", "the space is exhausted: [/1]"])
def test_a_sweep_that_ended_early_says_why_in_its_table(why):
    trials = (trial("-", 0, 90.0 + i, key=f"k{i}", config={"optimizer": {"lr": 0.01 * (i + 1)}}) for i in range(4))
    whole = state(*trials)
    spec = sweep(search={"sampler": "random", "trials": 6})
    assert not any("Ended early" in note for note in make_report(spec, whole).grids[0].notes)
    whole.stopped = why
    assert make_report(spec, whole).grids[0].notes[1] == f"Ended early, with 4 of 6 configurations: {why}."


OBJECTIVES = [Metric("step_ms", "min", "ms"), Metric("bits", "min", "")]


@pytest.fixture
def several():
    points = {"a": (95.0, 9.0, 8), "b": (94.0, 4.0, 8), "c": (93.0, 4.0, 8), "d": (90.0, 9.0, 1), "e": (89.0, 9.5, 2)}
    trials = [
        trial(
            "-",
            0,
            value,
            key=key,
            step_ms=(9.0, ms, ms),
            config={"quantizer": {"bits": bits}, "optimizer": {"lr": value}},
        )
        for key, (value, ms, bits) in points.items()
    ]
    count = lambda config, name: float(config["quantizer"]["bits"]) if name == "bits" else None  # noqa: E731
    return top_configurations(state(*trials), Metric(), 10, objectives=OBJECTIVES, count=count)


def test_several_objectives_have_a_front_of_what_nothing_beats(several):
    assert [row.key for row in several.front] == ["a", "b", "d"]
    assert dict(several.rows[0].objectives) == {"step_ms": 9.0, "bits": 8.0}
    text = grid_markdown(top_grid(several))
    assert "a ▲" in text and "c ▲" not in text and "3 of 5 configurations" in text


def test_the_front_is_drawn_pair_by_pair(several):
    figure = pareto_pairs(several)
    assert [a.get_xlabel().split("  ")[0] for a in figure.axes] == ["step_ms [ms]", "bits", "bits"]
    assert all(len(axes.lines) == 5 + 1 for axes in figure.axes)


@pytest.fixture
def members():
    kept = configured(0.1, 0, 95.0)
    changed = configured(0.2, 0, 96.0)
    changed.exploits = [Exploit(2, kept.key, {"optimizer.lr": 0.08})]
    return [kept, changed]


def test_a_members_values_are_its_last_and_its_schedule_is_shown(members):
    top = top_configurations(state(*members), Metric())
    assert [row.parameters["optimizer.lr"] for row in top.rows] == [0.08, 0.1]
    rows = [[cell.text for cell in row] for row in schedule_grid(top, members).rows]
    assert rows == [["0.2-0", "0", "–", "0.2"], ["0.2-0", "2", "0.1-0", "0.08"], ["0.1-0", "0", "–", "0.1"]]


def test_schedules_are_drawn_as_steps(members):
    top = top_configurations(state(*members), Metric())
    (axes,) = schedules(top, members, {"optimizer.lr": parse_domain({"loguniform": [1e-3, 1.0]})}).axes
    assert [list(line.get_ydata()) for line in axes.lines] == [[0.1, 0.1], [0.2, 0.08, 0.08]]


def test_every_trial_has_its_learning_curve(raced):
    top = top_configurations(raced, Metric())
    (axes,) = all_curves(top, list(raced.trials.values())).axes
    assert sum(len(drawn.get_segments()) for drawn in axes.collections) == 8
    assert {t.get_text() for t in axes.get_legend().get_texts()} == {
        "rank 1 (3)", "finished (4)", "pruned (1)",
    }  # fmt: skip


def test_importances_are_ordered_and_say_what_they_leave_out(raced):
    top = top_configurations(raced, Metric())
    shares = {"PED-ANOVA": {"a": 0.2, "b": 0.8}, "fANOVA": {"a": 0.4, "b": 0.6}}
    grid = importance_grid(top, "val_accuracy", shares, ["c"])
    assert [[cell.text for cell in row] for row in grid.rows] == [["b", "80%", "60%"], ["a", "20%", "40%"]]
    assert "some trials only: c" in grid.notes[1]
