"""docs/api.md says what the docstrings of fsg's public names say."""

import runpy
from pathlib import Path

import fsg
import fsg.testing

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_what_the_docstrings_say():
    made = runpy.run_path(str(DOCS / "api_page.py"))
    assert (DOCS / "api.md").read_text() == made["page"](), "write it anew: python docs/api_page.py"


def test_every_public_name_is_on_the_page_and_has_a_docstring():
    text = (DOCS / "api.md").read_text()
    for module in (fsg, fsg.testing):
        for name in module.__all__:
            assert f"### `{module.__name__}.{name}`" in text, name
            assert getattr(module, name).__doc__
