"""Writes docs/json.md from the models of fsg/report/schemas.py: python docs/json_page.py

Proof: ``tests/cli/test_json.py``, which fails where the page is not what this writes, or a command prints something else.
"""

from __future__ import annotations

import json
from pathlib import Path

from fsg.report.schemas import DOCUMENTS

PAGE = Path(__file__).with_name("json.md")
HEAD = """# What commands print with --json

Written by `python docs/json_page.py` from `fsg/report/schemas.py`; the tests hold what the commands print against these schemas.
One JSON object on stdout, `fsg bench` one a line; everything else goes to stderr. A number that is not there, or not finite, is
null. A field may be added; none is renamed, removed or given another meaning. Times are unix seconds, sizes bytes.

`ablate`, `sweep` and `resume` print with `--json` an event of the ledger a line. The tools of `fsg mcp` answer with objects
of this page, too.

`fsg verdict` exits with 0 for better, 3 for worse, 4 for equivalent, 5 for not yet known; as everywhere, 2 is something that the
user can mend, 1 a failure, 130 Ctrl-C. In a shell: `fsg verdict STUDY ARM && echo better`.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([HEAD, *(_entry(document.__name__, document.model_json_schema()) for document in DOCUMENTS)])


def _entry(name: str, schema: dict[str, object]) -> str:
    text = json.dumps(schema, indent=1, ensure_ascii=False)
    return f"## {name.removesuffix('Document')}\n\n{schema['description']}\n\n```json\n{text}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page())
