"""How a benchmark keeps what it measured: a JSON file with date, command, versions and machine beside the numbers."""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

# What is measured starts as on a user's machine, with its bytecode kept.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
RESULTS = Path(__file__).parent / "results"
FIGURES = Path(__file__).parents[1] / "docs" / "figures"


def write(name: str, settings: dict[str, Any], body: dict[str, Any], packages: tuple[str, ...] = ()) -> Path:
    """Write ``results/<name>.json`` and return its path; ``packages`` are listed with their versions beside torch and numpy."""
    record = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *map(_shown, sys.argv[1:])]),
        "versions": {"python": platform.python_version()} | {p: version(p) for p in ("torch", "numpy", *packages)},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPU cores",
        "settings": settings,
        **body,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def table(header: list[str], rows: list[list[str]]) -> str:
    """Rows under their header, the first column left, the others right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = [
        [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))]
        for r in [header, *rows]
    ]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """The same as a Markdown table, for the documents that quote it."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])


def read(name: str) -> dict[str, Any]:
    """What ``results/<name>.json`` holds."""
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def _shown(word: str) -> str:
    """A word of the command; of a path its last name, for where it lies is this machine's."""
    return Path(word).name if word.startswith("/") else word
