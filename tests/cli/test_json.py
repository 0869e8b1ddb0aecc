"""What the commands print with --json is what docs/json.md says."""

import json
import re
import runpy
from pathlib import Path

import jsonschema
import pytest
from command_line import run_main
from test_verdict_command import finish

from fsg.bench.measure import Measurement

DOCS = Path(__file__).parents[2] / "docs"
SCHEMAS = {
    name: json.loads(text)
    for name, text in re.findall(
        r"^## (\w+)\n.*?```json\n(.*?)\n```", (DOCS / "json.md").read_text(), re.DOTALL | re.MULTILINE
    )
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder above two studies, of one of which two seeds are missing."""
    folder = tmp_path_factory.mktemp("json")
    finish(folder, "rates")
    finish(folder, "begun", seeds=2)
    return folder


def test_the_page_is_what_the_models_say():
    made = runpy.run_path(str(DOCS / "json_page.py"))
    assert (DOCS / "json.md").read_text() == made["page"](), "write it anew: python docs/json_page.py"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ("Verdict", ("verdict", "rates", "tuned")),
        ("Verdict", ("verdict", "begun", "tuned", "--log", "ideas.jsonl")),
        ("Ideas", ("verdict", "--log", "ideas.jsonl")),
        ("Comparison", ("compare", "rates")),
        ("Comparison", ("compare", "rates", "begun")),
        ("Power", ("power", "rates")),
        ("Status", ("status", "begun")),
        ("Studies", ("status",)),
        ("Studies", ("studies",)),
        ("Doctor", ("doctor",)),
    ],
)
def test_a_command_prints_one_object_of_its_schema(schema, words, folder, monkeypatch):
    said = run_main(monkeypatch, folder, *words, "--json")
    jsonschema.validate(json.loads(said.out), SCHEMAS[schema])
    assert said.code != 2


def test_the_bench_prints_one_object_of_its_schema_a_line(folder, monkeypatch):
    rows = [
        Measurement("step", "fsg / ste", 2.3, "x", "<= 2.5 x", True, 0.2),
        Measurement("step", "odd", float("nan"), "x"),
    ]
    monkeypatch.setattr("fsg.bench.step.run", lambda: rows)
    said = run_main(monkeypatch, folder, "bench", "step", "--json")
    first, second = map(json.loads, said.out.splitlines())
    for one in (first, second):
        jsonschema.validate(one, SCHEMAS["Measurement"])
    assert (first["value"], first["holds"], second["value"]) == (2.3, True, None)


def test_the_comparison_as_json_has_every_number_of_the_table(folder, monkeypatch):
    found = json.loads(run_main(monkeypatch, folder, "compare", "rates", "--json").out)
    (block,) = found["blocks"]
    assert (block["reference"], block["baseline"]) == ("tuned", "ste")
    rows = {row["arm"]: row for row in block["arms"]}
    assert rows["slow"]["vs_baseline"]["estimate"] == pytest.approx(-2.1)
    assert rows["slow"]["vs_baseline_marks"]["differs"] is True and rows["ste"]["vs_baseline"] is None
    assert [seed["seed"] for seed in rows["ste"]["seeds"]] == [0, 1, 2, 3, 4, 5]


def test_a_study_without_a_number_has_null(folder, monkeypatch):
    found = json.loads(run_main(monkeypatch, folder, "verdict", "begun", "tuned", "--json").out)
    assert found["answer"] == "not yet known"
    assert (found["effect"]["low"], found["effect"]["n"]) == (None, 2)
    assert found["more_seeds"]["likely"] > 0 and found["more_seeds"]["hours"] is not None
