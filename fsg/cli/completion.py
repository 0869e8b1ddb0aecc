"""What the shell offers in place of a file that is half typed. Loads nothing: it is asked at every press of the key.

Proof: ``tests/cli/test_studies.py``.
"""

from __future__ import annotations

from fsg.files import user_path


def complete_yaml(incomplete: str) -> list[str]:
    """Paths of YAML files, and the folders on the way, that begin as what was typed: for the shell."""
    return _paths(incomplete, (".yaml", ".yml"))


def complete_python(incomplete: str) -> list[str]:
    """The same of Python files."""
    return _paths(incomplete, (".py",))


def _paths(incomplete: str, endings: tuple[str, ...]) -> list[str]:
    begun = incomplete.rpartition("/")[2]
    shown = incomplete[: len(incomplete) - len(begun)]  # as typed: ~/, ./ or nothing
    place = user_path(shown or ".")
    if not place.is_dir():
        return []
    found = [each for each in sorted(place.iterdir()) if each.name.startswith(begun) and (begun or each.name[0] != ".")]
    return [f"{shown}{each.name}{'/' * each.is_dir()}" for each in found if each.is_dir() or each.suffix in endings]
