"""Proof of fsg/study/designs/: the arms of each kind, in each block, and the designs that are refused at their line."""

import random

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsg.errors import ConfigError
from fsg.study.design import factor_levels, left_out
from fsg.study.designs import AddOneIn, FullFactorial, LeaveOneOut
from fsg.study.spec import load_study, to_yaml

HEAD = """\
name: small
base:
  epochs: 2
seeds: 2
metric: {name: val_accuracy, mode: max}
"""
SWITCHES = st.lists(st.sampled_from(["hgs", "fsg", "lre"]), min_size=1, unique=True)


def study(files, design, rest=""):
    return files.load(f"{HEAD}design:\n  {design}\n{rest}")


def refused(files, design, rest=""):
    return files.refused(f"{HEAD}design:\n  {design}\n{rest}")


def switched(config):
    return "".join(name[0] for name in ("hgs", "fsg", "lre") if getattr(config.gradient, name))


# Components -----------------------------------------------------------------------------------------------------------
def test_a_full_factorial_names_what_it_switches_off():
    arms = FullFactorial(kind="full_factorial", switches=["hgs", "lre"]).arms()
    assert {arm.name: arm.overrides for arm in arms} == {
        "full": {"gradient": {"hgs": True, "lre": True}},
        "no_lre": {"gradient": {"hgs": True, "lre": False}},
        "no_hgs": {"gradient": {"hgs": False, "lre": True}},
        "no_hgs_lre": {"gradient": {"hgs": False, "lre": False}},
    }


def test_leave_one_out_is_full_and_each_component_missing_once(files):
    arms = study(files, "kind: leave_one_out\n  switches: [hgs, fsg, lre]").plan.arms
    assert {name: switched(config) for name, config in arms.items()} == {
        "full": "hfl",
        "no_hgs": "fl",
        "no_fsg": "hl",
        "no_lre": "hf",
    }


def test_add_one_in_is_none_and_each_component_alone(files):
    spec = study(files, "kind: add_one_in\n  switches: [hgs, fsg, lre]")
    assert {name: switched(config) for name, config in spec.plan.arms.items()} == {
        "none": "",
        "only_hgs": "h",
        "only_fsg": "f",
        "only_lre": "l",
    }
    assert spec.analysis.reference == "none"


@given(SWITCHES)
def test_one_at_a_time_designs_have_one_arm_more_than_components(switches):
    for kind, design in (("leave_one_out", LeaveOneOut), ("add_one_in", AddOneIn)):
        levels = list(design(kind=kind, switches=switches).levels().values())
        assert len(set(levels)) == len(levels) == len(switches) + 1
        changed = [sum(a != b for a, b in zip(levels[0], one, strict=True)) for one in levels[1:]]
        assert changed == [1] * len(switches)


def test_a_group_goes_on_and_off_together(files):
    spec = study(files, "kind: full_factorial\n  components: {memory: [hgs, lre], mixing: [fsg]}")
    arms = spec.plan.arms
    assert {name: switched(config) for name, config in arms.items()} == {
        "full": "hfl",
        "no_mixing": "hl",
        "no_memory": "f",
        "no_memory_mixing": "",
    }


def test_a_component_can_be_any_two_sets_of_overrides(files):
    components = "{per_weight: {off: {gradient: {layout: flattened}}}, long: {on: {epochs: 9}, off: {epochs: 3}}}"
    arms = study(files, f"kind: full_factorial\n  components: {components}").plan.arms
    assert {name: (config.gradient.layout, config.epochs) for name, config in arms.items()} == {
        "full": ("per_weight", 9),
        "no_long": ("per_weight", 3),
        "no_per_weight": ("flattened", 9),
        "no_per_weight_long": ("flattened", 3),
    }


RULES = "components: {hgs: [hgs], fsg: [fsg], lre: {switches: [lre], requires: [hgs]}}"


def test_a_combination_that_breaks_a_rule_is_left_out_and_listed(files):
    spec = study(files, f"kind: full_factorial\n  {RULES}")
    assert set(spec.plan.arms) == {"full", "no_fsg", "no_lre", "no_fsg_lre", "no_hgs_lre", "no_hgs_fsg_lre"}
    assert left_out(spec) == ["no_hgs: lre requires hgs", "no_hgs_fsg: lre requires hgs"]


def test_components_that_exclude_each_other_are_never_on_together(files):
    components = "components: {hgs: {switches: [hgs], excludes: [lre]}, lre: [lre]}"
    spec = study(files, f"kind: full_factorial\n  {components}")
    assert list(spec.plan.arms) == ["no_lre", "no_hgs", "no_hgs_lre"]
    assert left_out(spec) == ["full: hgs excludes lre"]


def test_levels_say_which_components_are_on_in_which_arm(files):
    spec = study(files, "kind: leave_one_out\n  switches: [hgs, lre]", "baselines: [ste]\n")
    names, levels = factor_levels(spec, spec.plan.blocks[0])
    assert names == ("hgs", "lre")
    assert levels == {"full": (True, True), "no_hgs": (False, True), "no_lre": (True, False)}


# In order -------------------------------------------------------------------------------------------------------------
def test_a_dose_response_is_one_option_over_its_values(files):
    spec = study(files, "kind: dose_response\n  path: gradient.length\n  values: [1, 2, 10]", "baselines: [ste]\n")
    assert {name: config.gradient.length for name, config in spec.plan.arms.items() if name != "ste"} == {
        "length_1": 1,
        "length_2": 2,
        "length_10": 10,
    }
    assert spec.design.doses() == ("gradient.length", {"length_1": 1, "length_2": 2, "length_10": 10})
    assert (spec.analysis.reference, spec.analysis.baseline) == ("length_1", "ste")


PATH = """kind: path
  steps:
    - ste: {gradient: ste}
    - mixing: {gradient: {name: fsg, hgs: false, lre: false}}
    - history: {gradient: {hgs: true}}
    - full: {gradient: {lre: true}}"""


def test_a_path_keeps_what_the_steps_before_changed(files):
    spec = study(files, PATH)
    arms = spec.plan.arms
    assert [config.gradient.name for config in arms.values()] == ["ste", "fsg", "fsg", "fsg"]
    assert [switched(config) for config in list(arms.values())[1:]] == ["f", "hf", "hfl"]
    assert (spec.analysis.reference, spec.analysis.baseline) == ("full", "ste")


def test_the_order_of_a_path_belongs_to_the_study(files):
    one = study(files, PATH)
    history, full = "    - history: {gradient: {hgs: true}}", "    - full: {gradient: {lre: true}}"
    assert one != study(files, PATH.replace(history, "?").replace(full, history).replace("?", full))


# Blocks ---------------------------------------------------------------------------------------------------------------
CROSS = """kind: cross
  of: {kind: leave_one_out, switches: [lre]}
  models: [digits_cnn, resnet20]
  optimizers: {sgd: {lr: 0.5}, slow: {name: adam, lr: 1e-4}}"""


def test_a_cross_repeats_its_design_and_the_baselines_in_every_block(files):
    arms = study(files, CROSS, "baselines: [ste]\n").plan.arms
    blocks = ["digits_cnn-sgd", "digits_cnn-slow", "resnet20-sgd", "resnet20-slow"]
    assert list(arms) == [f"{block}/{arm}" for block in blocks for arm in ("full", "no_lre", "ste")]
    config = arms["resnet20-slow/no_lre"]
    assert (config.model.name, config.optimizer.name, config.optimizer.lr) == ("resnet20", "adam", 1e-4)
    assert config.gradient.lre is False


def test_each_block_has_its_own_reference_and_baseline(files):
    block = study(files, CROSS, "baselines: [ste]\n").plan.blocks[2]
    assert block.name == "resnet20-sgd"
    assert block.arms == ("resnet20-sgd/full", "resnet20-sgd/no_lre", "resnet20-sgd/ste")
    assert (block.reference, block.baseline) == ("resnet20-sgd/full", "resnet20-sgd/ste")


def test_a_study_without_a_cross_is_one_block(ablation):
    (block,) = ablation.plan.blocks
    assert (block.name, block.arms, block.reference, block.baseline) == ("", ("full", "no_lre", "ste"), "full", "ste")


def test_a_cross_needs_no_design_of_its_own(files):
    spec = study(files, "kind: cross\n  quantizers: [dorefa, bwn]", "arms: {fsg: {}}\nbaselines: [ste]\n")
    assert list(spec.plan.arms) == ["dorefa/fsg", "dorefa/ste", "bwn/fsg", "bwn/ste"]
    assert spec.analysis.reference == "fsg"


def test_the_levels_of_a_cross_are_those_of_each_block(files):
    spec = study(files, CROSS)
    _, levels = factor_levels(spec, spec.plan.blocks[3])
    assert levels == {"resnet20-slow/full": (True,), "resnet20-slow/no_lre": (False,)}


@pytest.mark.parametrize("design", [CROSS, PATH, f"kind: full_factorial\n  {RULES}"], ids=["cross", "path", "rules"])
def test_a_resolved_design_loads_as_itself(files, design):
    spec = study(files, design)
    files.path.write_bytes(to_yaml(spec))
    assert load_study(files.path) == spec
    assert load_study(files.path).plan.trials() == spec.plan.trials()


@given(st.randoms(use_true_random=False))
def test_keys_do_not_depend_on_the_order_of_the_arms(shuffler: random.Random):
    from fsg.study.spec import AblationSpec

    def keys(arms, baselines):
        data = {"name": "x", "seeds": 2, "metric": {"name": "val_loss", "mode": "min"}, "arms": arms}
        return {trial.key for trial in AblationSpec.model_validate(data | {"baselines": baselines}).plan.trials()}

    arms = {f"a{i}": {"epochs": i + 1} for i in range(4)}
    baselines = {"ste": {}, "ema": {}, "scalar": {}}
    shuffled = [dict(shuffler.sample(list(d.items()), len(d))) for d in (arms, baselines)]
    assert keys(*shuffled) == keys(arms, baselines)


# Refused --------------------------------------------------------------------------------------------------------------
REFUSED = [
    # what, design, what stands beside it, line, message
    ("no kind", "switches: [lre]", "", 6, '"design" needs a "kind" that says which kind it is.'),
    ("no factors", "kind: leave_one_out", "", 6, "name its factors in one way: switches: [hgs, lre], or components"),
    ("an unknown switch of a group", "kind: leave_one_out\n  components:\n    a: [hgz]", "", 9, 'Did you mean "hgs"?'),
    (
        "an unknown component",
        "kind: leave_one_out\n  components:\n    memory: [hgs]\n    b:\n      switches: [lre]\n      requires: [memry]",
        "",
        12,
        'the component "b" requires "memry", which is no other component. Did you mean "memory"?',
    ),
    (
        "a component that meets itself",
        "kind: leave_one_out\n  components: {a: {switches: [hgs], excludes: [a]}}",
        "",
        8,
        '"a" excludes "a", which is no other component.',
    ),
    (
        "a component that changes nothing",
        "kind: leave_one_out\n  components:\n    a: {on: {epochs: 2}}",
        "",
        9,
        'the component "a" is empty: on and off are the same trial.',
    ),
    (
        "a component of two kinds",
        "kind: leave_one_out\n  components:\n    a: {switches: [hgs], on: {epochs: 3}}",
        "",
        9,
        "a component is a list of switches, or overrides",
    ),
    (
        "two components that set the same",
        "kind: leave_one_out\n  components:\n    a: [hgs]\n    b: {off: {gradient: ste}}",
        "",
        10,
        'the components "a" and "b" both set "gradient"; one would hide the other.',
    ),
    (
        "an override that is no option",
        "kind: leave_one_out\n  components:\n    a:\n      on: {gradient: {bta: 1}}",
        "",
        10,
        'component "a": unknown key "gradient.bta". Did you mean "gradient.beta"?',
    ),
    (
        "a design that rules leave nothing of",
        "kind: leave_one_out\n  components:\n    a: {switches: [hgs], requires: [b]}\n"
        "    b: {switches: [lre], requires: [a], excludes: [a]}",
        "",
        6,
        "every arm of the design is left out: full: b excludes a; no_a: b requires a; no_b: a requires b.",
    ),
    (
        "a component that is never on",
        "kind: full_factorial\n  components:\n    a: [hgs]\n    b: {switches: [lre], requires: [a], excludes: [a]}",
        "",
        10,
        'the component "b" is on in no arm, so nothing is learnt of it',
    ),
    (
        "an excluded combination as an arm",
        f"kind: full_factorial\n  {RULES}",
        "arms:\n  mine: {gradient: {hgs: false}}",
        10,
        'arm "mine" is a combination that the design forbids: lre requires hgs.',
    ),
    (
        "an excluded combination as the reference",
        f"kind: full_factorial\n  {RULES}",
        "analysis:\n  reference: no_hgs",
        10,
        'is "no_hgs", which is no arm. It is left out, no_hgs: lre requires hgs.',
    ),
    (
        "an arm whose overrides change nothing",
        "kind: dose_response\n  path: gradient.beta\n  values: [0.1, 0.2]",
        "arms:\n  x: {epochs: 2}",
        11,
        'arm "x" is empty: what it sets is what the base has.',
    ),
    (
        "a hidden effect",
        "kind: fractional_factorial\n  switches: [hgs, fsg, lre]\n  resolution: 3\n  effects:\n    - lre",
        "",
        11,
        'the effect "lre" is asked for, but this fraction cannot tell it from hgs*fsg',
    ),
    (
        "a resolution that is not there",
        "kind: fractional_factorial\n  switches: [hgs, fsg, lre]\n  resolution: 5",
        "",
        9,
        "no fraction of 3 components has resolution 5; there are 3 in 4 runs.",
    ),
    (
        "an unknown dose",
        "kind: dose_response\n  path: gradient.beat\n  values: [1, 2]",
        "",
        8,
        'has no "gradient.beat". Did you mean "gradient.beta"?',
    ),
    ("a dose of seeds", "kind: dose_response\n  path: seed\n  values: [1, 2]", "", 8, '"seed" cannot be a dose'),
    ("one dose", "kind: dose_response\n  path: epochs\n  values: [1]", "", 9, "needs at least 2 values"),
    ("a dose twice", "kind: dose_response\n  path: epochs\n  values: [1, 1]", "", 9, "holds 1 twice"),
    (
        "a dose out of range",
        "kind: dose_response\n  path: gradient.length\n  values:\n    - 1\n    - 0",
        "",
        11,
        'arm "length_0": "gradient.length" is 0',
    ),
    ("a path of one step", "kind: path\n  steps: [{a: {epochs: 3}}]", "", 8, "a path needs at least 2 steps"),
    ("a step twice", "kind: path\n  steps: [{a: {epochs: 3}}, {a: {epochs: 4}}]", "", 8, 'step "a" is given twice'),
    (
        "a step that changes nothing",
        "kind: path\n  steps:\n    - a: {epochs: 3}\n    - b: {epochs: 3}",
        "",
        10,
        'arm "b" is the same trial as arm "a"',
    ),
    (
        "a step that is no trial",
        "kind: path\n  steps:\n    - a: {epochs: 3}\n    - b: {gradient: stee}",
        "",
        10,
        'arm "b": "gradient" is \'stee\'',
    ),
    (
        "a cross of nothing",
        "kind: cross\n  of: {kind: leave_one_out, switches: [hgs]}",
        "",
        6,
        "needs something to cross",
    ),
    (
        "a cross of a cross",
        "kind: cross\n  models: [resnet20]\n  of:\n    kind: cross",
        "",
        10,
        "\"design.of\" is 'cross'",
    ),
    (
        "an unknown model",
        "kind: cross\n  models:\n    - resnet20\n    - resnet21\n  of: {kind: leave_one_out, switches: [hgs]}",
        "",
        8,
        'models "resnet21": "model.name" is \'resnet21\'',
    ),
    (
        "a switch that a crossed design has not",
        "kind: cross\n  models: [resnet20]\n  of:\n    kind: leave_one_out\n    switches: [hgz]",
        "",
        11,
        'has no switch "hgz"',
    ),
    (
        "an option of a factorial in another design",
        "kind: path\n  switches: [hgs]",
        "",
        8,
        'unknown key "design.switches". Did you mean "design.steps"? Allowed in design: kind, steps.',
    ),
]


@pytest.mark.parametrize(
    ("design", "rest", "line", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_a_design_that_cannot_be_is_refused_at_its_line(files, design, rest, line, message):
    lines = refused(files, design, rest).splitlines()
    assert any(found.startswith(f"study.yaml:{line}: ") and message in found for found in lines), lines


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["hgs", "a*b", "c = a*b", "full", "", "1e3"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["switches", "kind", "on", "requires", "name", "lr", "gradient"]), inner, max_size=2
        )
    ),
    max_leaves=5,
)
FRACTION = (
    "kind: fractional_factorial\n  switches: [hgs, fsg, lre]\n  generators: [lre = hgs*fsg]\n  effects: [hgs*fsg*lre]"
)
DOSES = "kind: dose_response\n  path: gradient.length\n  values: [1, 2, 10]"


@given(
    design=st.sampled_from([CROSS, PATH, FRACTION, DOSES, f"kind: leave_one_out\n  {RULES}"]),
    choose=st.data(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_in_a_design_gives_a_study_or_a_refusal(tmp_path, design, choose):
    tree = yaml.safe_load(f"{HEAD}design:\n  {design}\nbaselines: [ste]\n")
    node, key = tree, "design"
    while isinstance(node[key], dict | list) and node[key] and choose.draw(st.booleans()):
        node = node[key]
        key = choose.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
    node[key] = choose.draw(VALUES)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(tree))
    try:
        spec = load_study(path)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:")
    else:
        path.write_bytes(to_yaml(spec))
        assert load_study(path) == spec


def test_eleven_components_are_too_many(files):
    components = "\n".join(f"    c{i}: {{on: {{epochs: {i + 3}}}}}" for i in range(11))
    assert "11 components; a design takes up to 10" in refused(
        files, f"kind: full_factorial\n  components:\n{components}"
    )


def test_blocks_of_the_same_name_are_refused(files):
    design = """kind: cross
  models: {a: digits_cnn, a-b: resnet20}
  optimizers: {b-c: sgd, c: adam}"""
    assert "two blocks have the same name" in refused(files, design, "arms: {x: {}, y: {epochs: 3}}\n")
