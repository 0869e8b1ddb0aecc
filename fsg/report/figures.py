"""Figures of a comparison: paired differences as a forest plot, learning curves with bands, effects of the switches.

Each function returns a matplotlib Figure that no window owns; ``save`` writes it. Colours are Okabe and Ito's, which
colour-blind readers tell apart; every figure carries the caption of its table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fsg.errors import StudyError
from fsg.report.comparison import ArmRow, Comparison, Verdict
from fsg.report.factors import FactorReport
from fsg.stats.curves import band
from fsg.stats.paired import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fsg.study.ledger import StudyState

BETTER, WORSE, UNCLEAR = "#009E73", "#D55E00", "#5B6770"
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C6D31", "#5B6770")
_INK, _FAINT = "#22272B", "#D5DADF"
_STYLE: Mapping[str, Any] = {
    "font.size": 9,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "svg.hashsalt": "fsg",  # the same picture, the same bytes
}


def forest(comparison: Comparison, other: str) -> Figure:
    """The paired difference of each arm to ``other``, the reference or baseline: interval, and below it a dot per seed.

    The shaded band is the smallest effect of interest. Colour says what survives Holm's correction.
    """
    if other not in (comparison.reference, comparison.baseline):
        raise StudyError(f'"{other}" is neither the reference nor the baseline of this comparison.')
    by_reference = other == comparison.reference
    others = next(row.values for row in comparison.rows if row.arm == other)
    found: list[tuple[ArmRow, Interval, Verdict | None]] = []
    for row in comparison.rows:
        interval = row.vs_reference if by_reference else row.vs_baseline
        if interval is not None:
            found.append((row, interval, row.verdict_reference if by_reference else row.verdict_baseline))
    if not found:
        raise StudyError(f'no arm shares a finished seed with "{other}", so there is no difference to draw.')
    with _style():
        figure, axes = _axes(6.4, 1.5 + 0.3 * len(found))
        if comparison.smallest_effect is not None:
            limit = comparison.smallest_effect
            axes.axvspan(-limit, limit, color="#EEF1F3", zorder=0, label="smallest effect of interest")
        axes.axvline(0, color=_INK, linewidth=0.8, zorder=1)
        for place, (row, interval, verdict) in enumerate(found):
            colour = _colour(interval, verdict, comparison.measure.mode)
            seeds = [row.values[seed] - others[seed] for seed in row.values if seed in others]
            axes.scatter(seeds, [place + 0.25] * len(seeds), s=9, color=colour, alpha=0.5, linewidths=0)
            if not math.isnan(interval.low):
                axes.plot([interval.low, interval.high], [place] * 2, color=colour, linewidth=2, zorder=3)
            axes.plot(interval.estimate, place, "D", color=colour, markersize=5, markeredgecolor="white", zorder=4)
        axes.set_yticks(range(len(found)), [f"{row.arm}  n={interval.n}" for row, interval, _ in found])
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(f"{comparison.measure.label}: arm − {other}, {comparison.confidence:.0%} t interval")
        _caption(figure, comparison, "colour: differs after Holm's correction")
        if comparison.smallest_effect is not None:
            axes.legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


def learning_curves(
    comparison: Comparison, state: StudyState, metric: str, arms: Sequence[str] | None = None, unit: str = ""
) -> Figure:
    """``metric`` against the epoch: the mean over finished seeds of each arm with its pointwise t band, at most 8 arms.

    ``arms`` None takes four, for more bands hide each other: reference, baseline, best, then the table's order.
    """
    rows = {row.arm: row for row in comparison.rows}
    if arms is None:
        first = [comparison.reference, comparison.baseline, *(row.arm for row in comparison.rows if row.best)]
        arms = list(dict.fromkeys([name for name in first if name] + list(rows)))[:4]
    unknown = [name for name in arms if name not in rows]
    if unknown or len(arms) > len(_COLOURS):
        asked = f"no arm {', '.join(unknown)}" if unknown else f"{len(arms)} arms"
        raise StudyError(f"learning curves: {asked}; choose up to {len(_COLOURS)} arms of the table.")
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure, axes = _axes(6.4, 3.8)
        ends: list[tuple[float, str, str]] = []
        for name, colour in zip(arms, _COLOURS, strict=False):
            curves = [
                [_float(epoch.get(metric)) for epoch in record.epochs]
                for record in state.trials.values()
                if record.arm == name and record.status == "finished" and record.epochs
            ]
            if not curves:
                continue
            longest = max(map(len, curves))
            y = band([c + [math.nan] * (longest - len(c)) for c in curves], comparison.confidence)
            epochs = np.arange(1, longest + 1)
            axes.fill_between(epochs, y.low, y.high, color=colour, alpha=0.12, linewidth=0)
            axes.plot(epochs, y.mean, color=colour, linewidth=1.6)
            there = np.isfinite(y.mean)
            if there.any():
                ends.append((float(y.mean[there][-1]), name, colour))
        if not ends:
            raise StudyError(f'no finished trial recorded "{metric}", so there is no curve to draw.')
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{metric} [{unit}]" if unit else metric)
        axes.grid(axis="y", color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.01)
        _label_ends(figure, axes, ends)
        _caption(figure, comparison, f"mean over seeds, {comparison.confidence:.0%} pointwise t band")
    return figure


def main_effects(comparison: Comparison, report: FactorReport) -> Figure:
    """Every effect and interaction of the switches with its interval; hollow diamonds are the Shapley shares."""
    with _style():
        figure, axes = _axes(6.4, 1.5 + 0.32 * len(report.effects))
        axes.axvline(0, color=_INK, linewidth=0.8, zorder=1)
        shares = report.shares.shares if report.shares else {}
        for place, (effect, p) in enumerate(zip(report.effects, report.p_holm, strict=True)):
            interval = effect.interval
            differs = Verdict(effect.p, p, p < 1 - comparison.confidence, None)
            colour = _colour(interval, differs, comparison.measure.mode)
            axes.plot([interval.low, interval.high], [place] * 2, color=colour, linewidth=2, zorder=3)
            axes.plot(interval.estimate, place, "o", color=colour, markersize=6, markeredgecolor="white", zorder=4)
            if effect.name in shares:
                share, below = shares[effect.name], place + 0.24
                axes.plot([share.low, share.high], [below] * 2, color=UNCLEAR, linewidth=0.9, zorder=2)
                label = "Shapley share of the total gain" if place == 0 else None
                axes.scatter(
                    share.estimate, below, 16, c="white", marker="D", edgecolors=UNCLEAR, zorder=3, label=label
                )
        axes.set_yticks(range(len(report.effects)), [effect.name for effect in report.effects])
        axes.set_ylim(len(report.effects) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        n = len(report.seeds)
        axes.set_xlabel(f"effect on {comparison.measure.label}, {comparison.confidence:.0%} t interval, n = {n} seeds")
        if shares:
            axes.legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        _caption(figure, comparison)
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure; its ending chooses the format (png, svg, pdf). No date inside: equal figures, equal bytes."""
    path = Path(path)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with _style():
        figure.savefig(path, dpi=160, bbox_inches="tight", facecolor="white", metadata=metadata)
    return path


def _colour(interval: Interval, verdict: Verdict | None, mode: str) -> str:
    if verdict is None or not verdict.differs:
        return UNCLEAR
    return BETTER if (interval.estimate > 0) == (mode == "max") else WORSE


def _label_ends(figure: Figure, axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name each curve at its end, pushed apart where they crowd: a legend makes the reader match colours."""
    low, high = axes.get_ylim()
    gap = 0.052 * (high - low)
    ordered = sorted(ends)
    places: list[float] = []
    for value, _, _ in ordered:
        places.append(value if not places else max(value, places[-1] + gap))
    middle = sum(value for value, _, _ in ordered) / len(ordered)
    shift = min(high - places[-1], middle - sum(places) / len(places))  # the stack stays beside its curves
    right = axes.get_xlim()[1]
    for (value, name, colour), place in zip(ordered, places, strict=True):
        axes.annotate(
            name,
            xy=(right, value),
            xytext=(right + 0.02 * (right - axes.get_xlim()[0]), place + shift),
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


def _caption(figure: Figure, comparison: Comparison, first: str = "") -> None:
    text = " · ".join(filter(None, (first, comparison.provenance.line())))
    figure.text(0.01, -0.03, text, fontsize=6.5, color=UNCLEAR, ha="left", va="top")


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
