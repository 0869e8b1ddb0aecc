"""Writes docs/api.md from the public names of fsg and their docstrings: python docs/api_page.py

Proof: ``tests/test_api_page.py``, which fails where the page is not what this writes.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import fsg
import fsg.testing

PAGE = Path(__file__).with_name("api.md")
HEAD = """# The public interface

Written by `python docs/api_page.py` from the docstrings. `import fsg` loads each name when it is first used.
What is not here may change without a word.
"""
SECTIONS = {
    "Studies": ["run", "open_study", "Study", "load_study", "load_exported", "AblationSpec", "SweepSpec"],
    "Engines": ["LocalEngine", "RayEngine", "Resources"],
    "Trials": ["Trainer", "EpochResult", "TrialConfig", "load_trial"],
    "Parts of your own": ["register", "Section", "DataSection", "OptimizerSection", "DesignBase", "DesignArm"],
    "Errors": ["FsgError", "ConfigError", "StudyError", "StudyInterrupted"],
}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, names in SECTIONS.items():
        parts += [f"## {title}\n", *(_entry(f"fsg.{name}", getattr(fsg, name)) for name in names)]
    contracts = [_entry(f"fsg.testing.{name}", getattr(fsg.testing, name)) for name in fsg.testing.__all__]
    return "\n".join([*parts, "## Contract suites\n", *contracts])


def _entry(name: str, thing: Any) -> str:
    lines = [f"### `{name}`\n"]
    if inspect.isfunction(thing):
        lines.append(f"```python\n{name}{_signature(thing)}\n```\n")
    lines.append(_text(inspect.getdoc(thing)))
    if inspect.isclass(thing) and not issubclass(thing, BaseException):
        lines += [_member(key, value) for key, value in vars(thing).items() if _shown(key, value)] + [""]
    return "\n".join(lines)


def _signature(thing: Any) -> str:
    """As written, without the module of what annotations name."""
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", str(inspect.signature(thing)))


def _member(key: str, value: Any) -> str:
    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    call = "" if isinstance(value, property) else "()"
    first = (inspect.getdoc(inner) or "").partition("\n")[0]
    return f"- `{key}{call}`: {_marked(first)}"


def _shown(key: str, value: Any) -> bool:
    """Methods and properties of a name of their own, with a docstring."""
    inner = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    own = inspect.isfunction(inner) and bool(inspect.getdoc(inner))
    return own and not key.startswith(("_", "test_", "model_post", "teardown", "setup"))


def _text(doc: str | None) -> str:
    """A docstring as Markdown; what stands under ``Args:`` and the like is a list, other indented lines are code."""
    lines, listed = [], False
    for line in (doc or "").splitlines():
        if re.fullmatch(r"(Args|Returns|Raises):", line):
            listed = True
            lines += [line, ""]
            continue
        listed = listed and (line.startswith(" ") or not line)
        named = re.fullmatch(r"    (\w+): (.*)", line) if listed else None
        lines.append(f"- `{named[1]}`: {named[2]}" if named else line.removeprefix("      ") if listed else line)
    return _marked("\n".join(lines)) + "\n"


def _marked(text: str) -> str:
    """Names in single backticks."""
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page())
