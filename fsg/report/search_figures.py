"""Drawings of a sweep from its ledger: every learning curve, the Pareto front pair by pair, what a population changed.

Proof: ``tests/report/test_top.py``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from fsg.record.ledger import TrialRecord
from fsg.report.comparison import Provenance
from fsg.report.figures import _FAINT, _INK, UNCLEAR, _style
from fsg.report.top import TopConfiguration, TopConfigurations
from fsg.study.domains import Domain
from fsg.study.space import value_at

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BEST, FINISHED, STOPPED, FAILED = "#D55E00", "#0072B2", "#B8C2C9", "#CC79A7"
_COLOURS = {"finished": FINISHED, "failed": FAILED}
_PANEL = 3.6  # inches
_FEW_CURVES = 300


def all_curves(top: TopConfigurations, records: Sequence[TrialRecord]) -> Figure:
    """The metric against the epoch of every trial, coloured by how it ended, the seeds of rank 1 on top.

    The axis leaves out the worst tenth of values: first epochs and diverging trials would press the rest together.
    """
    best = {key for row in top.ranked[:1] for key in [row.key]}
    twins = next((r.config | {"seed": 0} for r in records if r.key in best), None)
    order = {"failed": 0, "finished": 2}
    curves: dict[str, list[list[tuple[int, float]]]] = {}
    for record in sorted(records, key=lambda r: order.get(r.status, 1)):
        pairs = [(e["epoch"], e[top.measure.name]) for e in record.epochs if _finite(e.get(top.measure.name))]
        if pairs:
            first = twins is not None and record.config | {"seed": 0} == twins
            curves.setdefault("rank 1" if first else record.status, []).append(pairs)
    with _style():
        figure, (axes,) = _panels(1, 6.4, 3.8)
        for what, lines in curves.items():
            _many(axes, lines, what, BEST if what == "rank 1" else _COLOURS.get(what, STOPPED), bold=what == "rank 1")
        values = [value for lines in curves.values() for pairs in lines for _, value in pairs]
        _fit(axes, values, top.measure.mode)
        _whole_epochs(axes)
        axes.set(xlabel="epoch", ylabel=top.measure.label)
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles, [f"{name} ({len(curves[name])})" for name in labels], frameon=False, fontsize=7.5, ncols=4,
                    loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)  # fmt: skip
        _caption(figure, top.provenance, "every trial")
    return figure


def _many(axes: Axes, lines: Sequence[Sequence[tuple[int, float]]], label: str, colour: str, bold: bool) -> None:
    """Lines as one collection, one of a single point as a dot. Hundreds are painted as one picture: each as a shape of its own,
    10,000 take 7 s and 20 MB.
    """
    from matplotlib.collections import LineCollection

    look: dict[str, Any] = {"color": colour, "zorder": 3 if bold else 2, "alpha": 1.0 if bold else 0.65}
    few = len(lines) < _FEW_CURVES
    drawn = LineCollection(lines, linewidths=2.0 if bold else 0.9, label=label, rasterized=not few, **look)
    axes.add_collection(drawn)
    if dots := [line[0] for line in lines if len(line) == 1]:
        across, up = zip(*dots, strict=True)
        axes.scatter(across, up, s=16, linewidths=0, rasterized=not few, **look)
    axes.autoscale_view()


def pareto_pairs(top: TopConfigurations) -> Figure:
    """Each pair of objectives: all finished configurations, those of the front filled, and the pair's own front as a line."""
    measures = [top.measure, *top.objectives]
    pairs = list(combinations(range(len(measures)), 2))
    with _style():
        figure, panels = _panels(len(pairs), _PANEL * len(pairs), 3.4)
        for axes, (y, x) in zip(panels, pairs, strict=True):
            for row in top.ranked:
                axes.plot(*_at(row, top, x, y), "o", ms=5.5, color=BEST if row.on_front else STOPPED, mec="white", mew=0.5,
                          zorder=3 if row.on_front else 2)  # fmt: skip
            points = sorted({_at(row, top, x, y) for row in top.front}, reverse=measures[x].mode == "max")
            edge: list[tuple[float, float]] = []
            for point in points:
                if not edge or (point[1] > edge[-1][1] if measures[y].mode == "max" else point[1] < edge[-1][1]):
                    edge.append(point)
            axes.plot(*zip(*edge, strict=True), color=BEST, lw=1.0, alpha=0.6, drawstyle="steps-post", zorder=1)
            axes.set(
                xlabel=_arrow(measures[x].label, measures[x].mode), ylabel=_arrow(measures[y].label, measures[y].mode)
            )
            axes.grid(color=_FAINT, linewidth=0.5)
        _caption(
            figure, top.provenance, f"orange: on the front of all {len(measures)} objectives; line: front of the two"
        )
    return figure


def schedules(top: TopConfigurations, records: Sequence[TrialRecord], domains: Mapping[str, Domain]) -> Figure:
    """What each member of a population trained with, path by path, against the epoch; that of rank 1 on top."""
    best = top.ranked[0].key if top.ranked else None
    with _style():
        figure, panels = _panels(len(domains), min(_PANEL * len(domains), 14.0), 3.2)
        for axes, (path, domain) in zip(panels, domains.items(), strict=True):
            for record in sorted(records, key=lambda r: r.key == best):
                steps = [(0, value_at(record.config, path)), *((e.epoch, e.values.get(path)) for e in record.exploits)]
                known = [(epoch, value) for epoch, value in steps if value is not None]
                if not known:
                    continue
                last = max([len(record.epochs), known[-1][0]])
                places = [domain.choices.index(v) if domain.choices else v for _, v in known]
                own = record.key == best
                axes.step([e for e, _ in known] + [last], [*places, places[-1]], where="post",
                          color=BEST if own else UNCLEAR, lw=2.0 if own else 0.9, alpha=1.0 if own else 0.6)  # fmt: skip
            if domain.logarithmic:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_formatter("")
            if domain.choices:
                axes.set_yticks(range(len(domain.choices)), [str(choice) for choice in domain.choices])
            _whole_epochs(axes)
            axes.set(xlabel="epoch", title=path)
        _caption(figure, top.provenance, "orange: the member of rank 1")
    return figure


def _at(row: TopConfiguration, top: TopConfigurations, x: int, y: int) -> tuple[float, float]:
    values = [row.metric.estimate, *(row.objectives[o.name] for o in top.objectives)]
    return values[x], values[y]


def _arrow(label: str, mode: str) -> str:
    return f"{label}  {'→' if mode == 'max' else '←'} better"


def _panels(columns: int, width: float, height: float, count: int | None = None) -> tuple[Figure, list[Axes]]:
    """``count`` panels, one row of ``columns`` if left out, in as few rows as hold them."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    rows = math.ceil((count or columns) / columns)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[count or columns :]:
        spare.remove()
    return figure, panels[: count or columns]


def _fit(axes: Axes, values: Sequence[float], mode: str) -> None:
    if len(values) < 20:
        return
    ordered = sorted(values)
    low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
    low, high = (low, ordered[-1]) if mode == "max" else (ordered[0], high)
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _whole_epochs(axes: Axes) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_INK)


def _caption(figure: Figure, origin: Provenance, first: str) -> None:
    figure.text(0.01, -0.03, f"{first} · {origin.line()}", fontsize=6.5, color=UNCLEAR, ha="left", va="top")


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
