"""Links out of ``docs/``, which a site cannot follow: each becomes the path of its file, which must be there.

MkDocs checks the links between pages itself. Proof: ``tests/test_site.py``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[2]
_OUTSIDE = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]*)(?:#[^)\s]*)?\)")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """The page with such links written out. PluginError, which ends the build, for one that leads nowhere."""
    here = (ROOT / "docs" / page.file.src_uri).parent

    def written(found: re.Match[str]) -> str:
        target = (here / found[2]).resolve()
        if target.is_relative_to(ROOT / "docs"):
            return found[0]
        if not target.exists():
            raise PluginError(f"docs/{page.file.src_uri}: the link {found[2]} leads nowhere.")
        path = str(target.relative_to(ROOT))
        return f"`{path}`" if found[1].strip("`") == path else f"{found[1]} (`{path}`)"

    return _OUTSIDE.sub(written, markdown)
