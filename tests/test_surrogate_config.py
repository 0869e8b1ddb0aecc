"""Curves and protocols as studies write them: one spelling a trial, keys of older trials as they were, bad input refused."""

import pytest

from fsg.catalogue.surrogates import Ede, Reste, Sign
from fsg.config import canonical_json, load_trial, parse_trial
from fsg.errors import ConfigError


def model(**options):
    return parse_trial({"model": options}).model


def test_sign_alone_is_the_clipped_curve_however_it_is_written():
    for written in ("sign", {"name": "sign"}, {"name": "sign", "surrogate": "clipped"}, Sign()):
        assert model(activations=written).activations == "sign"
    assert model(activations={"name": "float"}).activations == model().activations == "float"
    assert model(activations={"name": "sign", "surrogate": "ede"}).activations == Sign(surrogate=Ede())


def test_the_order_of_float_layers_says_nothing():
    for written in (["last", "first"], ["first", "last", "first"], ("first", "last")):
        assert model(float_layers=written).float_layers == ("first", "last")
    assert model(float_layers="first").float_layers == ("first",)


def test_a_trial_without_curves_and_float_layers_has_the_identity_that_it_had():
    for options in ({}, {"activations": "sign"}):
        identity = canonical_json(parse_trial({"model": options, "gradient": "ste"}).identity())
        assert "float_layers" not in identity and "surrogate" not in identity
    assert parse_trial({}).identity()["model"] == {"name": "digits_cnn", "activations": "float", "pretrained": None}


def test_a_curve_is_a_part_of_a_trials_identity_less_its_defaults():
    config = parse_trial({"gradient": {"name": "surrogate", "shape": {"name": "reste", "o_last": 2.0}}})
    assert config.gradient.shape == Reste(o_last=2.0)
    assert config.identity()["gradient"] == {"name": "surrogate", "shape": {"name": "reste", "o_last": 2.0}}
    assert parse_trial(config.model_dump()) == config


def test_settings_reach_into_a_curve():
    settings = ["gradient=surrogate", "gradient.shape=ede", "gradient.shape.t_last=20", "model.activations=sign"]
    config = load_trial(None, [*settings, "model.activations.surrogate=reste", "model.activations.surrogate.o_last=2"])
    assert config.gradient.shape == Ede(t_last=20.0)
    assert config.model.activations == Sign(surrogate=Reste(o_last=2.0))
    assert config.derive({"gradient": {"shape": "reste"}, "model": {"activations": "float"}}).gradient.shape == Reste()
    assert config.derive({"model": {"activations": "float"}}).model.activations == "float"


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (4, "gradient: {name: surrogate, shape: sine}", '"gradient.shape" is \'sine\', allowed: clipped, bireal, swish'),
        (4, "gradient: {name: surrogate, shape: {name: ede, t_first: 0}}", '"gradient.shape.t_first" is 0'),
        (4, "gradient: {name: surrogate, shape: {name: ede, t_last: 0.01}}", "t_last is 0.01, below t_first 0.1"),
        (4, "gradient: {name: surrogate, shape: {name: reste, o_last: 0.5}}", "greater than or equal to 1"),
        (4, "gradient: {name: surrogate, shape: {name: reste, inner: 2}}", "outer is 1.5, expected more than inner 2"),
        (4, "gradient: {name: surrogate, shape: {name: fda, n_last: 3}}", "n_last is 3, below n_first 9"),
        (4, "gradient: {name: surrogate, shape: {name: swish, bta: 3}}", "gradient.shape.beta"),
        (4, "gradient: {name: surrogate, shape: {t_last: 3}}", '"gradient.shape" needs a "name"'),
        (2, "activations: sin", "allowed: float, sign, or {name: sign, surrogate: ...}"),
        (2, "activations: {name: sign, surrogate: edge}", "allowed: clipped, bireal, swish, ede"),
        (2, "activations: {name: sign, surrogate: {name: ede, t_last: 1e9}}", "less than or equal to 10000"),
        (2, "activations: {name: tanh}", "sign"),
        (2, "float_layers: [first, shortcuts]", 'names "shortcuts", and no layer of digits_cnn is on one; allowed: first, last'),
        (2, "float_layers: [frist]", "allowed: first, last, shortcuts"),
        (3, "quantizer: {name: recu, tau_first: 0.4}", "greater than 0.5"),
        (3, "quantizer: {name: recu, tau_last: 0.7}", "tau_last is 0.7, below tau_first 0.85"),
        (3, "quantizer: {name: xnor, scale: median}", "allowed: mean, power_of_two"),
    ],
)  # fmt: skip
def test_what_is_out_of_range_or_names_nothing_is_refused_at_its_line(tmp_path, line, text, message):
    lines = ["model:", "  activations: float", "quantizer: dorefa", "gradient: ste"]
    lines[line - 1] = ("  " if line == 2 else "") + text
    (tmp_path / "trial.yaml").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError) as error:
        load_trial(tmp_path / "trial.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'trial.yaml'}:{line}: ")
    assert message in str(error.value)
