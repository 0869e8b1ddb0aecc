"""The valid name that somebody meant who wrote another: by its spelling, and for a dotted path by where it stands.

Proof: ``tests/test_nearest.py``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_LEAST = 0.5  # similarity from which a name is worth a suggestion
_ELSEWHERE = 0.2  # how much more similar a name of another section must be than one of the same
_EVERYWHERE = ("name", "kind")  # the last part of a path in most sections: it tells nothing of which was meant


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name closest to ``name``, or None where nothing is close."""
    match = difflib.get_close_matches(str(name), [str(a) for a in allowed], n=1, cutoff=_LEAST)
    return match[0] if match else None


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """`` Did you mean "..."?`` with the allowed name closest to ``name``; empty where nothing is close."""
    return suggestion(nearest(name, allowed))


def did_you_mean_path(path: str, known: Sequence[str]) -> str:
    """``did_you_mean`` for a dotted path: ``lr`` may be ``optimizer.lr``."""
    return suggestion(nearest_path(path, known))


def suggestion(name: str | None) -> str:
    """`` Did you mean "..."?``; empty for no name."""
    return f' Did you mean "{name}"?' if name else ""


def nearest_path(path: str, known: Sequence[str]) -> str | None:
    """What ``path`` stands for among the dotted paths ``known``, the most common first; None where nothing is close.

    A path that ends in the same name: below the section of ``path`` before others, then the shortest, then the first. Else
    the path whose last name is spelt alike: of the same section before others, then the shortest. Else, where the section
    is none, any alike.
    """
    section, _, leaf = path.rpartition(".")
    others = [o for o in known if o != path and (_leaf(o) not in _EVERYWHERE or o.rpartition(".")[0] == section)]
    exists = not section or any(other.startswith(f"{section}.") for other in known)
    same = [other for other in others if _leaf(other) == leaf]
    if same and exists:
        below = [other for other in same if other.startswith(f"{section}.")]
        return min(below or same, key=lambda other: other.count("."))
    if same:
        return max(same, key=lambda other: _likeness(section, other.rpartition(".")[0]))
    best = max(others, key=lambda other: (likeness(path, other), -other.count(".")), default="")
    score = likeness(path, best)
    return best if score >= _LEAST else None if exists else nearest(path, known)


def likeness(path: str, other: str) -> float:
    """How alike the last names of two paths are spelt, from 0 to 1; less where they are not of one section."""
    apart = path.rpartition(".")[0] != other.rpartition(".")[0]
    return _likeness(_leaf(path), _leaf(other)) - (_ELSEWHERE if apart else 0)


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()
