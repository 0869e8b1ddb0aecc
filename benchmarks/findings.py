"""Do the tools still surprise? Runs the scripts of ``findings/`` and says which of them no longer see what they describe.

Run: ``python -m benchmarks.findings`` (about ten minutes with ``--jobs 2``; needs bash, uv and a package registry, so it is no
part of the tests). A script exits 0 while things are as its header says; a changed one says so in a line that begins with
"changed:". Proof: ``tests/benchmarks/test_findings.py``.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parents[1] / "findings"
FIELDS = ("Date", "Packages", "Guess", "Seen", "Means")
SECONDS = 1200  # a script that installs torch and starts Ray on a busy machine


@dataclass(frozen=True)
class Header:
    """The comment at the top of a script: its title, and its fields by name."""

    title: str
    fields: dict[str, str]

    @property
    def packages(self) -> dict[str, str]:
        """Version by package."""
        return dict(package.split() for package in self.fields["Packages"].split(", "))  # type: ignore[misc]


@dataclass(frozen=True)
class Outcome:
    """What became of one script: ``said`` is its last line, of the output or of the errors."""

    name: str
    state: Literal["holds", "changed", "failed"]
    said: str
    seconds: float


def header(path: Path) -> Header:
    """The header of the script at ``path``; ValueError where it is not as findings/README.md says."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    title, _, rest = "\n".join(lines).partition("\n\n")
    found = re.split(rf"^({'|'.join(FIELDS)}): ", rest, flags=re.MULTILINE)
    fields = {name: " ".join(text.split()) for name, text in zip(found[1::2], found[2::2], strict=True)}
    if tuple(fields) != FIELDS or not all(fields.values()) or not title:
        raise ValueError(
            f"{path.name}: its header has {', '.join(fields) or 'no field'}; expected {', '.join(FIELDS)}."
        )
    return Header(" ".join(title.split()), fields)


def run(path: Path, seconds: float = SECONDS) -> Outcome:
    """Run one script, in a process group of its own, which ends with it."""
    start = time.monotonic()
    with subprocess.Popen(
        ["bash", str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, errors = process.communicate(timeout=seconds)
        except BaseException as error:
            os.killpg(process.pid, signal.SIGTERM)  # its trap removes its folder
            process.communicate()
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            return Outcome(path.name, "failed", f"no end within {seconds:g} s", time.monotonic() - start)
    took = time.monotonic() - start
    if process.returncode == 0:
        return Outcome(path.name, "holds", _last(out), took)
    changed = [line for line in errors.splitlines() if line.startswith("changed: ")]
    return Outcome(path.name, "changed" if changed else "failed", _last("\n".join(changed) or errors or out), took)


def scripts(names: Sequence[str] = (), folder: Path = FOLDER) -> list[Path]:
    """The scripts of ``names``, with or without ``.sh``; all without names. SystemExit for one that is not there."""
    have = {path.stem: path for path in sorted(folder.glob("*.sh"))}
    wanted = [name.removesuffix(".sh") for name in names]
    if unknown := [name for name in wanted if name not in have]:
        raise SystemExit(f"findings/ has no {', '.join(unknown)}. It has: {', '.join(have)}.")
    return [have[name] for name in wanted or have]


def main(arguments: Sequence[str] | None = None, folder: Path = FOLDER) -> int:
    """Run, print, count: 0 if all hold, 1 if one has changed or could not be run."""
    parser = argparse.ArgumentParser(description="Do the findings about our tools still hold?")
    parser.add_argument("names", nargs="*", help="scripts to run (default: all)")
    parser.add_argument("--jobs", type=int, default=1, help="scripts side by side (default: %(default)s)")
    given = parser.parse_args(arguments)
    done: list[Outcome] = []
    with ThreadPoolExecutor(max(1, given.jobs)) as pool:
        for outcome in pool.map(run, scripts(given.names, folder)):
            print(f"{outcome.state:8} {outcome.name} ({outcome.seconds:.0f} s): {outcome.said}", flush=True)
            done.append(outcome)
    for state, words in (("changed", "changed"), ("failed", "could not be run")):
        if names := [outcome.name for outcome in done if outcome.state == state]:
            print(f"{len(names)} {words}: {', '.join(names)}")
    return 0 if all(outcome.state == "holds" for outcome in done) else 1


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no word"])[-1]


if __name__ == "__main__":
    sys.exit(main())
