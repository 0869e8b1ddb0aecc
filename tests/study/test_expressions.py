"""A path of a search space whose value follows from others, as a learning rate from the batch size."""

import math

import pytest

from fsg.config import parse_trial
from fsg.errors import ConfigError
from fsg.search.configurations import configuration
from fsg.study.constraints import parse_term
from fsg.study.spec import load_study, to_yaml

RULE = "0.1 * (data.batch_size / 128 if optimizer.name == 'sgd' else sqrt(data.batch_size / 128))"
SWEEP = """name: batches
base: {gradient: ste, epochs: 2, optimizer: {name: sgd, lr: 0.5}}
metric: {name: val_accuracy, mode: max}
space:
  data.batch_size: {choice: [32, 128, 512]}
  optimizer.name: {choice: [sgd, adam]}
  optimizer.lr: {expression: "RULE"}
search: {trials: 4, sampler: random}
"""


def sweep(tmp_path, rule=RULE, **replaced):
    text = SWEEP.replace("RULE", rule)
    for old, new in replaced.items():
        text = text.replace(old, new)
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return load_study(path)


def test_the_rate_is_in_proportion_to_the_batch_for_sgd_and_to_its_root_for_adam(tmp_path):
    spec = sweep(tmp_path)
    for name, grows in (("sgd", lambda share: share), ("adam", math.sqrt)):
        for batch in (32, 128, 512):
            point = {"data.batch_size": batch, "optimizer.name": name}
            found = configuration(spec, point).trial(spec, 0).config
            assert found.optimizer.lr == pytest.approx(0.1 * grows(batch / 128))
            assert found.data.batch_size == batch and found.optimizer.name == name


def test_it_is_not_searched_and_a_trial_is_found_again_by_what_is(tmp_path):
    spec = sweep(tmp_path)
    assert spec.space.paths == ("data.batch_size", "optimizer.name") and spec.space.size == 6
    point = {"data.batch_size": 512, "optimizer.name": "adam"}
    trial = spec.space.resolve(spec.base, point)
    assert spec.space.point_of(trial.model_dump()) == point and spec.space.outside(trial.model_dump()) == {}


def test_it_is_written_as_it_was_read(tmp_path):
    spec = sweep(tmp_path)
    (tmp_path / "again.yaml").write_bytes(to_yaml(spec))
    assert load_study(tmp_path / "again.yaml") == spec


def test_what_the_space_leaves_out_is_the_bases(tmp_path):
    spec = sweep(tmp_path, "data.batch_size / 1000", **{"  optimizer.name: {choice: [sgd, adam]}\n": ""})
    assert spec.space.resolve(spec.base, {"data.batch_size": 32}).optimizer.lr == pytest.approx(0.032)


def test_a_whole_number_stays_one_where_its_field_takes_no_other(tmp_path):
    text = SWEEP.replace("optimizer.lr", "gradient.length").replace("gradient: ste", "gradient: fsg")
    path = tmp_path / "lengths.yaml"
    path.write_text(text.replace("RULE", "data.batch_size / 32"))
    spec = load_study(path)
    length = spec.space.resolve(spec.base, {"data.batch_size": 128, "optimizer.name": "sgd"}).gradient.length
    assert length == 4 and type(length) is int


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("0.1 * data.batchsize", r'the trial configuration has no "data.batchsize".* Did you mean "data.batch_size"'),
        ("0.1 *", "is no expression"),
        ("__import__('os')", "is not allowed in a constraint or an expression"),
        ("0.1", "names no path, so it is the same in every trial; write its value"),
        ("optimizer.lr * 2", 'names "optimizer.lr", which is an expression itself'),
        ("-data.batch_size", r'"optimizer\.lr" is -\d+'),
        ("1 / (data.batch_size - 32)", "cannot be computed"),
        ("model.name * 2", "cannot be computed"),
    ],
)
def test_an_impossible_expression_is_refused_with_its_line(rule, said, tmp_path):
    with pytest.raises(ConfigError, match=said) as refused:
        sweep(tmp_path, rule)
    assert "sweep.yaml:7" in str(refused.value)


def test_how_long_a_trial_is_follows_from_nothing(tmp_path):
    with pytest.raises(ConfigError, match=r"sweep.yaml:7: .*schedulers must know how long a trial can be"):
        sweep(tmp_path, "640 / data.batch_size", **{"optimizer.lr:": "epochs:"})


def test_terms_are_computed_as_they_read():
    assert parse_term("2 ** 3 + sqrt(a)").value({"a": 16}) == 12
    assert parse_term("1 if a > 2 and b == 'x' else 0").value({"a": 3, "b": "x"}) == 1
    with pytest.raises(ValueError, match="names no path"):
        parse_term("1 + 1")
    with pytest.raises(ValueError, match="has no value in this trial"):
        parse_term("gradient.length").value({})


def test_a_trial_without_a_search_knows_nothing_of_it():
    with pytest.raises(ConfigError):
        parse_trial({"optimizer": {"lr": {"expression": "data.batch_size"}}})
