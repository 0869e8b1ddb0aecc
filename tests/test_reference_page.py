"""docs/reference.md says of every key what the typed tree says."""

import re
import runpy
from pathlib import Path

import pytest

from fsg.study.schema import study_schema

DOCS = Path(__file__).parents[1] / "docs"
pytestmark = pytest.mark.usefixtures("no_guests_domains")


def test_the_page_is_what_the_typed_tree_says():
    made = runpy.run_path(str(DOCS / "reference_page.py"))
    assert (DOCS / "reference.md").read_text() == made["page"](), "write it anew: python docs/reference_page.py"


def test_every_section_has_a_heading_and_every_link_leads_to_one():
    text = (DOCS / "reference.md").read_text()
    titles = re.findall(r"^##+ (.*)$", text, re.MULTILINE)
    assert len(titles) == len(study_schema()["$defs"]) - 1  # a space and its domains share one
    anchors = {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).lower()) for title in titles}
    assert set(re.findall(r"\(#([^)]*)\)", text)) <= anchors


def test_every_key_stands_on_the_page_with_its_range():
    text = (DOCS / "reference.md").read_text()
    assert "| `batch_size` | whole number from 2 to 65,536 | `64` | Images of one training step. |" in text
    assert "| `seeds` |" in text and "| `grace_epochs` |" in text and "| `optimizer` |" in text
