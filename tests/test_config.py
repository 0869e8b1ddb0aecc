"""Proof of fsg/config.py: defaults, short forms, settings, merging, and an identity that means one trial."""

import hashlib
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from fsg.catalogue.gradients import Fsg
from fsg.config import TrialConfig, canonical_json, digest, load_trial, merge, nested, parse_setting, parse_trial
from fsg.errors import ConfigError

NAMES = st.sampled_from(["a", "b", "c", "name", "d"])
LEAVES = st.integers(0, 5) | st.sampled_from(["x", "y"]) | st.booleans() | st.none()
TREES = st.dictionaries(
    NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, max_size=3)), max_size=4
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_all_defaults_are_a_trial():
    trial = parse_trial({})
    assert (trial.model.name, trial.gradient.name, trial.optimizer.name) == ("digits_cnn", "fsg", "adam")
    assert load_trial(None) == trial


def test_a_bare_name_is_short_for_a_section():
    short = {"model": "resnet20", "quantizer": "bwn", "gradient": "ste", "optimizer": "sgd", "data": "cifar10"}
    long = {section: {"name": name} for section, name in short.items()}
    assert parse_trial(short) == parse_trial(long)


def test_a_section_without_a_name_is_of_the_default_kind():
    trial = parse_trial({"gradient": {"lre": False}, "quantizer": {"bits": 2}})
    assert isinstance(trial.gradient, Fsg)
    assert not trial.gradient.lre
    assert trial.quantizer.name == "dorefa"


def test_a_trial_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        parse_trial({}).epochs = 3


def test_without_gradient_storage_only_the_newest_gradient_is_seen():
    assert Fsg(length=7).history_length == 7
    assert Fsg(length=7, hgs=False).history_length == 1


def test_an_image_folder_must_be_named():
    with pytest.raises(ConfigError, match=r"data\.root must name the folder"):
        parse_trial({"data": "image_folder"})


def test_a_resolved_trial_resolves_to_itself():
    trial = parse_trial(
        {"gradient": {"name": "multi_fc", "gain": "free"}, "optimizer": {"name": "sgd", "momentum": 0.9}}
    )
    assert parse_trial(trial.model_dump()) == trial
    assert parse_trial(json.loads(canonical_json(trial.model_dump()))) == trial


def test_identity_is_the_same_on_another_device_and_another_with_any_other_value():
    base = parse_trial({})
    assert parse_trial({"device": "cuda:1"}).identity() == base.identity()
    others = [{"seed": 1}, {"epochs": 16}, {"gradient": {"beta": 0.4}}, {"data": {"split_seed": 1}}]
    assert len({digest(parse_trial(o).identity()) for o in [{}, *others]}) == 5


def test_a_digest_is_the_same_on_every_machine():
    text = r'{"a":[1,2.5,null,"\u00e9"]}'
    assert digest({"a": [1, 2.5, None, "é"]}) == hashlib.sha256(text.encode()).hexdigest()[:12] == "2a30e3d7f3e1"


def test_settings_are_laid_over_the_file_in_order(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text("gradient: {name: fsg, lre: true}\nepochs: 3\n")
    trial = load_trial(path, ["gradient.lre=false", "optimizer.lr=1e-4", "epochs=4", "epochs=5"])
    assert (trial.gradient.lre, trial.optimizer.lr, trial.epochs) == (False, 1e-4, 5)


def test_the_file_is_not_changed_by_settings(tmp_path):
    path = tmp_path / "trial.yaml"
    path.write_text("epochs: 3\n")
    load_trial(path, ["epochs=4"])
    assert load_trial(path).epochs == 3


@pytest.mark.parametrize("text", ["epochs", "=3", "a..b=1", ".a=1", "a.=1", " =1"])
def test_a_setting_without_path_or_value_is_refused(text):
    with pytest.raises(ConfigError, match=r"expected key\.path=value"):
        parse_setting(text)


def test_a_setting_may_hold_an_equals_sign():
    assert parse_setting("data.root=/a=b") == ("data.root", "/a=b")


def test_an_unknown_setting_names_the_nearest():
    with pytest.raises(ConfigError, match=r'unknown key "gradient.lree". Did you mean "gradient.lre"\?'):
        load_trial(None, ["gradient.lree=false"])


def test_nested_puts_a_value_at_the_end_of_a_path():
    assert nested("a.b.c", 1) == {"a": {"b": {"c": 1}}}


def test_a_section_that_changes_its_name_starts_afresh():
    base = {"optimizer": {"name": "sgd", "momentum": 0.9}, "epochs": 3}
    assert merge(base, {"optimizer": "adam"}) == {"optimizer": {"name": "adam"}, "epochs": 3}
    assert merge(base, {"optimizer": {"name": "adam", "lr": 1}})["optimizer"] == {"name": "adam", "lr": 1}


def test_a_section_that_keeps_its_name_keeps_its_options():
    base = {"optimizer": {"name": "sgd", "momentum": 0.9}}
    expected = {"name": "sgd", "momentum": 0.9, "lr": 1}
    assert merge(base, {"optimizer": {"lr": 1}})["optimizer"] == expected
    assert merge(base, {"optimizer": {"name": "sgd", "lr": 1}})["optimizer"] == expected
    assert merge({"optimizer": "sgd"}, {"optimizer": {"lr": 1}})["optimizer"] == {"name": "sgd", "lr": 1}
    assert merge(base, {"optimizer": "sgd"}) == base


@pytest.mark.parametrize(
    ("section", "options", "default", "other"),
    [
        ("gradient", {"hgs": False}, "fsg", "ste"),
        ("optimizer", {"lr": 0.5}, "adam", "sgd"),
        ("quantizer", {"bits": 2}, "dorefa", "bwn"),
        ("schedule", {"warmup_epochs": 1}, "cosine", "step"),
    ],
)
def test_naming_the_default_kind_of_a_section_that_names_none_keeps_its_options(section, options, default, other):
    base = {section: options}
    assert merge(base, {section: default}) == {section: {**options, "name": default}}
    assert merge(base, {section: {"name": default}}) == {section: {**options, "name": default}}
    assert merge(base, {section: other})[section] == {"name": other}
    assert merge(base, {section: {"name": other}})[section] == {"name": other}


@given(TREES)
def test_merging_nothing_changes_nothing(tree):
    assert merge(tree, {}) == tree
    assert merge({}, tree) == tree


@given(TREES)
def test_merging_a_tree_with_itself_changes_nothing(tree):
    assert merge(tree, tree) == tree


@given(TREES, TREES)
def test_merging_twice_is_merging_once(base, over):
    once = merge(base, over)
    assert merge(once, over) == once


@given(TREES, TREES)
def test_merging_leaves_its_arguments_alone(base, over):
    before = canonical_json([base, over])
    merge(base, over)
    assert canonical_json([base, over]) == before


@given(TREES, st.integers())
def test_a_value_laid_over_is_found_where_it_was_laid(base, value):
    assert merge(base, {"d": {"e": value}})["d"]["e"] == value


@given(JSON)
def test_canonical_json_is_one_text_for_equal_data(value):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


def test_canonical_json_does_not_depend_on_the_order_of_keys():
    assert canonical_json({"b": 1, "a": 2}) == '{"a":2,"b":1}' == canonical_json({"a": 2, "b": 1})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json(float("nan"))


def test_a_digest_is_the_start_of_a_longer_one():
    assert digest({"a": 1}, 64).startswith(digest({"a": 1}))
    assert len(digest({"a": 1})) == 12


def test_a_trial_is_checked_without_torch():
    code = (
        "import sys, fsg.config; fsg.config.parse_trial({})\n"
        "print([m for m in ('torch', 'ray', 'mlflow') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_only_the_names_of_kinds_decide_a_kind():
    assert TrialConfig.model_validate({"gradient": {"name": "scalar", "lr": 0.1}}).gradient.lr == 0.1
