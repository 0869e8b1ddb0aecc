"""A search space as rows of numbers, for a model: ranges on their own scale from 0 to 1, choices by their place in the list.

A path whose condition does not hold at a point stands at a place of its own, so that it tells nothing: the middle of a range,
-1 for a choice. Letters: N points, P searched paths, Q columns of ``spread``. Proof: ``tests/search/test_cube.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsg.study.domains import Domain
from fsg.study.space import Space

Array = NDArray[np.float64]
UNSET_CHOICE, UNSET_RANGE = -1.0, 0.5


class Cube:
    """Rows (N, P) for the searched paths of a space, a condition before what depends on it."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.domains = space.domains
        self.paths = tuple(self.domains)
        self.sizes = [len(domain.choices) for domain in self.domains.values()]  # 0 for a range
        self.categorical = np.array([size > 0 for size in self.sizes])
        columns = [size or 1 for size in self.sizes]
        self.groups = np.repeat(np.arange(len(columns)), columns)  # (Q,): the path of each column of ``spread``

    def encode(self, point: Mapping[str, Any]) -> Array:
        """(P,) of one point."""
        return np.array(
            [domain.encode(point[path]) if path in point else _unset(domain) for path, domain in self._each]
        )

    def decode(self, row_P: Array) -> dict[str, Any]:
        """The point at a row, with the paths that are set there."""
        places = dict(zip(self.paths, row_P.tolist(), strict=True))
        found: dict[str, Any] = {}
        for path in self.space.order:
            if self.space.is_set(path, found):
                domain = self.space.root[path]
                found[path] = domain.decode(places[path]) if path in places else domain.choices[0]
        return {path: found[path] for path in self.paths if path in found}

    def at(self, uniform_NP: Array) -> Array:
        """Rows at points for numbers in [0, 1): choices by equal shares."""
        sizes = np.maximum(self.sizes, 1)
        return self.snap(np.where(self.categorical, np.floor(uniform_NP * sizes), uniform_NP))

    def snap(self, rows_NP: Array) -> Array:
        """The rows of the nearest points: whole numbers and steps rounded, conditions kept."""
        rows = rows_NP.copy()
        for column, domain in enumerate(self.domains.values()):
            if not (domain.continuous or domain.choices):
                values = np.unique(rows[:, column])
                snapped = np.array([domain.encode(domain.decode(float(v))) for v in values])
                rows[:, column] = snapped[np.searchsorted(values, rows[:, column])]
        if self.space.conditional:
            rows = np.array([self.encode(self.decode(row)) for row in rows])
        return rows

    def spread(self, rows_NP: Array) -> Array:
        """(N, Q) for Euclidean distances: two different choices of a path lie 1 apart, as two ends of a range do."""
        columns = []
        for column, size in enumerate(self.sizes):
            places = rows_NP[:, column, None]
            columns.append((places == np.arange(size)) / math.sqrt(2) if size else places)
        return np.concatenate(columns, axis=1)

    @property
    def _each(self) -> list[tuple[str, Domain]]:
        return list(self.domains.items())


def _unset(domain: Domain) -> float:
    return UNSET_CHOICE if domain.choices else UNSET_RANGE
