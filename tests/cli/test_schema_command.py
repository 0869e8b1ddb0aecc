"""``fsg schema``: printed or written, with the parts of plug-ins; and the schema that a new study comes with."""

import json
from pathlib import Path

import pytest
from command_line import run_main
from jsonschema import Draft7Validator

from fsg.yaml_source import read_yaml

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.usefixtures("no_guests_domains")
PLUGINS = ("own_network.py", "own_estimator.py", "own_data.py")


def test_the_schema_is_printed_or_written(monkeypatch, tmp_path):
    printed = run_main(monkeypatch, tmp_path, "schema")
    said = run_main(monkeypatch, tmp_path, "schema", "--out", "s.json")
    assert (printed.code, said.code) == (0, 0)
    assert "# yaml-language-server: $schema=s.json" in said.out
    assert json.loads(printed.out) == json.loads((tmp_path / "s.json").read_text())


def test_parts_of_plug_ins_are_in_it(monkeypatch, tmp_path):
    named = [word for file in PLUGINS for word in ("--plugin", str(EXAMPLES / file))]
    made = json.loads(run_main(monkeypatch, tmp_path, "schema", *named).out)
    study = read_yaml(EXAMPLES / "own_parts.yaml").data
    assert list(Draft7Validator(made).iter_errors(study)) == []
    study["base"]["data"]["noize"] = 1
    assert any("noize" in error.message for error in Draft7Validator(made).iter_errors(study))
    assert made == json.loads((EXAMPLES / "own_parts.schema.json").read_text()), (
        "write it anew: fsg schema --plugin ... --out"
    )


def test_a_new_study_comes_with_its_schema(monkeypatch, tmp_path):
    said = run_main(monkeypatch, tmp_path, "new", "study", "mine")
    assert said.code == 0, said.err
    text = (tmp_path / "mine.yaml").read_text()
    assert text.endswith("\n# yaml-language-server: $schema=mine.schema.json\n")
    schema = Draft7Validator(json.loads((tmp_path / "mine.schema.json").read_text()))
    assert list(schema.iter_errors(read_yaml(tmp_path / "mine.yaml").data)) == []
