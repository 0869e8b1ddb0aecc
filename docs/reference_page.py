"""Writes docs/reference.md, every key of a study file, from the JSON Schema of the typed tree: python docs/reference_page.py

Proof: ``tests/test_reference_page.py``, which fails where the page is not what this writes, and for a key without a meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsg.study.schema import study_schema

Json = dict[str, Any]
PAGE = Path(__file__).with_name("reference.md")
HEAD = """# Every key of a study file

Written by `python docs/reference_page.py` from the typed tree that reads the files. A file with `space`, `search` or `scheduler`
is a sweep, any other an ablation. Where a key takes kinds, the kind's name alone is short for `{name: ...}` with nothing else
changed. Flags take `true`, `false`, `on`, `off`, `yes` and `no`.

An editor with the YAML language server (VS Code's extension YAML, Neovim, Emacs) completes these keys, shows their meaning and
marks mistakes while you type: the last line of every shipped file and of what `fsg new study` writes names the schema,
`# yaml-language-server: $schema=...`. `fsg schema --out FILE` writes it; with `--plugin my_nets.py` it knows your own parts too.
"""
ROOTS = {"AblationSpec": "An ablation", "SweepSpec": "A sweep", "TrialConfig": "A trial"}
NUMBERS = {"integer": "whole number", "number": "number"}


def page() -> str:
    """The whole page."""
    schema = study_schema()
    defs = schema["$defs"]
    titles = _titles(defs)
    parts = [HEAD]
    for name, title in titles.items():
        if name not in ("Space", "Domain"):
            level = "##" if name in ROOTS else "###"
            parts.append(f"{level} {title}\n\n{_text(defs[name]['description'])}\n\n{_table(defs[name], titles)}")
    return "\n".join([*parts, _domains(defs["Domain"])])


def _titles(defs: Json) -> dict[str, str]:
    """Definition -> heading, in the order in which the page has them: each root, then what its keys lead to."""
    found = dict(ROOTS)
    order: dict[str, str] = {}
    for root, heading in ROOTS.items():
        order[root] = heading
        waiting = [(root, "")]
        while waiting:
            name, prefix = waiting.pop(0)
            for key, value in defs[name].get("properties", {}).items():
                for child in dict.fromkeys(_refs(value)):
                    if child not in found:
                        found[child] = order[child] = _title(defs, root, prefix + key, child, order.values())
                        waiting.append((child, f"{prefix}{key}."))
    return order


def _title(defs: Json, root: str, path: str, child: str, taken: Any) -> str:
    """``gradient: fsg`` for a kind, else the key that leads to it."""
    kind = next((each for key in ("name", "kind") if (each := defs[child].get("properties", {}).get(key))), {})
    words = kind.get("enum") or ([kind["const"]] if "const" in kind else [])
    tagged = words and len(words) < 9 and child not in ("MetricSpec", "SearchMetricSpec")
    title = f"`{path}: {', '.join(words)}`" if tagged else f"`{path}`"
    return title if title not in taken else f"{title} of {ROOTS[root].lower()}"


def _refs(value: Any) -> Iterator[str]:
    """The definitions that a key's schema names."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner.rpartition("/")[2]
            else:
                yield from _refs(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _refs(inner)


def _table(section: Json, titles: dict[str, str]) -> str:
    rows = ["| key | values | default | meaning |", "|---|---|---|---|"]
    required = section.get("required", ())
    for key, value in section.get("properties", {}).items():
        if key in ("name", "kind") and "const" in value:
            continue  # the heading says it
        default = "needed" if key in required else _default(value)
        rows.append(f"| `{key}` | {_values(value, titles)} | {default} | {_text(value['description'])} |")
    return "\n".join(rows) + "\n" if len(rows) > 2 else "It has no options.\n"


def _default(value: Json) -> str:
    if "default" not in value or value["default"] == "":
        return ""
    default = value["default"]
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _values(value: Json, titles: dict[str, str]) -> str:
    """What a key takes, in words."""
    if "$ref" in value:
        return _link(value["$ref"].rpartition("/")[2], titles)
    if "anyOf" in value:
        return _any(value["anyOf"], titles)
    if "const" in value:
        return f"`{value['const']}`"
    if "enum" in value:
        return ", ".join(f"`{word}`" for word in value["enum"])
    kind = value.get("type")
    if kind in NUMBERS:
        return NUMBERS[kind] + _range(value)
    if kind == "array":
        return f"list of {_values(value['items'], titles)}" if value.get("items") else "list"
    if kind == "object":
        inner = value.get("additionalProperties")
        return f"name -> {_values(inner, titles)}" if isinstance(inner, dict) and inner else "mapping"
    return {"string": "text", "boolean": "true or false", "null": "null"}.get(str(kind), "any value")


def _any(options: list[Json], titles: dict[str, str]) -> str:
    """Several things that a key takes; a list of names goes without saying where the kinds follow."""
    if {"type": "boolean"} in options:
        options = [each for each in options if "enum" not in each]
    kinds = [each for each in options if "$ref" in each]
    shown = [each for each in options if not (kinds and "enum" in each) and not (kinds and "pattern" in each)]
    return " or ".join(dict.fromkeys(_values(each, titles) for each in shown))


def _range(value: Json) -> str:
    low, above = value.get("minimum"), value.get("exclusiveMinimum")
    high, below = value.get("maximum"), value.get("exclusiveMaximum")
    low, above, high, below = (None if each is None else _number(each) for each in (low, above, high, below))
    parts = [f" from {low}"] if low is not None else [f" above {above}"] if above is not None else []
    parts += [f" to {high}"] if high is not None else [f" below {below}"] if below is not None else []
    return "".join(parts)


def _number(number: float) -> str:
    bits = int(number).bit_length() - 1
    return (
        f"2^{bits}" if bits > 20 and number == 2**bits else f"{number:,}" if isinstance(number, int) else f"{number:g}"
    )


def _link(name: str, titles: dict[str, str]) -> str:
    if name in ("Space", "Domain"):
        return "[a space](#values-of-a-space)" if name == "Space" else "[a domain](#values-of-a-space)"
    if name == "TrialConfig":
        return "keys of [a trial](#a-trial)"
    title = titles[name]
    shown = f"`{title.strip('`').partition(': ')[2]}`" if ": " in title else title
    return f"[{shown}](#{_slug(title)})"


def _slug(title: str) -> str:
    """As GitHub and MkDocs make an anchor of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower())


def _domains(domain: Json) -> str:
    """The kinds of values that a path of a space may take."""
    rows = [
        "## Values of a space\n",
        "A space maps a path of [a trial](#a-trial), as `optimizer.lr` or `gradient.slow.d_state`, to a value, the same in",
        "every trial, or to one of these. With `when: {other.path: value}` beside it, it is set only where the other path has",
        "that value.\n",
        "| written | meaning |",
        "|---|---|",
    ]
    for kind in domain["anyOf"][1:]:
        name, written = next(iter(kind["properties"].items()))
        rows.append(f"| `{name}: {_example(written)}` | {_text(kind['description'])} |")
    return "\n".join(rows) + "\n"


def _example(written: Json) -> str:
    if written.get("type") != "array":
        return "..."
    return f"[{', '.join(['low', 'high', 'q'][: written['maxItems']])}]" if "maxItems" in written else "[a, b, ...]"


def _text(text: str) -> str:
    """Of a table's cell: one line, names in single backticks, bars that end no cell."""
    return " ".join(text.replace("``", "`").split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page())
