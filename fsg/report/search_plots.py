"""How a search went and what its configurations came to: history, slices, parallel coordinates, contours, importances.

Drawn from ``Ended``, the configurations by one measure, with a few collections of points or lines whatever their number: what
10,000 configurations add to 1,000 is their painting. Proof: ``tests/report/test_search_plots.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.report.figures import _FAINT, _style
from fsg.report.search_figures import BEST, FINISHED, _arrow, _panels
from fsg.search.insights import METHOD, Ended, importance
from fsg.study.domains import Domain
from fsg.study.spec import SweepSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_PATHS = 4  # in contours: six panels, still readable
_PANEL = 2.8  # inches a path
_COLOURS = "viridis"
_TITLES = {
    "history": "How the search went",
    "slice": "The metric by each parameter",
    "parallel": "Parallel coordinates",
    "contour": "The metric by pairs of parameters",
    "importances": "What mattered",
}


def draw_search(spec: SweepSpec, studies: Sequence[Ended], folder: Path) -> list[tuple[str, Path]]:
    """Draw what the configurations so far allow into ``folder``: (title, file) of each drawing; none where none has finished."""
    drawn = []
    for study in studies:
        if not study.finished:
            continue
        of, about = (f"_{study.measure.name}", f", by {study.measure.name}") if spec.objectives else ("", "")
        for name, draw in plots(study, spec):
            path = folder / f"search_{name}{of}.png"
            draw().savefig(path, dpi=120)
            drawn.append((_TITLES[name] + about, path))
    return drawn


def plots(study: Ended, spec: SweepSpec) -> Iterator[tuple[str, Callable[[], Figure]]]:
    """(name, how to draw it) of every plot that suits the sweep."""
    shares = importance(study, spec).get(METHOD, {})
    paths = {path: domain for path, domain in spec.space.domains.items() if domain.searched and not domain.when}
    yield "history", partial(history, study)
    if paths:
        yield "slice", partial(slices, study, paths)
        yield "parallel", partial(parallel, study, paths)
    contoured = {path: paths[path] for path in shares if path in paths}
    if len(contoured) > 1:
        yield "contour", partial(contours, study, dict(list(contoured.items())[:_MOST_PATHS]))
    if shares:
        yield "importances", partial(bars, shares, study.measure.name)


def history(study: Ended) -> Figure:
    """Every finished value in the order of the search, and the best so far."""
    with _style():
        figure, (axes,) = _panels(1, 8.0, 5.0)
        pairs = [(n, v) for n, v in zip(study.numbers, study.values, strict=True) if v is not None]
        numbers, values = zip(*pairs, strict=True)
        better = max if study.measure.mode == "max" else min
        best = [values[0]]
        for value in values[1:]:
            best.append(better(best[-1], value))
        axes.scatter(numbers, values, s=9, color=FINISHED, alpha=0.6, linewidths=0, label="finished")
        axes.plot(numbers, best, color=BEST, drawstyle="steps-post", label="best so far")
        axes.set(xlabel="configuration", ylabel=_arrow(study.measure.name, study.measure.mode))
        axes.grid(axis="y", color=_FAINT, linewidth=0.5)
        axes.legend(frameon=False, fontsize=8)
    return figure


def slices(study: Ended, paths: Mapping[str, Domain]) -> Figure:
    """The metric against each parameter; the later in the search, the darker."""
    with _style():
        figure, panels = _panels(len(paths), max(6.0, _PANEL * len(paths)), 4.0)
        numbers = [n for n, v in zip(study.numbers, study.values, strict=True) if v is not None]
        values = [value for _, value in study.finished]
        for axes, (path, domain) in zip(panels, paths.items(), strict=True):
            places = [_place(domain, point[path]) for point, _ in study.finished]
            points = axes.scatter(places, values, s=9, c=numbers, cmap="Blues", edgecolors="#5B6770", linewidths=0.3)
            _scale(axes, "x", domain)
            axes.set(xlabel=path)
            if axes is not panels[0]:
                axes.sharey(panels[0])
                axes.tick_params(labelleft=False)
        panels[0].set(ylabel=study.measure.name)
        figure.colorbar(points, ax=panels[-1], label="configuration")
    return figure


def parallel(study: Ended, paths: Mapping[str, Domain]) -> Figure:
    """A line for each configuration through its value and its parameters, each on its own scale from end to end."""
    from matplotlib.collections import LineCollection

    with _style():
        figure, (axes,) = _panels(1, max(8.0, 2.0 * (len(paths) + 1)), 5.0)
        values = [value for _, value in study.finished]
        low, high = min(values), max(values)
        span = high - low or 1.0
        columns = [[(value - low) / span for value in values]]
        ends = [(f"{low:.4g}", f"{high:.4g}")]
        for path, domain in paths.items():
            columns.append([_part(domain, point[path]) for point, _ in study.finished])
            ends.append(_ends(domain))
        order = sorted(range(len(values)), key=lambda n: values[n], reverse=study.measure.mode == "min")
        lines = [[(x, column[n]) for x, column in enumerate(columns)] for n in order]
        drawn = LineCollection(lines, array=[values[n] for n in order], cmap=_COLOURS, linewidths=0.7, alpha=0.6)
        axes.add_collection(drawn)
        for x, (bottom, top) in enumerate(ends):
            axes.axvline(x, color="#5B6770", linewidth=0.8)
            axes.text(x, -0.03, bottom, ha="center", va="top", fontsize=7)
            axes.text(x, 1.02, top, ha="center", va="bottom", fontsize=7)
        axes.set(xlim=(-0.2, len(columns) - 0.8), ylim=(-0.08, 1.08), yticks=[])
        axes.set_xticks(range(len(columns)), [study.measure.name, *paths])
        axes.spines[:].set_visible(False)
        figure.colorbar(drawn, ax=axes, label=study.measure.name)
    return figure


def contours(study: Ended, paths: Mapping[str, Domain]) -> Figure:
    """The metric by each pair of parameters, linear between configurations; a dot for each of them."""
    pairs = list(combinations(paths, 2))
    columns = min(3, len(pairs))
    with _style():
        figure, panels = _panels(columns, _PANEL * columns + 1.5, _PANEL * math.ceil(len(pairs) / columns), len(pairs))
        values = [value for _, value in study.finished]
        scale: dict[str, Any] = {"vmin": min(values), "vmax": max(values), "cmap": _COLOURS}
        for axes, (x, y) in zip(panels, pairs, strict=True):
            across, up = ([_place(paths[p], point[p]) for point, _ in study.finished] for p in (x, y))
            if not paths[x].choices and not paths[y].choices:
                with suppress(ValueError, RuntimeError):  # all on one line: the dots say it
                    axes.tricontourf(_triangles(paths[x], paths[y], across, up), values, 12, **scale)
            dots = axes.scatter(across, up, s=9, c=values, edgecolors="white", linewidths=0.3, **scale)
            _scale(axes, "x", paths[x])
            _scale(axes, "y", paths[y])
            axes.set(xlabel=x, ylabel=y)
        figure.colorbar(dots, ax=panels, label=study.measure.name)
    return figure


def bars(shares: Mapping[str, float], measure: str) -> Figure:
    """The importances as the table has them, the largest on top."""
    with _style():
        figure, (axes,) = _panels(1, 8.0, 5.0)
        drawn = axes.barh(list(shares)[::-1], list(shares.values())[::-1], color=FINISHED)
        axes.bar_label(drawn, [f"{share:.0%}" for share in list(shares.values())[::-1]], padding=3, fontsize=8)
        axes.set_xlabel(f"share of the importance for {measure} ({METHOD})")
        axes.margins(x=0.1)
    return figure


def _place(domain: Domain, value: Any) -> float:
    """Where a value stands on its axis: itself, or its number among the choices."""
    return domain.encode(value) if domain.choices else float(value)


def _part(domain: Domain, value: Any) -> float:
    """From 0 to 1, end to end."""
    return domain.encode(value) / max(1, len(domain.choices) - 1) if domain.choices else domain.encode(value)


def _ends(domain: Domain) -> tuple[str, str]:
    """How an axis is written at both ends."""
    if domain.choices:
        return str(domain.choices[0]), str(domain.choices[-1])
    low, high = domain.extremes
    return f"{low:.4g}", f"{high:.4g}"


def _triangles(x: Domain, y: Domain, across: Sequence[float], up: Sequence[float]) -> Any:
    """Triangles between the points as the axes' scales have them: on a logarithmic one the raw numbers would make slivers."""
    from matplotlib.tri import Triangulation

    scaled = Triangulation([x.encode(value) for value in across], [y.encode(value) for value in up])
    return Triangulation(across, up, scaled.triangles)


def _scale(axes: Axes, which: str, domain: Domain) -> None:
    """The axis of a parameter: its choices by name, or its scale."""
    axis = getattr(axes, f"{which}axis")
    if domain.choices:
        axis.set_ticks(range(len(domain.choices)), [str(choice) for choice in domain.choices])
    elif domain.logarithmic:
        getattr(axes, f"set_{which}scale")("log")
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    axes.tick_params(labelsize=8)
