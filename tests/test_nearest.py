"""Proof of fsg/nearest.py: a suggestion is the name that was meant, with its section, or none."""

import pytest

from fsg.config import TrialConfig
from fsg.nearest import did_you_mean, did_you_mean_path, nearest, nearest_path
from fsg.yaml_source import field_names

KNOWN = field_names(TrialConfig)


def test_nearest_is_none_where_nothing_is_close():
    assert nearest("slow_nett", ["slow", "fast", "slow_net"]) == "slow_net"
    assert nearest("zzz", ["slow", "fast"]) is None
    assert did_you_mean("hsg", ["hgs", "lre"]) == ' Did you mean "hgs"?'
    assert did_you_mean("zzz", ["hgs", "lre"]) == ""


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("lr", "optimizer.lr"),
        ("batch_size", "data.batch_size"),
        ("momentum", "optimizer.momentum"),
        ("bits", "quantizer.bits"),
        ("slow.lr", "gradient.slow.lr"),
        ("model.batch_size", "data.batch_size"),
        ("optimser.lr", "optimizer.lr"),
        ("optim.lr", "optimizer.lr"),
        ("gradeint.beta", "gradient.beta"),
        ("gradeint.lree", "gradient.lre"),
        ("optimizer.rl", "optimizer.lr"),
        ("epoch", "epochs"),
        ("bach_size", "data.batch_size"),
        ("weight_decy", "optimizer.weight_decay"),
        ("gradient.hgss", "gradient.hgs"),
        ("data.naem", "data.name"),
        ("zzz", None),
        ("gradient.qqq", None),
    ],
)
def test_a_path_is_found_anywhere_in_the_tree(path, meant):
    assert nearest_path(path, KNOWN) == meant


def test_a_name_that_most_sections_have_tells_nothing():
    assert nearest_path("optimizer.kind", ["model.kind", "data.kind", "optimizer.lr"]) is None
    assert did_you_mean_path("lr", ["epochs"]) == ""


def test_what_every_kind_of_a_section_has_is_meant_before_what_some_have():
    assert KNOWN.index("optimizer.lr") < KNOWN.index("gradient.lr")
    assert nearest_path("lr", ["gradient.lr", "optimizer.lr"]) == "gradient.lr", "the first of several as short"


def test_of_names_spelt_about_alike_that_of_the_same_section_is_meant():
    assert nearest_path("data.roots", ["model.roots_", "data.root_x"]) == "data.root_x"
    assert nearest_path("data.roots", ["model.roots_", "data.batch"]) == "model.roots_"
