"""The tier of a test: what it needs to run. ``pytest -m unit`` runs one tier; docs/tests.md says what each is for.

A test is of the tier that it is marked with, else of that of the fixtures that it asks for, else ``unit``.
"""

import os
from pathlib import Path

import pytest
from support.closed.sitecustomize import VARIABLE

TIERS = ("hosts", "ray", "server", "unit", "long")  # pyproject.toml says what each has; in the order in which they run
OF_FIXTURES = {
    "shared_ray": "ray", "server": "server", "postgres": "server", "s3": "server", "bucket": "server",
    "cluster": "hosts", "slurm": "hosts",
}  # fmt: skip
CLOSED = Path(__file__).parent / "support" / "closed"


def processes(arguments: list[str]) -> int:
    """How many run the tests of these folders: two, as README's machine has two cores; 0, this one, where files are named."""
    return 0 if any(".py" in argument for argument in arguments) else 2


def tiers_of(item: pytest.Item) -> set[str]:
    """The tiers of a test; one, unless two are named or asked for."""
    marked = {mark.name for mark in item.iter_markers()} & set(TIERS)
    asked = {OF_FIXTURES[name] for name in getattr(item, "fixturenames", ()) if name in OF_FIXTURES}
    return marked or asked or {"unit"}


def mark(items: list[pytest.Item]) -> None:
    """Mark every test with its tier, and put the files with slow ones first. UsageError where a test has two tiers.

    Two processes that share files out end together where what is left in the end is small.
    """
    first: dict[Path, int] = {}
    for item in items:
        tiers = tiers_of(item)
        if len(tiers) > 1:
            raise pytest.UsageError(f"{item.nodeid}: is of the tiers {', '.join(sorted(tiers))}; mark it with one.")
        (tier,) = tiers
        item.add_marker(tier)
        first[item.path] = min(first.get(item.path, len(TIERS)), TIERS.index(tier))
    items.sort(key=lambda item: first[item.path])


def enter(item: pytest.Item) -> None:
    """From here on this process, and those that it starts, may do what the test's tier allows."""
    (os.environ[VARIABLE],) = tiers_of(item)
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(CLOSED)]
    os.environ["PYTHONPATH"] = os.pathsep.join([*paths, str(CLOSED)])
