"""Which parameters matter: PED-ANOVA (Watanabe et al., IJCAI 2023, arXiv:2304.10255), on grids.

How far the values of the best configurations lie from the values of all: the Pearson divergence of two Parzen estimates over
a parameter's grid, with bandwidths by Scott's rule (Scott, Multivariate Density Estimation, 1992) and one kernel more, of the
whole grid. Twin: Optuna's ``PedAnovaImportanceEvaluator``, which the numbers are those of; importing that brings scikit-learn
and pandas, 2 s of processor and 100 MB for a table of a few rows. Proof: ``tests/search/test_importance.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR = 1.0  # weight of the kernel of the whole grid, beside 1 for each configuration
_NARROWEST = 0.5 / 1.64  # of a cell: nine tenths of a kernel lie in its own
_FLOOR = 1e-12  # of a density, which is divided by


@dataclass(frozen=True, slots=True)
class Cells:
    """Where each configuration's value of a parameter lies, from 0 to ``size`` - 1, and whether the cells have an order."""

    cells: NDArray[np.intp]
    size: int
    ordered: bool


def ped_anova(parameters: Mapping[str, Cells], best: NDArray[np.bool_]) -> dict[str, float]:
    """Each parameter's share of the importance for being among the ``best``, the largest first; equal where none has any.

    ``best``: of each configuration whether it is one of them, for some and not for all.
    """
    found = {name: divergence(of, best) if of.size > 1 else 0.0 for name, of in parameters.items()}
    total = sum(found.values())
    shares = {name: value / total if total else 1 / len(found) for name, value in found.items()}
    return dict(reversed(sorted(shares.items(), key=lambda pair: pair[1])))


def divergence(parameter: Cells, best: NDArray[np.bool_]) -> float:
    """Pearson's divergence of the density of the best from that of all."""
    of_all = density(parameter.cells, parameter) + _FLOOR
    of_best = density(parameter.cells[best], parameter) + _FLOOR
    return float(of_all @ (of_best / of_all - 1) ** 2)


def density(cells: NDArray[np.intp], grid: Cells) -> Floats:
    """A Parzen estimate of where ``cells`` lie: a probability for each cell of the grid."""
    counts = np.bincount(cells, minlength=grid.size)
    seen = np.flatnonzero(counts)
    weights = np.append(counts[seen], PRIOR) / (counts.sum() + PRIOR)
    kernels = _ordered(seen, counts[seen], grid.size) if grid.ordered else _unordered(seen, grid.size)
    found: Floats = weights @ kernels
    return found


def _unordered(seen: NDArray[np.intp], size: int) -> Floats:
    """A row for each cell that was seen, nearly all of it in its own; the last is even."""
    kernels = np.full((len(seen) + 1, size), PRIOR / (len(seen) + 1))
    kernels[np.arange(len(seen)), seen] += 1
    return kernels / kernels.sum(axis=1, keepdims=True)


def _ordered(seen: NDArray[np.intp], counts: NDArray[np.intp], size: int) -> Floats:
    """A row for each cell that was seen: a normal density around it, cut off at the grid's ends; the last is as wide as that."""
    width = max(_scott(seen, counts), _NARROWEST)
    centres = np.append(seen, (size - 1) / 2.0)[:, None]
    widths = np.append(np.full(len(seen), width), size)[:, None]
    edges = _normal((np.arange(size + 1) - 0.5 - centres) / widths)
    mass: Floats = np.diff(edges, axis=1) / (edges[:, -1:] - edges[:, :1])
    return mass


def _scott(seen: NDArray[np.intp], counts: NDArray[np.intp]) -> float:
    """A kernel's width by the smaller of the standard deviation and the spread of the middle half."""
    number, below = counts.sum(), np.cumsum(counts)
    mean = seen @ counts / number
    deviation = math.sqrt(((seen - mean) ** 2 @ counts) / max(1, number - 1))
    first = seen[np.searchsorted(below, number // 4, side="left")]
    third = seen[min(len(seen) - 1, np.searchsorted(below, number * 3 // 4, side="right"))]
    return float(1.059 * min((third - first) / 1.34, deviation) * number**-0.2)


def _normal(z: Floats) -> Floats:
    """The standard normal distribution function."""
    return 0.5 + 0.5 * np.asarray(np.frompyfunc(math.erf, 1, 1)(z / math.sqrt(2)), dtype=np.float64)
