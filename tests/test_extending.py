"""docs/extending.md: its table of facts is FACTS, its code is that of the examples, and what it names exists."""

import re
from pathlib import Path
from typing import get_args

import pytest

from fsg import testing
from fsg.cli.new import KINDS, STUDY
from fsg.parts import FACTS, Kind
from fsg.plugins import GROUP

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text()
CODE = re.findall(r"```python\n(.*?)```", TEXT, re.S)
OF_THE_SECTION = {"flops": (None, 1000, 4), "unfit": (None, None)}


def rows(heading):
    """The cells of the table under a heading, without its own two lines."""
    below = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in below.splitlines() if line.startswith("|")][2:]


def test_the_table_of_facts_is_facts():
    def default(fact, value):
        return repr(value(*OF_THE_SECTION.get(fact, (None,))) if callable(value) else value)

    known = {(kind, fact): default(fact, value) for kind, facts in FACTS.items() for fact, value in facts.items()}
    written = [(kind, fact, value) for kinds, fact, value, _ in rows("Facts") for kind in kinds.split(", ")]
    assert {(kind.strip("`"), fact.strip("`")): value.strip("`") for kind, fact, value in written} == known
    without = [kind for kind, facts in FACTS.items() if not facts]
    assert without == ["schedule", "metric", "design"] and "Schedules, metrics and designs have none." in TEXT


def test_every_kind_has_its_builder_in_the_table():
    assert {row[0].strip("`") for row in rows("What a part is")} == set(get_args(Kind)) == set(FACTS)


def test_every_contract_is_named_with_attributes_that_it_has():
    found = rows("Contract suites")
    assert {row[0].strip("`") for row in found} == set(testing.__all__) - {"Contract"}
    for name, _, attributes in found:
        for attribute in re.findall(r"`(\w+)`", attributes):
            assert hasattr(getattr(testing, name.strip("`")), attribute)


@pytest.mark.parametrize("code", CODE, ids=lambda code: code.strip().splitlines()[0][:40])
def test_code_is_that_of_an_example_or_runs(code):
    if "import" in code:
        exec(compile(code, "docs/extending.md", "exec"), {"__name__": "extending"})
    else:
        assert any(code in file.read_text() for file in (ROOT / "examples").glob("own_*.py")), code


def test_names_of_fsg_exist():
    assert f'"{GROUP}"' in TEXT
    for kind in (*KINDS, STUDY):
        assert f"`{kind}`" in TEXT
    for module, name in re.findall(r"`(fsg(?:\.\w+)*)\.(\w+)`", TEXT):
        if module == "fsg" and name in ("components", "testing"):
            continue
        assert hasattr(__import__(module, fromlist=["_"]), name), f"{module}.{name}"
