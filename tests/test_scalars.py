"""Proof of fsg/scalars.py: a spelling is read as its field means it, or refused at its line; wherever the field stands."""

import pytest
import yaml
from fuzzing import looking
from hypothesis import given
from hypothesis import strategies as st

from fsg.config import TrialConfig, load_trial, parse_setting, read_at
from fsg.errors import ConfigError
from fsg.scalars import Plain, core, holds, read_as, types_at
from fsg.study.spec import load_study

REFUSED = object()
# spelling: what it is for a flag, for a whole number, for a number
SPELLINGS = {
    **{word: (True, REFUSED, REFUSED) for word in ("true", "True", "TRUE", "on", "On", "ON", "yes", "Yes", "YES")},
    **{word: (False, REFUSED, REFUSED) for word in ("false", "False", "off", "Off", "OFF", "no", "No", "NO")},
    "y": (REFUSED, REFUSED, REFUSED),
    "n": (REFUSED, REFUSED, REFUSED),
    "0": (REFUSED, 0, 0),
    "1": (REFUSED, 1, 1),
    "010": (REFUSED, 10, 10),
    "0o10": (REFUSED, 8, 8),
    "0x10": (REFUSED, 16, 16),
    "0b11": (REFUSED, REFUSED, REFUSED),
    "+7": (REFUSED, 7, 7),
    "1_000": (REFUSED, 1000, 1000),
    "1_00.5": (REFUSED, REFUSED, 100.5),
    "_1": (REFUSED, REFUSED, REFUSED),
    "1__0": (REFUSED, REFUSED, REFUSED),
    "1e3": (REFUSED, 1000, 1000.0),
    "1E+1": (REFUSED, 10, 10.0),
    "1e-3": (REFUSED, REFUSED, 1e-3),
    "1_0e-3": (REFUSED, REFUSED, 1e-2),
    ".5": (REFUSED, REFUSED, 0.5),
    "5.": (REFUSED, REFUSED, 5.0),
    "3.0": (REFUSED, REFUSED, 3.0),
    "6:0": (REFUSED, REFUSED, REFUSED),
    "1:30": (REFUSED, REFUSED, REFUSED),
    "1:30:00.5": (REFUSED, REFUSED, REFUSED),
    "2026-01-02": (REFUSED, REFUSED, REFUSED),
    ".inf": (REFUSED, REFUSED, REFUSED),
    "-.Inf": (REFUSED, REFUSED, REFUSED),
    ".nan": (REFUSED, REFUSED, REFUSED),
    "inf": (REFUSED, REFUSED, REFUSED),
    "1e400": (REFUSED, REFUSED, REFUSED),
    "~": (REFUSED, REFUSED, REFUSED),
    "null": (REFUSED, REFUSED, REFUSED),
    "": (REFUSED, REFUSED, REFUSED),
    "=": (REFUSED, REFUSED, REFUSED),
    "<<": (REFUSED, REFUSED, REFUSED),
}
FLAGS = ("deterministic", "gradient.hgs", "data.augment", "cuda_graph")
WHOLE = ("data.split_seed", "checkpoint_every_steps")  # without an upper bound that a spelling would break
NULLS = ("", "~", "null")


def read_trial(path, text, folder):
    """The value at ``path`` of a trial's file that holds ``text`` there."""
    file = folder / "trial.yaml"
    *sections, key = path.split(".")
    lines = [f"{'  ' * depth}{part}:" for depth, part in enumerate(sections)]
    file.write_text("\n".join([*lines, f"{'  ' * len(sections)}{key}: {text}"]) + "\n")
    return at(load_trial(file).model_dump(), path)


def read_setting(path, text, folder):
    return at(load_trial(None, [f"{path}={text}"]).model_dump(), path)


def at(data, path):
    for part in path.split("."):
        data = data[part]
    return data


def same(one, other):
    return type(one) is type(other) and one == other


HEAD = 'name: x\nseeds: 2\nmetric: {name: val_accuracy, mode: max, unit: "%"}\n'


@pytest.mark.parametrize("text", SPELLINGS)
@pytest.mark.parametrize("read", [read_trial, read_setting])
@pytest.mark.parametrize(("paths", "column"), [(FLAGS, 0), (WHOLE, 1)])
def test_a_spelling_is_what_its_field_means_or_refused(paths, column, read, text, tmp_path):
    meant = SPELLINGS[text][column]
    for path in paths:
        if meant is REFUSED:
            where = r"trial\.yaml:\d: " if read is read_trial else f"--set {path}="
            with pytest.raises(ConfigError, match=where):
                read(path, text, tmp_path)
        else:
            assert same(read(path, text, tmp_path), meant), path


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_number_is_read_as_a_person_means_it_or_refused(text, tmp_path):
    path = tmp_path / "study.yaml"
    head = f"{HEAD}arms: {{a: {{}}, b: {{epochs: 3}}}}\nanalysis: {{interval: 0.9, smallest_effect_of_interest: "
    path.write_text(f"{head}{text or 'null'}}}\n")
    meant = SPELLINGS[text][2]
    if text in NULLS:
        assert load_study(path).analysis.smallest_effect_of_interest is None
    elif meant is REFUSED or meant == 0:
        with pytest.raises(ConfigError, match=r'study.yaml:5: "analysis.smallest_effect_of_interest" is '):
            load_study(path)
    else:
        assert load_study(path).analysis.smallest_effect_of_interest == meant


@pytest.mark.parametrize("text", SPELLINGS)
@pytest.mark.parametrize("read", [read_trial, read_setting])
def test_text_is_read_as_it_is_written(text, read, tmp_path):
    expected = None if text in NULLS else text
    assert read("model.pretrained", text, tmp_path) == expected


@pytest.mark.parametrize(
    ("path", "text", "meant"),
    [
        ("autocast", "off", "off"),
        ("quantizer", "none", {"name": "none"}),
        ("optimizer.lr", "010", 10),
        ("optimizer.lr", "1", 1.0),
        ("data.batch_size", "0x20", 32),
        ("data.root", "010", "010"),
        ("epochs", "1_0", 10),
    ],
)
def test_a_field_is_read_alike_wherever_it_is_set(path, text, meant, tmp_path):
    wanted = at(load_trial(None).model_dump(), path)
    *sections, key = path.split(".")
    inner = f"{{{key}: {text}}}"
    for section in reversed(sections):
        inner = f"{{{section}: {inner}}}"
    study = tmp_path / "study.yaml"

    def resolved(config):
        found = at(config.model_dump(), path)
        assert found == meant and type(found) in {type(meant), type(wanted)}, (path, found)

    resolved(load_trial(None, [f"{path}={text}"]))
    study.write_text(f"{HEAD}base: {inner}\narms: {{a: {{}}, b: {{deterministic: no}}}}\n")
    resolved(load_study(study).base)
    study.write_text(f"{HEAD}arms:\n  a: {{}}\n  b: {inner[:-1]}, deterministic: no}}\n")
    resolved(load_study(study).plan.arms["b"])
    sweep = f"name: s\nmetric: {{name: val_loss, mode: min}}\nsearch: {{trials: 2}}\nspace:\n  {path}: "
    for domain in (f"{text}\n  gradient.hgs: {{choice: [on, off]}}", f"{{choice: [{text}]}}", f"{{fixed: {text}}}"):
        more = "" if "hgs" in domain else "\n  gradient.hgs: {choice: [on, off]}"
        study.write_text(sweep + domain + more + "\n")
        spec = load_study(study)
        (found,) = spec.space.root[path].choices
        assert found == (meant["name"] if isinstance(meant, dict) else meant)
        assert spec.space.root["gradient.hgs"].choices == (True, False)


@pytest.mark.parametrize(
    ("section", "place", "meant"),
    [
        ("space: {gradient.hgs: {choice: [yes, no]}, gradient.length: {randint: [1_0, 2e1], when: {gradient.hgs: on}}}",
         ["space", "gradient.length"], {"randint": [10, 20], "when": {"gradient.hgs": True}}),
        ("space: {autocast: {choice: [off, bfloat16]}, optimizer.lr: {uniform: [0.1, 1_0], when: {autocast: [off]}}}",
         ["space", "optimizer.lr"], {"uniform": [0.1, 10], "when": {"autocast": "off"}}),
        ("space: {gradient.hgs: {choice: [yes, no]}}\nstart_from: [{name: 010, point: {gradient.hgs: off}}]",
         ["start_from", 0], {"name": "010", "point": {"gradient.hgs": False}, "study": None, "best": None}),
        ("space: {gradient.hgs: {choice: [yes, no]}}\nbudget: {trials: 010, prices: {010: 1}, cost: 1_0}",
         ["budget"], {"trials": 10, "wall_time": None, "gpu_hours": None, "cost": 10, "prices": {"010": 1}}),
        ("space: {gradient.hgs: {choice: [yes, no]}}\nbudget: {wall_time: 90m}", ["budget", "wall_time"], 5400.0),
    ],
)  # fmt: skip
def test_every_part_of_a_sweep_is_read_by_its_type(section, place, meant, tmp_path):
    path = tmp_path / "sweep.yaml"
    path.write_text(f"name: s\nmetric: {{name: val_loss, mode: min}}\nsearch: {{trials: 2}}\n{section}\n")
    found = load_study(path).resolved()
    for part in place:
        found = found[part]
    assert found == meant


@pytest.mark.parametrize(
    ("section", "arms"),
    [
        ("arms: {off: {gradient: ste}, on: {gradient: ema}}\nanalysis: {reference: off, baseline: on}", "off, on"),
        ("arms: {010: {gradient: ste}, 1e3: {gradient: ema}}\nanalysis: {reference: 010, baseline: 1e3}", "010, 1e3"),
        ("design: {kind: dose_response, path: gradient.hgs, values: [on, off]}", "hgs_true, hgs_false"),
        ("design: {kind: dose_response, path: autocast, values: [off, bfloat16]}", "autocast_off, autocast_bfloat16"),
        ("design: {kind: dose_response, path: gradient.length, values: [010, 2_0]}", "length_10, length_20"),
        ("design: {kind: path, steps: [{off: {gradient: ste}}, {on: {deterministic: off}}]}", "off, on"),
        ("design: {kind: full_factorial, components: {a: {off: {deterministic: off}}}}", "full, no_a"),
        ("design: {kind: cross, optimizers: {010: {name: adam, lr: 1_0}}}\narms: {x: {}, y: {epochs: 010}}",
         "010/x, 010/y"),
    ],
)  # fmt: skip
def test_every_part_of_an_ablation_is_read_by_its_type(section, arms, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(f"{HEAD}{section}\n")
    spec = load_study(path)
    assert ", ".join(spec.plan.arms) == arms
    if "analysis" in section:
        assert f"{spec.analysis.reference}, {spec.analysis.baseline}" == arms


def test_an_arm_named_null_is_no_missing_reference(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(f"{HEAD}arms: {{a: {{}}, null: {{epochs: 3}}}}\nanalysis:\n  reference: null\n")
    with pytest.raises(ConfigError, match=r'study.yaml:6: "analysis.reference" is null, .* write "null"'):
        load_study(path)
    path.write_text(path.read_text().replace("reference: null", 'reference: "null"'))
    assert load_study(path).analysis.reference == "null"


@pytest.mark.parametrize("text", ["1:30", "6:0"])
def test_a_duration_without_a_unit_is_refused_with_the_spelling(text, tmp_path):
    path = tmp_path / "sweep.yaml"
    head = "name: s\nmetric: {name: val_loss, mode: min}\nsearch: {trials: 2}\nspace: {gradient.hgs: {choice: [on, off]}}\n"
    path.write_text(f"{head}budget: {{wall_time: {text}}}\n")
    with pytest.raises(ConfigError, match=r"sweep.yaml:5: .*expected a duration such as 45s, 90m, 8h or 2d"):
        load_study(path)


@pytest.mark.parametrize(
    ("constraint", "advice"),
    [
        ("gradient.hgs == on", "Write True."),
        ("gradient.hgs != 'off'", "Write False."),
        ("autocast == off", "Write 'off'."),
        ("gradient == ste", "Write 'ste'."),
        ("gradient == 'stee'", "which it never is."),
        ("epochs == 'many'", "which it never is."),
        ("gradient.hgs == 1", "which it never is."),
    ],
)
def test_a_constraint_that_can_never_hold_for_its_spelling_is_refused(constraint, advice, tmp_path):
    path = tmp_path / "sweep.yaml"
    head = "name: s\nmetric: {name: val_loss, mode: min}\nsearch: {trials: 2}\nspace: {gradient.hgs: {choice: [on, off]}}\n"
    path.write_text(f'{head}constraints: ["{constraint}"]\n')
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    assert str(caught.value).startswith(f"{path}:5: ") and advice in str(caught.value)


def test_quoted_text_is_text_whatever_its_field(tmp_path):
    for path, text in (("deterministic", '"off"'), ("epochs", "'10'"), ("optimizer.lr", '"1e-3"')):
        with pytest.raises(ConfigError):
            read_trial(path, text, tmp_path)
    assert read_trial("model.pretrained", '"~"', tmp_path) == "~"


PLAIN = st.text("0123456789abefinotuxyOX_.:-+~<=# ", max_size=10)


@given(text=PLAIN | st.sampled_from(sorted(SPELLINGS)))
@looking(200)
def test_any_plain_text_of_a_text_field_is_what_stands_in_the_file(text, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    line = f"question: {text}\n"
    try:
        written = yaml.load(line, Loader=yaml.BaseLoader)["question"]
    except (yaml.YAMLError, TypeError):
        return
    path.write_text(f"{HEAD}{line}arms: {{a: {{}}, b: {{epochs: 3}}}}\n")
    if isinstance(written, str) and core(written) is not None:
        assert load_study(path).question == written
    else:
        with pytest.raises(ConfigError, match=r"any.yaml:\d: "):
            load_study(path)


@given(
    text=PLAIN | st.sampled_from(sorted(SPELLINGS)), path=st.sampled_from([*FLAGS, *WHOLE, "optimizer.lr", "autocast"])
)
@looking(200)
def test_any_plain_text_gives_a_value_of_its_field_or_a_refusal(text, path, tmp_path_factory):
    try:
        found = read_trial(path, text, tmp_path_factory.getbasetemp())
    except ConfigError as error:
        assert "trial.yaml:" in str(error)
    else:
        assert holds(found, *types_at(TrialConfig, path.split(".")))


@pytest.mark.parametrize(
    ("text", "value"),
    [("0o17", 15), ("0xfF", 255), ("-0", 0), ("1.", 1.0), ("-.5", -0.5), ("1e3", 1e3), ("NULL", None), ("nUll", "nUll"),
     ("TRUE", True), ("tRue", "tRue"), ("on", "on"), ("1_0", "1_0"), ("1:0", "1:0"), ("-.INF", float("-inf")), ("08", 8)],
)  # fmt: skip
def test_without_a_type_the_core_schema_decides(text, value):
    assert same(core(text), value)
    assert same(read_as([Plain(text)])[0], value)


def test_a_list_of_settings_is_read_item_by_item():
    assert parse_setting("gradient.hgs=[on, off]") == ("gradient.hgs", [True, False])
    assert read_at("no.such.path", Plain("010")) == 10
