"""Proof of fsg/study/spec.py: what a study file means, and that everything impossible is refused at its line."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from fsg.catalogue.schedulers import Asha, NoScheduler
from fsg.config import TrialConfig
from fsg.errors import ConfigError
from fsg.study.spec import AblationSpec, MetricSpec, SweepSpec, best_by, load_study, to_yaml

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("ablations/*.yaml"), *ROOT.glob("search_spaces/*.yaml")])


def test_an_ablation_is_read_whole(ablation):
    assert isinstance(ablation, AblationSpec)
    assert (ablation.name, ablation.kind, ablation.seeds) == ("small", "ablation", (0, 1))
    assert ablation.base.epochs == 2
    assert ablation.metric == MetricSpec(name="val_accuracy", mode="max", unit="%")
    assert ablation.baselines == {"ste": {}}
    assert ablation.analysis.interval == 0.9


def test_a_sweep_is_read_whole(sweep):
    assert isinstance(sweep, SweepSpec)
    assert (sweep.kind, sweep.seed, sweep.seeds) == ("sweep", 4, (4,))
    assert (sweep.search.sampler.name, sweep.search.trials, sweep.search.seed) == ("auto", 3, 0)
    assert sweep.scheduler == Asha(grace_epochs=2, reduction_factor=3)
    assert sweep.space.paths == ("optimizer.lr", "gradient.length", "gradient.gain")


def test_without_a_scheduler_every_trial_runs_to_its_end(files, sweep_text):
    assert files.load(sweep_text, ("scheduler: {name: asha, grace_epochs: 2}", "")).scheduler == NoScheduler()
    assert files.load(sweep_text, ("{name: asha, grace_epochs: 2}", "none")).scheduler == NoScheduler()


def test_a_number_of_seeds_means_the_first_ones(files, ablation_text):
    assert files.load(ablation_text, ("[0, 1]", "3")).seeds == (0, 1, 2)


def test_the_analysis_names_the_full_arm_and_ste_unless_told_otherwise(ablation, files, ablation_text):
    assert (ablation.analysis.reference, ablation.analysis.baseline) == ("full", "ste")
    told = files.load(ablation_text, ("interval: 0.9", "reference: ste\n  baseline: no_lre"))
    assert (told.analysis.reference, told.analysis.baseline) == ("ste", "no_lre")


def test_without_a_design_the_first_arm_is_the_reference(files):
    head = "name: x\nseeds: 1\nmetric: {name: val_loss, mode: min}\nanalysis: {interval: null}\n"
    text = f"{head}arms:\n  b: {{}}\n  a: {{epochs: 3}}\n"
    analysis = files.load(text).analysis
    assert (analysis.reference, analysis.baseline) == ("b", None)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_loads_and_opens_with_its_question_and_cost(path):
    spec = load_study(path)
    assert spec.name == path.stem
    header = path.read_text().split("name:")[0]
    assert "# Question" in header
    assert "# Cost" in header


def test_the_shipped_ablation_is_the_one_promised():
    spec = load_study(ROOT / "ablations/components.yaml")
    trials = spec.plan.trials()
    assert len(trials) == 36
    assert [trial.arm for trial in trials[:12]] == [
        *("full", "no_lre", "no_fsg", "no_fsg_lre", "no_hgs", "no_hgs_lre", "no_hgs_fsg", "no_hgs_fsg_lre"),
        *("ste", "multi_fc", "ema", "scalar"),
    ]
    assert (spec.base.data.name, spec.base.model.name, spec.base.quantizer.name) == ("digits", "digits_cnn", "dorefa")
    assert spec.analysis.smallest_effect_of_interest == 0.5


def test_the_shipped_sweep_has_log_int_and_categorical_domains():
    spec = load_study(ROOT / "search_spaces/digits_smoke.yaml")
    assert {"loguniform", "randint", "choice"} <= {domain.kind for domain in spec.space.domains.values()}
    assert 3 <= len(spec.space.paths) <= 5
    assert (spec.search.sampler.name, spec.search.trials, spec.scheduler.name) == ("auto", 12, "asha")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_the_resolved_study_loads_as_the_same_study(path, tmp_path):
    spec = load_study(path)
    (tmp_path / "spec.yaml").write_bytes(to_yaml(spec))
    again = load_study(tmp_path / "spec.yaml")
    assert again == spec
    assert again.digest() == spec.digest()
    assert to_yaml(again) == to_yaml(spec)
    if isinstance(spec, AblationSpec):
        assert again.plan.trials() == spec.plan.trials()


@pytest.mark.parametrize("text", ["1e3", "null", "3", "a: b", "# a", "", "yes", "2026-11-21", " x "])
def test_text_that_looks_like_something_else_stays_text(files, ablation_text, text):
    spec = files.load(ablation_text, ("Does it work?", f'"{text}"'))
    assert spec.question == text
    files.path.write_bytes(to_yaml(spec))
    assert load_study(files.path).question == text


@given(
    question=st.text(), name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,9}", fullmatch=True), unit=st.text(max_size=4)
)
@settings(max_examples=100, deadline=None)
def test_any_text_survives_the_resolved_file(tmp_path_factory, question, name, unit):
    spec = AblationSpec.model_validate(
        {
            "name": name,
            "question": question,
            "seeds": 2,
            "metric": {"name": "val_accuracy", "mode": "max", "unit": unit},
            "arms": {"a": {}, "b": {"epochs": 3}},
            "analysis": {"reference": "a"},
        }
    )
    path = tmp_path_factory.getbasetemp() / "spec.yaml"
    path.write_bytes(to_yaml(spec))
    assert load_study(path) == spec


def test_the_digest_ignores_the_device_and_nothing_else(files, ablation, ablation_text):
    assert files.load(ablation_text, ("epochs: 2", "epochs: 2\n  device: cpu")).digest() == ablation.digest()
    assert files.load(ablation_text, ("epochs: 2", "epochs: 3")).digest() != ablation.digest()
    assert files.load(ablation_text, ("[0, 1]", "[0, 1, 2]")).digest() != ablation.digest()


def test_studies_of_different_kind_or_content_are_not_equal(files, ablation, sweep, ablation_text):
    assert ablation != sweep
    assert ablation == files.load(ablation_text)
    assert ablation != files.load(ablation_text, ("[0, 1]", "[1, 0]"))


def test_a_specification_cannot_be_changed(ablation):
    with pytest.raises(ValidationError, match="frozen"):
        ablation.name = "other"


def test_a_specification_built_in_python_is_refused_without_a_line():
    metric = MetricSpec(name="val_accuracy", mode="max")
    spec = AblationSpec(name="x", seeds=(0,), metric=metric, base=TrialConfig(), arms={"a": {}, "b": {"epochs": 0}})
    with pytest.raises(ConfigError, match=r'^arm "b": "epochs" is 0'):
        _ = spec.plan


REFUSED_ABLATIONS = [
    # what, (old, new), line, message
    ("unknown key", ("seeds:", "seds:"), 6, 'unknown key "seds". Did you mean "seeds"?'),
    ("unknown key in the base", ("epochs: 2", "epoch: 2"), 5, 'unknown key "base.epoch". Did you mean "base.epochs"?'),
    (
        "unknown key deep in the base",
        ("gradient: fsg", "gradient: {slow: {d_stat: 3}}"),
        4,
        'unknown key "base.gradient.slow.d_stat". Did you mean "base.gradient.slow.d_state"?',
    ),
    ("no name", ("name: small", ""), 1, '"name" is missing.'),
    ("a name that is a path", ("name: small", "name: ../x"), 1, "\"name\" is '../x': string should match pattern"),
    ("no interval by a word", ("interval: 0.9", "interval: none"), 13, "a valid number. For none write null."),
    ("no fairness by a word", ("analysis:", "fairness: {equal: off}\nanalysis:"), 12, "flops. For none write null."),
    ("a name that is nothing", ("name: small", "name: ~"), 1, '"name" is None: input should be a valid string. Leave'),
    (
        "base of a wrong type",
        ("epochs: 2", "epochs: two"),
        5,
        "\"base.epochs\" is 'two': input should be a valid integer",
    ),
    (
        "base out of range",
        ("epochs: 2", "epochs: 0"),
        5,
        '"base.epochs" is 0: input should be greater than or equal to 1',
    ),
    (
        "a seed in the base",
        ("epochs: 2", "seed: 3"),
        5,
        'the base sets "seed", but the trials run the seeds of "seeds"',
    ),
    ("zero seeds", ("[0, 1]", "[]"), 6, '"seeds": zero seeds; give at least one'),
    ("no seeds", ("[0, 1]", "0"), 6, '"seeds": is 0, expected 1 to 10,000 seeds'),
    ("fewer than no seeds", ("[0, 1]", "-2"), 6, '"seeds": is -2, expected 1 to 10,000 seeds'),
    ("far too many seeds", ("[0, 1]", "1000000000000"), 6, "expected 1 to 10,000 seeds"),
    ("a seed twice", ("[0, 1]", "[0, 1, 0]"), 6, '"seeds": seed 0 is given twice'),
    ("a negative seed", ("[0, 1]", "[0, -1]"), 6, '"seeds": holds -1; a seed is a whole number from 0 to 2^63 - 1.'),
    ("a seed that is text", ("[0, 1]", "[0, one]"), 6, "\"seeds\": holds 'one'; a seed is a whole number"),
    ("seeds that are true", ("[0, 1]", "true"), 6, '"seeds": is True, expected a list of seeds, how many, or {min: 3,'),
    ("an unknown metric", ("val_accuracy", "val_acuracy"), 7, 'Did you mean "val_accuracy"?'),
    ("an unknown mode", ("mode: max", "mode: maximum"), 7, "\"metric.mode\" is 'maximum', allowed: min, max."),
    ("no mode", ("mode: max, ", ""), 7, '"metric.mode" is missing.'),
    ("an unknown design", ("kind: full_factorial", "kind: full_factoral"), 9, 'Did you mean "full_factorial"?'),
    (
        "an unknown key of the design",
        ("kind: full_factorial", "kind: full_factorial\n  a: 1"),
        10,
        'unknown key "design.a"',
    ),
    ("no switches", ("[lre]", "[]"), 10, '"design.switches" is []: value should have at least 1 item'),
    ("switches that are no list", ("[lre]", "lre"), 10, "\"design.switches\" is 'lre': input should be a valid tuple"),
    (
        "an unknown switch",
        ("[lre]", "[lre, hsg]"),
        10,
        'has no switch "hsg"; its switches are hgs, fsg, lre. Did you mean "hgs"?',
    ),
    ("a switch twice", ("[lre]", "[lre, lre]"), 10, 'the switch "lre" is given twice.'),
    ("an option that is no switch", ("[lre]", "[beta]"), 10, 'has no switch "beta"'),
    ("an estimator without switches", ("fsg\n", "ema\n"), 10, 'estimator "ema" has no switch "lre"; it has none.'),
    (
        "an unknown baseline",
        ("[ste]", "[ema, sti]"),
        11,
        'baseline "sti" is no gradient estimator. Did you mean "ste"?',
    ),
    ("a baseline twice", ("[ste]", "[ste, ste]"), 11, '"baselines": baseline "ste" is given twice.'),
    ("baselines that are numbers", ("[ste]", "[1]"), 11, '"baselines": holds 1, expected names of gradient estimators'),
    ("baselines that are text", ("[ste]", "ste"), 11, "\"baselines\" is 'ste': input should be a valid dictionary"),
    (
        "a baseline's unknown option",
        ("[ste]", "\n  ste: {}\n  ema:\n    gradient:\n      beat: 0.5"),
        15,
        'arm "ema": unknown key "gradient.beat". Did you mean "gradient.beta"?',
    ),
    (
        "a baseline of another estimator",
        ("[ste]", "\n  ema: {gradient: scalar}"),
        12,
        'arm "ema": it is named by its estimator, but sets gradient.name to "scalar".',
    ),
    ("a baseline that is the full method", ("[ste]", "[fsg]"), 11, 'arm "fsg" is the same trial as arm "full"'),
    ("an unknown key of an arm", ("baselines: [ste]", "arms:\n  x:\n    epoch: 3"), 13, 'arm "x": unknown key "epoch"'),
    ("an arm out of range", ("baselines: [ste]", "arms:\n  x:\n    epochs: 0"), 13, 'arm "x": "epochs" is 0'),
    (
        "an arm that does not fit together",
        ("baselines: [ste]", "arms:\n  x:\n    schedule: {warmup_epochs: 2}"),
        12,
        'arm "x": schedule.warmup_epochs is 2, but training has 2 epochs',
    ),
    (
        "an arm with a seed",
        ("baselines: [ste]", "arms:\n  x:\n    seed: 3"),
        13,
        'arm "x": it sets "seed", but every arm',
    ),
    (
        "an arm that changes nothing",
        ("baselines: [ste]", "arms:\n  x: {}"),
        12,
        'arm "x" is the same trial as arm "full"',
    ),
    (
        "an arm twice",
        ("baselines: [ste]", "arms:\n  x: {epochs: 3}\n  x: {epochs: 4}"),
        13,
        '"x" is given twice (first on line 12)',
    ),
    (
        "an arm named as the design names one",
        ("baselines: [ste]", "arms:\n  no_lre: {epochs: 3}"),
        12,
        'arm "no_lre" is given twice',
    ),
    (
        "a baseline named as an arm",
        ("baselines: [ste]", "arms: {ste: {epochs: 3}}\nbaselines: [ste]"),
        12,
        'arm "ste" is given twice',
    ),
    (
        "two equal arms",
        ("baselines: [ste]", "arms:\n  a: {epochs: 3}\n  b: {epochs: 3}"),
        13,
        'arm "b" is the same trial as arm "a"',
    ),
    ("an arm name with a slash", ("baselines: [ste]", "arms:\n  a/b: {epochs: 3}"), 12, '"a/b" cannot name an arm'),
    (
        "an arm that is no mapping",
        ("baselines: [ste]", "arms:\n  a: 3"),
        12,
        '"arms.a" is 3: input should be a valid dictionary',
    ),
    (
        "a history that is switched off twice",
        ("gradient: fsg\n  epochs: 2\n", "gradient: {length: 1}\n  epochs: 2\n"),
        8,
        'arm "no_hgs" is the same trial as arm "full"',
    ),
    (
        "an interval of everything",
        ("interval: 0.9", "interval: 1.0"),
        13,
        '"analysis.interval" is 1.0: input should be less than 1',
    ),
    ("an effect of nothing", ("interval: 0.9", "smallest_effect_of_interest: 0"), 13, "input should be greater than 0"),
    (
        "an unknown reference",
        ("interval: 0.9", "reference: ful"),
        13,
        '"analysis.reference" is "ful", which is no arm. Did you mean "full"?',
    ),
    (
        "an unknown baseline arm",
        ("interval: 0.9", "baseline: ema"),
        13,
        '"analysis.baseline" is "ema", which is no arm.',
    ),
    (
        "a reference that is the baseline",
        ("interval: 0.9", "baseline: full"),
        13,
        'the reference are the same arm, "full"; name two.',
    ),
]


@pytest.mark.parametrize(
    ("change", "line", "message"), [r[1:] for r in REFUSED_ABLATIONS], ids=[r[0] for r in REFUSED_ABLATIONS]
)
def test_an_impossible_ablation_is_refused_at_its_line(files, ablation_text, change, line, message):
    changes = [change] + ([("[lre]", "[hgs]")] if "length: 1" in change[1] else [])
    lines = files.refused(ablation_text, *changes).splitlines()
    assert any(found.startswith(f"study.yaml:{line}: ") and message in found for found in lines), lines


@pytest.mark.parametrize("rest", ["", "arms: {a: {}}\n", "baselines: [ste]\n"])
def test_fewer_than_two_arms_compare_nothing(files, rest):
    message = files.refused(f"name: x\nseeds: 1\nmetric: {{name: val_loss, mode: min}}\n{rest}")
    assert message.startswith("study.yaml:1: an ablation compares at least 2 arms, found ")


REFUSED_SWEEPS = [
    ("a design in a sweep", ("search: {", "design: {}\nsearch: {"), 11, 'unknown key "design"'),
    (
        "no trials",
        ("{trials: 3}", "{trials: 0}"),
        11,
        '"search.trials" is 0: input should be greater than or equal to 1.',
    ),
    (
        "an unknown sampler",
        ("{trials: 3}", "{trials: 3, sampler: tep}"),
        11,
        'allowed: curves, tpe, gp, cmaes, qmc, nsga2, random, grid, auto. Did you mean "tpe"?',
    ),
    ("a negative search seed", ("{trials: 3}", "{trials: 3, seed: -1}"), 11, '"search.seed" is -1'),
    ("no search", ("search: {trials: 3}", ""), 1, '"search" is missing.'),
    (
        "an unknown scheduler",
        ("asha", "ahsa"),
        12,
        '"scheduler" is \'ahsa\', allowed: asha, hyperband, median, pbt, pb2, none. Did you mean "asha"?',
    ),
    ("an option of another scheduler", ("name: asha", "name: none"), 12, 'unknown key "scheduler.grace_epochs"'),
    (
        "a factor that stops nothing",
        ("grace_epochs: 2", "reduction_factor: 1"),
        12,
        '"scheduler.reduction_factor" is 1',
    ),
    (
        "grace that outlasts training",
        ("grace_epochs: 2", "grace_epochs: 9"),
        12,
        "trials have 9 epochs, so none could be stopped",
    ),
    ("a test metric", ("val_accuracy", "test_accuracy"), 5, "\"metric.name\" is 'test_accuracy', allowed: train_loss"),
    ("a seed in the base", ("epochs: 9", "seed: 9"), 3, 'the base sets "seed", but the trials run the seed of "seed"'),
    ("seeds of a sweep", ("seed: 4", "seeds: [4]"), 4, 'unknown key "seeds". Did you mean "seed"?'),
    ("an unknown path", ("optimizer.lr:", "optimzer.lr:"), 7, 'has no "optimzer.lr". Did you mean "optimizer.lr"?'),
    ("a searched seed", ("optimizer.lr:", "seed:"), 7, '"seed" cannot be searched'),
    ("a searched device", ("schedule.name: cosine", "device: cpu"), 10, '"device" cannot be searched'),
    ("a path twice", ("schedule.name: cosine", "gradient.gain: free"), 10, '"gradient.gain" is given twice'),
    ("an option of another estimator", ("gradient.length", "gradient.lr"), 8, 'unknown key "gradient.lr"'),
    (
        "low above high",
        ("[1e-4, 1e-1]", "[1e-1, 1e-4]"),
        7,
        "loguniform: low is 0.1 and high is 0.0001; low must be below high.",
    ),
    ("log of zero", ("[1e-4, 1e-1]", "[0, 1e-1]"), 7, "a logarithmic range starts above 0."),
    ("an int from floats", ("{randint: [1, 8]}", "{uniform: [1, 8]}"), 8, "It takes whole numbers; use randint."),
    (
        "an int out of range",
        ("[1, 8]", "[0, 8]"),
        8,
        '"gradient.length" is 0: input should be greater than or equal to 1',
    ),
    ("an unknown choice", ("[bounded, locked]", "[bounded, lockd]"), 9, 'Did you mean "locked"?'),
    ("a fixed value that does not fit", ("schedule.name: cosine", "epochs: 0"), 10, '"space.epochs": "epochs" is 0'),
    (
        "a list as a fixed value",
        ("schedule.name: cosine", "epochs: [1]"),
        10,
        "is [1], expected a fixed scalar or one domain",
    ),
    ("an unknown domain", ("loguniform", "loguniforn"), 7, 'unknown domain "loguniforn". Did you mean "loguniform"?'),
    (
        "choices that are one to a search",
        ("schedule.name: cosine", "optimizer.weight_decay: {choice: [0, 0.0]}"),
        10,
        '"space.optimizer.weight_decay": choice holds 0 and 0.0, which a search remembers as one value; keep one of them.',
    ),
    (
        "one and true",
        ("[bounded, locked]", "[1, true]"),
        9,
        "\"gradient.gain\" is '1', allowed: bounded, locked, free.",
    ),
    ("a domain without numbers", ("[1e-4, 1e-1]", "3"), 7, "loguniform takes a list, found 3."),
]


@pytest.mark.parametrize(
    ("change", "line", "message"), [r[1:] for r in REFUSED_SWEEPS], ids=[r[0] for r in REFUSED_SWEEPS]
)
def test_an_impossible_sweep_is_refused_at_its_line(files, sweep_text, change, line, message):
    lines = files.refused(sweep_text, change).splitlines()
    assert any(found.startswith(f"study.yaml:{line}: ") and message in found for found in lines), lines


def test_a_space_without_anything_to_search_is_refused(files, sweep_text):
    head, tail = sweep_text.split("space:\n")
    message = files.refused(f"{head}space:\n  epochs: 3\n{tail[tail.index('search:') :]}")
    assert message == "study.yaml:6: the space has nothing to search: every value is fixed."


def test_grace_is_measured_against_the_longest_trial(files, sweep_text):
    longer = ("schedule.name: cosine", "epochs: {randint: [3, 20]}")
    assert files.load(sweep_text, longer, ("grace_epochs: 2", "grace_epochs: 12")).scheduler.grace_epochs == 12
    message = files.refused(sweep_text, longer, ("grace_epochs: 2", "grace_epochs: 20"))
    assert "trials have 20 epochs" in message


SPEC_LINES = st.sampled_from([line for path in SHIPPED for line in path.read_text().splitlines() if line[:1] != "#"])


@given(lines=st.lists(SPEC_LINES, max_size=16), cut=st.integers(0, 40), noise=st.text(max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_text_made_of_spec_lines_gives_a_study_or_a_refusal(tmp_path_factory, lines, cut, noise):
    text = "\n".join(lines)
    path = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    path.write_bytes((text[: len(text) - cut] + noise + text[len(text) - cut :]).encode("utf-8", "replace"))
    try:
        load_study(path)
    except ConfigError as error:
        assert "fuzzed.yaml" in str(error)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["fsg", "ste", "full", "x", "", "1e3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "kind", "ste", "uniform", "choice", "epochs", "gradient.beta"]), inner, max_size=2
        )
    ),
    max_leaves=5,
)


@given(data=st.data(), sweeping=st.booleans())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_gives_a_study_or_a_refusal(tmp_path, ablation_text, sweep_text, data, sweeping):
    tree = yaml.safe_load(sweep_text if sweeping else ablation_text)
    node, key = tree, data.draw(st.sampled_from(sorted(tree)))
    while isinstance(node[key], dict) and node[key] and data.draw(st.booleans()):
        node, key = node[key], data.draw(st.sampled_from(sorted(node[key])))
    node[key] = data.draw(VALUES)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(tree))
    try:
        spec = load_study(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")
    else:
        path.write_bytes(to_yaml(spec))
        assert load_study(path) == spec


def test_a_study_is_checked_without_torch_or_anything_as_heavy():
    code = (
        "import sys; from fsg.study import spec, design, space; from fsg.record import ledger, folder\n"
        "from fsg.study.spec import load_study; load_study('ablations/components.yaml')\n"
        "print([m for m in ('torch', 'ray', 'mlflow', 'optuna', 'pandas', 'numpy', 'scipy') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("metric", "by"),
    [
        ("{name: val_loss, mode: min}", ("val_loss", "min")),
        ("{name: test_accuracy, mode: max}", ("val_accuracy", "max")),
        ("{name: test_loss, mode: min}", ("val_loss", "min")),
    ],
)
def test_what_is_kept_as_best_is_never_chosen_by_a_test_metric(files, ablation_text, metric, by):
    old = 'metric: {name: val_accuracy, mode: max, unit: "%"}'
    spec = files.load(ablation_text, (old, f"keep: best+last\nmetric: {metric}"))
    assert best_by(spec) == by


def test_what_is_kept_may_change_and_the_study_is_the_same(files, ablation_text, ablation, tmp_path):
    from fsg.record.folder import StudyFolder

    kept = files.load(ablation_text, ("name: small", "name: small\nkeep: best+last"))
    assert best_by(ablation) is None
    assert kept.digest() == ablation.digest()
    for spec in (ablation, kept, ablation):
        assert StudyFolder.create_or_open(spec, tmp_path).spec().keep == spec.keep


def test_nothing_else_can_be_kept(files, ablation_text):
    assert files.refused(ablation_text, ("name: small", "name: small\nkeep: best")).startswith("study.yaml:2: ")


def test_an_arm_may_name_the_kind_that_the_base_has(files):
    text = (
        "name: spelled\nbase: {model: digits_cnn, autocast: off}\nseeds: 2\nmetric: {name: val_accuracy, mode: max}\n"
    )
    spec = files.load(f"{text}arms:\n  fsg: {{gradient: fsg}}\n  ste: {{gradient: ste}}\n")
    assert spec.base.autocast == "off"
    files.path.write_bytes(to_yaml(spec))
    assert load_study(files.path) == spec
    assert 'arm "same" is empty' in files.refused(
        f"{text}arms:\n  same: {{deterministic: on}}\n  ste: {{gradient: ste}}\n"
    )


# As 0.1.0 wrote them: quoted where YAML 1.1 reads something else, and plain where only YAML 1.2 does (0o10, -.5).
WRITTEN_BY_0_1_0 = {
    "ablation": """\
name: recorded
question: "1_000"
base:
  model: {name: digits_cnn, activations: float, pretrained: 0o10}
  optimizer: {name: adam, lr: 1.0e-05, momentum: 0.0, weight_decay: 1.0e-30}
  epochs: 1
  autocast: "off"
  deterministic: false
keep: last
seeds:
- 0
- 1
metric: {name: val_accuracy, mode: max, unit: "off"}
arms:
  "off":
    gradient: ste
  "010":
    autocast: bfloat16
  "1e3":
    deterministic: true
analysis: {interval: 0.95, smallest_effect_of_interest: null, reference: "off", baseline: "010"}
""",
    "sweep": """\
name: recorded
question: "yes"
base: {epochs: 3}
metric: {name: val_accuracy, mode: max, unit: ""}
space:
  model.pretrained:
    choice: ["off", "010", 0o10, "0x10", "1_000", "6:0", "1e3", "2026-01-01", "~", ".inf", -.5, "1.5e3", +.5, '=', '<<', y, "12"]
  gradient.hgs:
    choice: [true, false]
  optimizer.lr:
    loguniform: [1.0e-05, 1]
    when: {autocast: "off"}
  autocast:
    choice: ["off", bfloat16]
start_from:
- {name: "off", point: {autocast: "off", model.pretrained: 0o10, gradient.hgs: false, optimizer.lr: 0.01}}
search: {sampler: auto, trials: 2, seed: 0, storage: null}
budget: {trials: null, wall_time: 90.0, cost: 3.0, prices: {"010": 1.0}}
""",
}


def test_the_file_of_an_older_ablation_reads_as_it_was_written(files):
    spec = files.load(WRITTEN_BY_0_1_0["ablation"])
    assert (spec.question, spec.metric.unit, spec.base.model.pretrained) == ("1_000", "off", "0o10")
    assert (spec.base.autocast, spec.base.deterministic, spec.base.optimizer.lr) == ("off", False, 1e-5)
    assert list(spec.plan.arms) == ["off", "010", "1e3"]
    assert (spec.analysis.reference, spec.analysis.baseline) == ("off", "010")


def test_the_file_of_an_older_sweep_reads_as_it_was_written(files):
    spec = files.load(WRITTEN_BY_0_1_0["sweep"])
    texts = spec.space.root["model.pretrained"].choices
    assert " ".join(texts) == "off 010 0o10 0x10 1_000 6:0 1e3 2026-01-01 ~ .inf -.5 1.5e3 +.5 = << y 12"
    assert spec.space.root["optimizer.lr"].when == {"autocast": ("off",)}
    assert spec.start_from[0].point["model.pretrained"] == "0o10"
    assert (spec.budget.wall_time, spec.budget.prices) == (90.0, {"010": 1.0})


SPELT = st.sampled_from(
    ["off", "on", "yes", "no", "y", "010", "0o10", "0x10", "0b1", "1_000", "6:0", "1:30", "1e3", "1.5e3", "-.5", "+.5",
     "2026-01-01", "~", "null", "Null", "true", "True", ".inf", ".nan", "=", "<<", "12", "1.0", "- a", "a: b", "#", "a #b"]
) | st.text(max_size=8)  # fmt: skip


@given(texts=st.lists(SPELT, min_size=1, max_size=4, unique=True), flag=st.booleans(), question=SPELT)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_spelling_survives_the_resolved_file(tmp_path, texts, flag, question):
    spec = SweepSpec.model_validate(
        {
            "name": "x",
            "question": question,
            "metric": {"name": "val_accuracy", "mode": "max", "unit": texts[0]},
            "base": {"model": {"pretrained": texts[0]}, "deterministic": flag},
            "space": {
                "model.pretrained": {"choice": [None, *texts]},
                "autocast": {"choice": ["off", "bfloat16"], "when": {"model.pretrained": texts}},
            },
            "start_from": [{"name": texts[-1], "point": {"model.pretrained": texts[-1], "autocast": "off"}}],
            "search": {"trials": 2},
            "budget": {"cost": 1, "prices": dict.fromkeys(texts, 1)},
        }
    )
    path = tmp_path / "spec.yaml"
    path.write_bytes(to_yaml(spec))
    assert load_study(path) == spec
