"""Proof of fsg/yaml_source.py: every refusal names the file and the line, and nothing but ConfigError gets out."""

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fsg.config import TrialConfig, load_trial, parse_trial
from fsg.errors import ConfigError
from fsg.scalars import untyped
from fsg.yaml_source import YamlSource, field_names, parse_value, read_yaml

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Nd"]), max_size=12)  # no digits: YAML 1.1 reads 1e3 otherwise
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | WORDS
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3))


def written(folder, text):
    path = folder / "study.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(folder, text):
    with pytest.raises(ConfigError) as caught:
        read_yaml(written(folder, text))
    return str(caught.value)


def test_every_key_and_item_remembers_its_line(tmp_path):
    source = read_yaml(written(tmp_path, "a: 1\nb:\n  c:\n    - x\n    - y\n\nd: {e: 2}\n"))
    assert source.data == {"a": 1, "b": {"c": ["x", "y"]}, "d": {"e": 2}}
    assert [source.lines[p] for p in [("a",), ("b", "c"), ("b", "c", 1), ("d", "e")]] == [1, 3, 5, 7]


def test_a_place_without_a_line_is_reported_at_its_nearest_ancestor(tmp_path):
    source = read_yaml(written(tmp_path, "a: 1\nb:\n  c: 3\n"))
    assert source.where(("b", "c", "missing")) == f"{tmp_path}/study.yaml:3"
    assert source.where(("b", "missing", "deeper")) == f"{tmp_path}/study.yaml:2"
    assert str(source.error((), "refused.")) == f"{tmp_path}/study.yaml:1: refused."


def test_missing_file_names_the_nearest_one(tmp_path):
    (tmp_path / "components.yaml").write_text("a: 1")
    with pytest.raises(ConfigError) as caught:
        read_yaml(tmp_path / "component.yaml")
    expected = f'{tmp_path}/component.yaml: no such file. Did you mean "{tmp_path}/components.yaml"?'
    assert str(caught.value) == expected


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere/a.yaml: no such file\.$"):
        read_yaml(tmp_path / "nowhere" / "a.yaml")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read as UTF-8 text"):
        read_yaml(tmp_path)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (b"", 1, "the file is empty, expected a mapping"),
        (b"# only a comment\n", 1, "the file is empty, expected a mapping"),
        (b"- a\n- b\n", 1, "the top level must be a mapping"),
        (b"just text", 1, "the top level must be a mapping"),
        (b"a: 1\nb: [1, 2\n", 3, "not valid YAML"),
        (b"a: 1\nb: *nothing\n", 2, "not valid YAML: found undefined alias"),
        (b"a: 1\nc: 2\na: 3\n", 3, '"a" is given twice (first on line 1)'),
        (b"a: 1\nb:\n  c: 1\n  c: 2\n", 4, '"c" is given twice (first on line 3)'),
        (b"a: 1\n? [b]\n: 2\n", 2, "a key must be a plain name"),
        (b"a: 1\nb: !!python/object:os.system x\n", 2, "not valid YAML: could not determine a constructor"),
        (b'a: 1\nb: !!int ""\n', 2, "'' is no usable int"),
        (b"a: 1\nb: !!timestamp soon\n", 2, "'soon' is no usable timestamp"),
        (b"a: 1\nb: !!bool maybe\n", 2, "'maybe' is no usable bool"),
        (b"a: 1\nb: 0x" + b"f" * 5000, 2, "is no usable int (more than 1024 bits)"),
        (b'a: 1\nb: "\\ud800"\n', 2, "is no usable str (not valid Unicode text)"),
        (b'a: 1\n"\\ud800": 2\n', 2, "is not valid Unicode text"),
        (b"a: &loop [*loop]\n", 1, "not usable YAML: RecursionError"),
        (b"a: " + b"[" * 5000, 1, "not usable YAML: RecursionError"),
    ],
)
def test_unusable_yaml_is_refused_at_its_line(tmp_path, text, line, message):
    found = refused(tmp_path, text)
    assert found.startswith(f"{tmp_path}/study.yaml:{line}: ")
    assert message in found


def test_bytes_that_are_no_text_are_refused(tmp_path):
    assert "cannot be read as UTF-8 text" in refused(tmp_path, b"a: \xff\xfe")


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert "more than 100,000 values" in refused(tmp_path, "\n".join(lines))


def test_keys_are_text_as_written(tmp_path):
    assert read_yaml(written(tmp_path, "no: 1\n2: x\n")).data == {"no": 1, "2": "x"}


def merged(folder, text):
    source = read_yaml(written(folder, text))
    return source.data, source.lines


def test_merge_keys_bring_in_what_is_not_set_beside_them(tmp_path):
    data, lines = merged(tmp_path, "a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n  z: 4\n")
    assert data == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3, "z": 4}}
    assert [lines[("b", key)] for key in "xyz"] == [2, 6, 7], "a key stands where it is written"


def test_of_several_merged_mappings_the_first_wins(tmp_path):
    data, _ = merged(tmp_path, "a: &a {x: 1}\nb: &b {x: 2, y: 2}\nc: {<<: [*a, *b]}\nd: {<<: {<<: *b, y: 0}, z: 1}\n")
    assert data["c"] == {"x": 1, "y": 2}
    assert data["d"] == {"x": 2, "y": 0, "z": 1}


def test_what_was_merged_and_overridden_is_merged_as_overridden(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: &b {<<: *a, y: 5}\nc: {z: 0, <<: [*b, {w: 9}, *a], q: 1}\n"
    found = merged(tmp_path, text)[0]["c"]
    assert found == {"x": 1, "y": 5, "w": 9, "z": 0, "q": 1}  # PyYAML 6.0.4 says y: 2, though b has 5


def test_a_quoted_merge_key_is_a_name(tmp_path):
    assert merged(tmp_path, 'a: {"<<": 1}\n')[0] == {"a": {"<<": 1}}
    (tmp_path / "trial.yaml").write_text('"<<": 1\n')
    with pytest.raises(ConfigError, match=r'trial.yaml:1: unknown key "<<"\.'):
        load_trial(tmp_path / "trial.yaml")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb:\n  <<: 3\n", 3, "<< merges a mapping, or a list of them"),
        ("a: &a {x: 1}\nb:\n  <<: [*a, 2]\n", 3, "<< merges a mapping, or a list of them"),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  <<: *a\n", 4, '"<<" is given twice (first on line 3). Merge several as a list'),
        ("a: &a {x: 1}\nb:\n  <<: *a\n  x: 1\n  x: 2\n", 5, '"x" is given twice (first on line 4)'),
        ("a: &a\n  <<: *a\n", 1, "RecursionError"),
    ],
)
def test_what_cannot_be_merged_is_refused_at_its_line(tmp_path, text, line, message):
    found = refused(tmp_path, text)
    assert found.startswith(f"{tmp_path}/study.yaml:{line}: ") and message in found


def test_a_bomb_of_merges_is_refused_before_it_unfolds(tmp_path):
    lines = ["a0: &a0 {x: 1}"] + [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 9)]
    assert "more than 100,000 values" in refused(tmp_path, "\n".join(lines))


def test_a_mistake_in_what_is_merged_is_reported_where_it_is_written(tmp_path):
    text = "quantizer: &q\n  name: dorefa\n  bitts: 1\n"
    with pytest.raises(ConfigError, match=r"study.yaml:3: unknown key .*bitts"):
        load_trial(written(tmp_path, text))
    text = "optimizer: &o\n  name: adam\n  rate: 1\nschedule:\n  <<: *o\n  name: cosine\n"
    with pytest.raises(ConfigError) as caught:
        load_trial(written(tmp_path, text))
    assert [line for line in str(caught.value).splitlines() if ':3: unknown key "schedule.rate"' in line]


def test_numbers_without_a_dot_before_the_exponent_are_numbers(tmp_path):
    text = 'a: 1e-3\nb: -2E5\nc: "1e-3"\nd: e5\ne: 1.5e+2\nf: 1e\n'
    data = read_yaml(written(tmp_path, text)).data
    assert data == {"a": 1e-3, "b": -2e5, "c": "1e-3", "d": "e5", "e": 150.0, "f": "1e"}
    assert [type(data[k]) for k in "abe"] == [float] * 3


@given(tree=st.dictionaries(NAMES, TREES, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_yaml_writes_is_read_back(tmp_path_factory, tree):
    path = written(tmp_path_factory.mktemp("y"), yaml.safe_dump(tree))
    assert read_yaml(path).data == yaml.safe_load(path.read_text())


@given(data=st.binary(max_size=80) | st.text(max_size=80).map(lambda t: t.encode("utf-8", "surrogatepass")))
@settings(max_examples=400, deadline=None)
def test_any_bytes_give_a_source_or_a_refusal(tmp_path_factory, data):
    path = written(tmp_path_factory.getbasetemp(), data)
    try:
        source = read_yaml(path)
    except ConfigError as error:
        assert str(path) in str(error)
        str(error).encode()
    else:
        assert isinstance(source, YamlSource)


FRAGMENTS = st.sampled_from(
    [
        "a",
        ": ",
        "- ",
        "\n",
        "  ",
        "{",
        "}",
        "[",
        "]",
        "!!int ",
        "!!float ",
        "!!bool ",
        "!!binary ",
        "!!timestamp ",
        "!!set ",
        "&x ",
        "*x",
        "<<",
        "? ",
        '"',
        "'",
        "\\ud800",
        "|",
        ">",
        "%",
        "@",
        "=",
        "0x",
        "1e9",
        ".inf",
        ".nan",
        "~",
        "#",
        "---",
        "epochs",
        "gradient",
        "name",
        "fsg",
        "ste",
        "optimizer",
        "lr",
        "seed",
        "12:30:45",
        "2026-11-21",
        "\t",
        "\x00",
        "é",
    ]
)


@given(parts=st.lists(FRAGMENTS, max_size=24))
@settings(max_examples=600, deadline=None)
def test_any_yaml_like_text_gives_a_trial_or_a_refusal(tmp_path_factory, parts):
    path = written(tmp_path_factory.getbasetemp(), "".join(parts))
    try:
        trial = load_trial(path)
    except ConfigError as error:
        assert str(path) in str(error)
        str(error).encode()
    else:
        trial.identity()


@given(text=st.text(max_size=30) | st.lists(FRAGMENTS, max_size=8).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_setting_value_is_read_as_something(text):
    untyped(parse_value(text))


def test_typed_values_have_yaml_types():
    values = {"1": 1, "1e-3": 1e-3, "true": True, "null": None, "": None, "[1, 2]": [1, 2], "text": "text", "{": "{"}
    assert {text: untyped(parse_value(text)) for text in values} == values


def test_field_names_cover_every_kind_of_a_section():
    names = field_names(TrialConfig)
    assert {"epochs", "gradient", "gradient.hgs", "gradient.slow.d_state", "gradient.lr", "quantizer.bits"} <= set(
        names
    )
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("epochs: 3\noptimzer: adam\n", 2, 'unknown key "optimzer". Did you mean "optimizer"?'),
        ("optimizer:\n  name: adam\n  rl: 1\n", 3, 'unknown key "optimizer.rl". Did you mean "optimizer.lr"?'),
        ("gradient:\n  name: fsg\n  hgss: true\n", 3, 'unknown key "gradient.hgss". Did you mean "gradient.hgs"?'),
        (
            "gradient:\n  slow:\n    d_stat: 2\n",
            3,
            'unknown key "gradient.slow.d_stat". Did you mean "gradient.slow.d_state"?',
        ),
        (
            "gradient:\n  name: ste\n  hgs: true\n",
            3,
            'unknown key "gradient.hgs". Allowed in gradient: name. "hgs" belongs to gradient fsg.',
        ),
        ("epochs: 3\nlr: 0.1\n", 2, 'unknown key "lr". Did you mean "optimizer.lr"?'),
        ("batch_size: 8\n", 1, 'unknown key "batch_size". Did you mean "data.batch_size"?'),
        ("gradient: {lr: 0.1}\n", 1, 'unknown key "gradient.lr". Did you mean "gradient.fast.lr"?'),
        ("gradient: {name: ste, lr: 1}\n", 1, 'unknown key "gradient.lr". Did you mean "optimizer.lr"?'),
        ("gradeint:\n  lre: false\n", 1, 'unknown key "gradeint". Did you mean "gradient"?'),
        ("training: {batch_size: 2}\n", 1, 'unknown key "training". Did you mean "data.batch_size"?'),
        ("optimizer.lr: 0.1\n", 1, 'unknown key "optimizer.lr". Write a section as a mapping: optimizer: {lr: ...}.'),
        (
            "gradient: {fsg: maybe}\n",
            1,
            "\"gradient.fsg\" is 'maybe': input should be a valid boolean. Write true or false.",
        ),
        ("optimizer: {lr: 6:0}\n", 1, "A number is written with digits and a decimal point, as in 1000, 0.5 or 1e-3."),
        ("gradient:\n  fsg: 3\n", 2, '"gradient.fsg" is 3: input should be a valid boolean.'),
        (
            "a: 1\ngradient: fgs\n",
            2,
            "\"gradient\" is 'fgs', allowed: ste, ema, ",
        ),
        ("model: digits_cn\n", 1, "\"model.name\" is 'digits_cn', allowed: digits_cnn, resnet8, resnet20"),
        ("epochs: 0\n", 1, '"epochs" is 0: input should be greater than or equal to 1.'),
        ("epochs: 2.5\n", 1, '"epochs" is 2.5: input should be a valid integer'),
        ("epochs: true\n", 1, '"epochs" is True: input should be a valid integer'),
        ("optimizer: {lr: .nan}\n", 1, '"optimizer.lr" is nan: input should be a finite number.'),
        ("optimizer: {lr: fast}\n", 1, "\"optimizer.lr\" is 'fast': input should be a valid number."),
        ("epochs: 2\nschedule: {warmup_epochs: 2}\n", 1, "schedule.warmup_epochs is 2, but training has 2 epochs"),
        ("\noptimizer: {name: adam, momentum: 0.9}\n", 2, '"optimizer": momentum is 0.9, but adam '),
        ("device: tpu\n", 1, "\"device\" is 'tpu': string should match pattern"),
    ],
)
def test_a_refused_value_says_where_what_and_what_is_allowed(tmp_path, text, line, message):
    with pytest.raises(ConfigError) as caught:
        load_trial(written(tmp_path, text))
    lines = str(caught.value).splitlines()
    assert any(found.startswith(f"{tmp_path}/study.yaml:{line}: ") and message in found for found in lines), lines


def test_every_refused_value_has_a_line_of_its_own(tmp_path):
    with pytest.raises(ConfigError) as caught:
        load_trial(written(tmp_path, "epochs: 0\nseed: -1\ndtype: float16\n"))
    assert [line.split(": ")[0][-1] for line in str(caught.value).splitlines()] == ["1", "2", "3"]


def test_a_refusal_within_a_part_of_the_file_names_that_part(tmp_path):
    source = read_yaml(written(tmp_path, "arms:\n  no_lre:\n    epochs: 0\n"))
    with pytest.raises(ConfigError) as caught:
        parse_trial(source.data["arms"]["no_lre"], source, ("arms", "no_lre"), 'arm "no_lre": ')
    assert str(caught.value).startswith(f'{tmp_path}/study.yaml:3: arm "no_lre": "epochs" is 0')
