"""The JSON Schema of study files: it takes what fsg takes and sees mistakes, and no key is without a meaning."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator

from fsg.cli.schema import schema_text
from fsg.section import Section, meanings, summary
from fsg.study.schema import study_schema, without_meaning
from fsg.study.spec import load_study
from fsg.yaml_source import read_yaml

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.usefixtures("no_guests_domains")
FILES = [*sorted(ROOT.glob("ablations/*.yaml")), *sorted(ROOT.glob("search_spaces/*.yaml"))]
# A plug-in's parts stand in a schema of its own.
SHIPPED = [path for path in FILES if "\nplugins:" not in path.read_text()]
ABLATION = {"name": "one", "seeds": 3, "metric": {"name": "val_accuracy", "mode": "max"}, "baselines": ["ste", "ema"]}
SWEEP = {
    "name": "two",
    "metric": {"name": "val_accuracy", "mode": "max"},
    "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}},
    "search": {"trials": 3},
}


@pytest.fixture(scope="module")
def schema():
    made = study_schema()
    Draft7Validator.check_schema(made)
    return Draft7Validator(made)


def problems(schema, data):
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(data)]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_study_names_its_schema_and_keeps_it(path, schema):
    last = path.read_text().splitlines()[-1]
    assert last == "# yaml-language-server: $schema=../docs/study.schema.json"
    assert problems(schema, read_yaml(path).data) == []


def test_the_shipped_schemas_are_those_of_the_typed_tree():
    anew = "write it anew: fsg schema --out "
    assert (ROOT / "docs" / "study.schema.json").read_text() == schema_text(), anew + "docs/study.schema.json"


@pytest.mark.parametrize(
    "data",
    [
        ABLATION | {"base": {"gradient": {"lre": "off", "beta": 0.3}}},
        ABLATION | {"seeds": [0, 1, 5]},
        ABLATION | {"seeds": {"min": 3, "max": 9, "until": "half_width <= 0.3"}},
        ABLATION | {"baselines": {"ema": {"gradient": {"beta": 0.9}}, "ste": {}}},
        ABLATION | {"design": {"kind": "cross", "models": ["digits_cnn"], "optimizers": {"slow": {"name": "sgd", "lr": 0.1}}}},
        ABLATION | {"design": {"kind": "full_factorial", "components": {"both": ["hgs", "lre"], "mix": {"off": {"epochs": 2}}}}},
        ABLATION | {"base": {"model": {"float_layers": "first", "activations": {"name": "sign", "surrogate": "ede"}}}},
        ABLATION | {"base": {"quantizer": {"bits": {"rule": "hawq", "average": 2}}, "optimizer": "lion"}},
        ABLATION | {"arms": {"part": {"quantizer": {"bits": {"average": 3}}}}, "base": {"quantizer": {"layers": {"conv1": 4}}}},
        SWEEP | {"space": {"gradient.length": {"randint": [2, 8], "when": {"gradient.hgs": True}}, "gradient.hgs": True}},
        SWEEP | {"scheduler": "asha", "budget": {"wall_time": "90m"}, "start_from": [{"point": {"optimizer.lr": 0.1}}]},
    ],
    ids=lambda data: json.dumps({key: data[key] for key in data if data[key] != ABLATION.get(key)})[:60],
)  # fmt: skip
def test_shorthands_and_parts_of_sections_are_taken_as_fsg_takes_them(data, schema, tmp_path):
    assert problems(schema, data) == []
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(data).replace("'off'", "off"))
    assert load_study(tmp_path / "study.yaml").name == data["name"]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (ABLATION | {"base": {"gradient": {"name": "fsg", "betta": 0.3}}}, "betta"),
        (ABLATION | {"base": {"epochs": 0}}, "minimum"),
        (ABLATION | {"base": {"seed": 1}}, "seed"),
        (ABLATION | {"metric": {"name": "val_acuracy", "mode": "max"}}, "val_acuracy"),
        ({key: ABLATION[key] for key in ("name", "metric")}, "seeds"),
        (SWEEP | {"seeds": 3}, "seeds"),
        (SWEEP | {"space": {"optimizer.lrr": 0.1}}, "optimizer.lrr"),
        (SWEEP | {"space": {"optimizer.lr": {"loguniform": [1e-4]}}}, "loguniform"),
    ],
)
def test_a_mistake_is_seen(data, word, schema):
    assert word in " ".join(problems(schema, data))


def test_every_key_has_a_meaning():
    assert without_meaning() == [], "say what it means under Args: in the docstring of its class"


def test_the_schema_says_default_range_and_meaning():
    defs = study_schema()["$defs"]
    length = defs["Fsg"]["properties"]["length"]
    assert (length["default"], length["minimum"], length["maximum"]) == (5, 1, 1024)
    assert length["description"] == "Gradients that are kept of each weight."
    assert "RMS" in defs["Space"]["properties"]["gradient.gain"]["description"]
    assert defs["TrialConfig"]["properties"]["gradient"]["default"] == "fsg"


def test_meanings_are_read_from_the_docstring_and_from_that_of_the_parent():
    class Parent(Section):
        """A parent.

        Args:
            lr: A rate.
        """

        lr: float = 1.0

    class Child(Parent):
        """A child
        of two lines.

        Args:
            size: How large, over
                two lines.
        """

        size: int = 1
        bare: int = 1

    assert meanings(Child) == {"lr": "A rate.", "size": "How large, over two lines."}
    assert summary(Child) == "A child\nof two lines."
