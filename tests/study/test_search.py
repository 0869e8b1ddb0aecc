"""Proof of fsg/study/search.py: what a sweep may ask for, and what is refused at its line."""

import pytest

from fsg.catalogue.schedulers import Hyperband, Median
from fsg.errors import BackendUnavailable, ConfigError
from fsg.search.configurations import told
from fsg.study.plan import sweep_config
from fsg.study.search import (
    SearchSpec,
    constraints_of,
    database_of,
    longest,
    require,
    sampler_of,
    seconds,
    start_point,
)
from fsg.study.spec import load_study, to_yaml

WHOLE = """\
name: whole
base: {epochs: 9}
seeds_per_config: 3
metric: {name: val_accuracy, mode: max}
space:
  optimizer.lr: {loguniform: [1e-4, 1e-1]}
  gradient.fast.lr: {loguniform: [1e-4, 1e-1]}
  gradient.slow_net: {choice: [mamba, fir]}
  gradient.slow.d_state: {randint: [1, 8], when: {gradient.slow_net: mamba}}
constraints:
  - gradient.fast.lr <= 10 * optimizer.lr
  - step_ms < 50
start_from:
  - {name: paper, point: {optimizer.lr: 1e-2, gradient.slow_net: fir}}
  - {study: earlier, best: 2}
search: {sampler: tpe, trials: 30}
scheduler: {name: hyperband, grace_epochs: 1}
budget:
  wall_time: 8h
  gpu_hours: 10
  cost: 20
  prices: {H200: 3.5}
"""


@pytest.fixture
def whole(files):
    return files.load(WHOLE)


def test_two_folders_of_images_of_one_name_are_refused(files, sweep_text):
    space = (
        "  schedule.name: cosine",
        "  data.name: image_folder\n  data.root: {choice: [/a/cats, /b/cats/, /b/dogs]}",
    )
    said = files.refused(sweep_text, space)
    assert '"data.root" has two folders named "cats"; rename one' in said and said.startswith("study.yaml:11:")
    files.load(sweep_text, (space[0], space[1].replace("/b/cats/, ", "")))


def test_everything_a_sweep_may_say_is_read_and_written(whole, tmp_path):
    assert whole.seeds == (0, 1, 2)
    assert whole.scheduler == Hyperband(grace_epochs=1, reduction_factor=3)
    assert whole.budget.wall_time == 8 * 3600
    alone, measured = constraints_of(whole)
    assert ([c.text for c in alone], [c.text for c in measured]) == ([whole.constraints[0]], [whole.constraints[1]])
    (tmp_path / "again.yaml").write_bytes(to_yaml(whole))
    assert load_study(tmp_path / "again.yaml") == whole


def test_a_constraint_may_ask_that_a_switch_acts_and_only_one_that_the_estimator_has(files):
    asked = files.load(WHOLE, ("step_ms < 50", "moved_by_hgs >= 0.05"))
    config = sweep_config(asked, {"optimizer.lr": 0.01, "gradient.fast.lr": 0.01, "gradient.slow_net": "fir"})
    acted, idle = (told(asked, config, {0: {"val_accuracy": 90.0, "moved_by_hgs": by}})[1] for by in (0.06, 0.01))
    assert acted["moved_by_hgs >= 0.05"] <= 0 < idle["moved_by_hgs >= 0.05"]
    said = files.refused(WHOLE, ("step_ms < 50", "moved_by_hg >= 0.05"))
    assert said.startswith("study.yaml:12:") and 'Did you mean "moved_by_hgs"?' in said
    assert files.refused(WHOLE, ("step_ms < 50", "moved_by_init >= 0.05")), "init is no switch"


def test_a_start_point_takes_from_the_base_what_it_does_not_name(whole):
    assert start_point(whole, whole.start_from[0]) == {
        "optimizer.lr": 0.01,
        "gradient.fast.lr": 0.004,
        "gradient.slow_net": "fir",
    }


def test_a_start_point_in_another_branch_than_the_base_takes_what_the_base_has_there(files):
    spec = files.load(WHOLE, ("base: {epochs: 9}", "base: {epochs: 9, gradient: {slow_net: fir, slow: {d_state: 2}}}"),
                      ("gradient.slow_net: fir}", "gradient.slow_net: mamba}"))  # fmt: skip
    assert start_point(spec, spec.start_from[0])["gradient.slow.d_state"] == 2


def test_several_objectives_have_a_sampler_that_knows_them(files, sweep_text):
    changes = [
        ("scheduler: {name: asha, grace_epochs: 2}", ""),
        ("search: {", "objectives: OBJ\nsearch: {sampler: nsga2, "),
    ]
    objectives = "[{name: step_ms, mode: min}, {name: bits, mode: min}]"
    spec = files.load(sweep_text, *changes, ("OBJ", objectives))
    assert [o.name for o in spec.objectives] == ["step_ms", "bits"]
    assert "knows one objective; use tpe" in files.refused(
        sweep_text, *changes, ("OBJ", objectives), ("nsga2", "cmaes")
    )


@pytest.mark.parametrize(("text", "expected"), [("90s", 90), ("1.5h", 5400), ("2 d", 172800), (7, 7), ("10m", 600)])
def test_durations_have_units(text, expected):
    assert seconds(text) == expected


def test_median_is_a_scheduler_by_its_name_alone(files, sweep_text):
    assert files.load(sweep_text, ("{name: asha, grace_epochs: 2}", "median")).scheduler == Median()


def test_the_longest_trial_may_be_one_whose_epochs_are_searched(files, sweep_text):
    assert longest(files.load(sweep_text, ("schedule.name: cosine", "epochs: {randint: [5, 12]}"))) == 12


REFUSED = [
    (
        "an unknown name",
        ("gradient.fast.lr <=", "gradient.fast.lrr <="),
        11,
        'names "gradient.fast.lrr", which is no path',
    ),
    ("a near name", ("step_ms <", "step_mss <"), 12, 'Did you mean "step_ms"?'),
    ("a test metric", ("step_ms <", "test_accuracy <"), 12, "Choices are made on validation."),
    ("no comparison", ("step_ms < 50", "step_ms"), 12, "compares nothing"),
    ("nowhere feasible", ("<= 10 *", "<= 1e-9 *"), 11, "holds nowhere: not at one of 2,000 points drawn at random"),
    ("start: unknown path", ("{optimizer.lr: 1e-2", "{optimizer.lrr: 1e-2"), 14, 'Did you mean "optimizer.lr"?'),
    ("start: outside", ("{optimizer.lr: 1e-2", "{optimizer.lr: 1"), 14, "outside {'loguniform': [0.0001, 0.1]}"),
    (
        "start: condition",
        ("slow_net: fir}", "slow_net: fir, gradient.slow.d_state: 2}"),
        14,
        "its condition does not hold",
    ),
    (
        "start: infeasible",
        ("{optimizer.lr: 1e-2", "{optimizer.lr: 1e-4, gradient.fast.lr: 0.1"),
        14,
        "breaks the constraint",
    ),
    ("start: neither", ("{study: earlier, best: 2}", "{best: 2}"), 15, "expected {name: ..., point:"),
    ("start: itself", ("study: earlier", "study: whole"), 15, "cannot begin this same study"),
    ("gp", ("sampler: tpe", "sampler: gp"), 16, "which cannot search conditional paths (gradient.slow.d_state)"),
    ("grid", ("sampler: tpe", "sampler: grid"), 6, "a grid has no end in a loguniform; use quniform"),
    ("wall time", ("8h", "8x"), 19, "expected a duration such as 45s"),
    ("no prices", ("  prices: {H200: 3.5}\n", ""), 18, "cost needs prices"),
    (
        "a condition",
        ("when: {gradient.slow_net: mamba}", "when: {gradient.slow_net: mambo}"),
        9,
        'Did you mean "mamba"?',
    ),
    ("grace", ("grace_epochs: 1", "grace_epochs: 9"), 17, "none could be stopped"),
    (
        "objectives",
        ("search: {", "objectives: [{name: step_ms, mode: min}]\nsearch: {"),
        18,
        "with objectives use scheduler: none",
    ),
    (
        "no cap",
        ("wall_time: 8h\n  gpu_hours: 10\n  cost: 20\n  prices: {H200: 3.5}", "prices: {a: 1}"),
        18,
        "it caps nothing",
    ),
]


@pytest.mark.parametrize(("change", "line", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_an_impossible_search_is_refused_at_its_line(files, change, line, message):
    lines = files.refused(WHOLE, change).splitlines()
    assert any(found.startswith(f"study.yaml:{line}: ") and message in found for found in lines), lines


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ("[{name: step_mz, mode: min}]", 'names "step_mz". Did you mean "step_ms"?'),
        ("[{name: val_accuracy, mode: max}]", 'the objective "val_accuracy" is given twice'),
    ],
)
def test_an_objective_is_a_metric_and_another_one(files, sweep_text, objectives, message):
    changes = [("scheduler: {name: asha, grace_epochs: 2}", ""), ("search: {", f"objectives: {objectives}\nsearch: {{")]
    assert message in files.refused(sweep_text, *changes)


WIDE = "optimizer.lr: {loguniform: [1e-4, 1e-1]}", "data.split_seed: {randint: [1, 4000000000]}"


@pytest.mark.parametrize(
    ("sampler", "message"),
    [
        (
            "grid",
            '"search.sampler" is grid, and the space has 64,000,000,000 points, more than the 1,000,000 of a grid; use',
        ),
        ("gp", '"search.sampler" is gp, which lays out every value of data.split_seed, 4,000,000,000 of them'),
    ],
)
def test_more_values_than_can_be_laid_out_are_refused_with_their_number(files, sweep_text, sampler, message):
    refused = files.refused(sweep_text, WIDE, ("{trials: 3}", f"{{trials: 3, sampler: {sampler}}}"))
    assert refused.startswith("study.yaml:11: ") and message in refused
    files.load(sweep_text, WIDE, ("{trials: 3}", "{trials: 3, sampler: tpe}"))


def test_a_grid_is_counted_with_its_conditions(files, sweep_text):
    narrow = (
        WIDE[0],
        "gradient.hgs: {choice: [true, false]}\n  data.split_seed: {randint: [1, 4000], when: {gradient.hgs: true}}",
    )
    assert files.load(sweep_text, narrow, ("{trials: 3}", "{trials: 3, sampler: grid}")).space.size == 16 * 4001
    wide = narrow[0], narrow[1].replace("4000", "62501")
    assert "1,000,032 points" in files.refused(sweep_text, wide, ("{trials: 3}", "{trials: 3, sampler: grid}"))


def test_cmaes_searches_numbers(files, sweep_text):
    choices = ("optimizer.lr: {loguniform: [1e-4, 1e-1]}\n  gradient.length: {randint: [1, 8]}\n  ", "")
    message = files.refused(sweep_text, choices, ("{trials: 3}", "{trials: 3, sampler: cmaes}"))
    assert "this space has choices alone; use tpe" in message


@pytest.mark.parametrize(
    ("changes", "sampler"),
    [
        ([("sampler: tpe, ", "")], "curves"),
        ([], "tpe"),
        ([("sampler: tpe, trials: 30", "trials: 301")], "tpe"),
        ([("sampler: tpe, ", ""), ("start_from:", "  - step_ms < 50\nstart_from:")], "tpe"),
    ],
)
def test_auto_is_the_model_of_curves_where_the_search_is_small(files, changes, sampler):
    """Not where a constraint is on a metric, of which it knows nothing."""
    small = WHOLE.replace("  - step_ms < 50\n", "")
    assert sampler_of(files.load(small, *changes)) == sampler


@pytest.mark.parametrize(("sampler", "package"), [("cmaes", "cmaes"), ("gp", "greenlet")])
def test_a_sampler_whose_package_is_missing_says_which(sampler, package, monkeypatch):
    require(SearchSpec(sampler=sampler, trials=1))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match=f"sampler: {sampler} needs the package {package}, which"):
        require(SearchSpec(sampler=sampler, trials=1))


def test_the_database_of_a_search_is_read_in_one_place_and_refused_by_its_key(monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "pw")
    monkeypatch.delenv("NOT_SET", raising=False)
    assert database_of(SearchSpec(trials=1)) is None
    search = SearchSpec(trials=1, storage="postgresql://me:${DB_PASSWORD}@db/x")
    assert database_of(search) == "postgresql+psycopg2://me:pw@db/x"
    for storage, said in [
        ("postgresql://me:${NOT_SET}@db/x", r"^search\.storage: .* no variable NOT_SET"),
        ("carrier://db/x", r"^search\.storage: carrier://db/x is no address of a database"),
    ]:
        with pytest.raises(ConfigError, match=said):
            require(SearchSpec(trials=1, storage=storage))
