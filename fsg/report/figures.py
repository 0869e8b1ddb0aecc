"""Figures of a comparison: paired differences as a forest plot, learning curves with bands, effects of the switches.

Each function returns a matplotlib Figure that no window owns, as wide as one or two ``columns`` of a paper, with the same size of
text in both; ``save`` writes it. Colours are Okabe and Ito's, which colour-blind readers tell apart; every figure carries
the caption of its table.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fsg.errors import StudyError
from fsg.report.arm_curves import arm_band, seed_curves
from fsg.report.comparison import ArmRow, Comparison, Verdict
from fsg.report.factors import FactorReport
from fsg.stats.curves import Band
from fsg.stats.paired import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from fsg.record.ledger import StudyState

Columns = Literal[1, 2]
WIDTH: Mapping[int, float] = {1: 3.35, 2: 6.9}  # inches of the columns of a paper
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
    "text.parse_math": False,  # a unit or an arm between two dollars is no formula
    "svg.hashsalt": "fsg",  # the same picture, the same bytes
}


def forest(comparison: Comparison, other: str, columns: Columns = 2) -> Figure:
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
        figure, axes = _axes(columns, 1.5 + 0.3 * len(found))
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
        axes.set_yticks(
            range(len(found)), [f"{_short(comparison, row.arm)}  n={interval.n}" for row, interval, _ in found]
        )
        axes.set_ylim(len(found) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _xlabel(
            axes,
            f"{comparison.measure.label}: arm − {_short(comparison, other)}, {comparison.confidence:.0%} t interval",
        )
        _caption(figure, comparison, "colour: differs after Holm's correction")
        if comparison.smallest_effect is not None:
            axes.legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
    return figure


def learning_curves(
    comparison: Comparison,
    state: StudyState,
    metric: str,
    arms: Sequence[str] | None = None,
    unit: str = "",
    columns: Columns = 2,
) -> Figure:
    """``metric`` against the epoch: the mean over finished seeds of each arm with its pointwise t band, at most 8 arms.

    ``arms`` None takes four, for more bands hide each other: reference, baseline, the best mean, then the table's.
    """
    rows = {row.arm: row for row in comparison.rows}
    if arms is None:
        first = [comparison.reference, comparison.baseline, comparison.leader]
        arms = list(dict.fromkeys([name for name in first if name] + list(rows)))[:4]
    unknown = [name for name in arms if name not in rows]
    if unknown or len(arms) > len(_COLOURS):
        asked = f"no arm {', '.join(unknown)}" if unknown else f"{len(arms)} arms"
        raise StudyError(f"learning curves: {asked}; choose up to {len(_COLOURS)} arms of the table.")
    from matplotlib.ticker import MaxNLocator

    with _style():
        figure, axes = _axes(columns, 3.8)
        ends: list[tuple[float, str, str]] = []
        bands: list[Band] = []
        for name, colour in zip(arms, _COLOURS, strict=False):
            y = arm_band(seed_curves(state, name, metric), comparison.confidence)
            if y is None:
                continue
            epochs = np.arange(1, len(y.mean) + 1)
            axes.fill_between(epochs, y.low, y.high, color=colour, alpha=0.12, linewidth=0)
            axes.plot(epochs, y.mean, color=colour, linewidth=1.6)
            ends.append((float(y.mean[np.isfinite(y.mean)][-1]), _short(comparison, name), colour))
            bands.append(y)
        if not ends:
            raise StudyError(f'no finished trial recorded "{metric}", so there is no curve to draw.')
        axes.set_xlabel("epoch")
        axes.set_ylabel(f"{metric} [{unit}]" if unit else metric)
        axes.grid(axis="y", color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.01)
        _fit_height(axes, bands, metric)
        _label_ends(axes, ends)
        _caption(figure, comparison, f"mean over seeds, {comparison.confidence:.0%} pointwise t band")
    return figure


def main_effects(comparison: Comparison, report: FactorReport, columns: Columns = 2) -> Figure:
    """Every effect and interaction of the switches with its interval; hollow diamonds are the Shapley shares."""
    with _style():
        figure, axes = _axes(columns, 1.5 + 0.32 * len(report.effects))
        axes.axvline(0, color=_INK, linewidth=0.8, zorder=1)
        shares = report.shares.shares if report.shares else {}
        for place, (effect, p) in enumerate(zip(report.effects, report.p_holm, strict=True)):
            interval = effect.interval
            told = p < 1 - comparison.confidence and not report.refused(effect)
            differs = Verdict(effect.p, p, told, None)
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
        _xlabel(axes, f"effect on {comparison.measure.label}, {comparison.confidence:.0%} t interval, n = {n} seeds")
        if shares:
            axes.legend(frameon=False, fontsize=7.5, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        _caption(figure, comparison)
    return figure


def dose_response(comparison: Comparison, path: str, doses: Mapping[str, Any], columns: Columns = 2) -> Figure:
    """The metric over the values of one option: mean with its t band, a dot per seed, and the baseline's as a line.

    ``doses``: arm -> value. Numbers stand on a scale, logarithmic where all are positive and span a factor of 10 or more;
    anything else stands side by side.
    """
    rows = [row for row in comparison.rows if row.arm in doses and row.metric is not None]
    if len(rows) < 2:
        raise StudyError(f"fewer than 2 values of {path} have a finished trial, so there is no response to draw.")
    values = [doses[row.arm] for row in rows]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    x = np.array(values if numeric else range(len(values)), dtype=float)
    order = np.argsort(x)
    rows, x = [rows[i] for i in order], x[order]
    found = [row.metric for row in rows if row.metric is not None]
    with _style():
        figure, axes = _axes(columns, 3.8)
        line = next((row.metric for row in comparison.rows if row.arm == comparison.baseline and row.metric), None)
        if line is not None and comparison.baseline not in doses:
            axes.axhspan(line.low, line.high, color="#EEF1F3", zorder=0)
            axes.axhline(
                line.estimate,
                color=UNCLEAR,
                linewidth=1,
                linestyle="--",
                zorder=1,
                label=_short(comparison, comparison.baseline),
            )
        low, high = [i.low for i in found], [i.high for i in found]
        axes.fill_between(x, low, high, color=_COLOURS[0], alpha=0.15, linewidth=0)
        axes.plot(x, [i.estimate for i in found], "o-", color=_COLOURS[0], linewidth=1.6, markersize=5, zorder=3)
        for at, row in zip(x, rows, strict=True):
            axes.scatter([at] * row.n, list(row.values.values()), s=8, color=_COLOURS[0], alpha=0.4, linewidths=0)
        if numeric and x[0] > 0 and x[-1] >= 10 * x[0]:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(x, [f"{doses[row.arm]:g}" if numeric else str(doses[row.arm]) for row in rows])
        axes.set_xlabel(path)
        axes.set_ylabel(comparison.measure.label)
        axes.grid(axis="y", color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        if line is not None and comparison.baseline not in doses:
            axes.legend(frameon=False, fontsize=8, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0)
        _caption(figure, comparison, f"mean over seeds, {comparison.confidence:.0%} pointwise t band; dots: seeds")
    return figure


def cost_and_quality(comparison: Comparison, columns: Columns = 2) -> Figure:
    """The metric of each arm with its interval against the time of a step relative to the baseline's."""
    rows = [row for row in comparison.rows if row.metric is not None and row.step_ratio is not None]
    if len(rows) < 2:
        raise StudyError("fewer than 2 arms have a step time relative to the baseline, so there is nothing to draw.")
    with _style():
        figure, axes = _axes(columns, 4.2)
        for row in rows:
            assert row.metric is not None and row.step_ratio is not None
            known = row.arm in (comparison.reference, comparison.baseline)
            colour = _COLOURS[0] if known else UNCLEAR
            if not math.isnan(row.metric.low):
                axes.plot([row.step_ratio] * 2, [row.metric.low, row.metric.high], color=colour, linewidth=1, alpha=0.5)
            axes.plot(row.step_ratio, row.metric.estimate, "o", color=colour, markersize=6, markeredgecolor="white")
        _xlabel(axes, f"time per step, relative to {_short(comparison, comparison.baseline)}")
        axes.set_ylabel(comparison.measure.label)
        axes.grid(color=_FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.margins(x=0.12)
        _label_points(
            axes,
            [(row.step_ratio or 0.0, row.metric.estimate, _short(comparison, row.arm)) for row in rows if row.metric],
        )
        _caption(figure, comparison, f"mean over seeds, {comparison.confidence:.0%} t interval")
    return figure


def save(figure: Figure, path: str | Path) -> Path:
    """Write the figure; its ending chooses the format (png, svg, pdf). No date inside: equal figures, equal bytes."""
    path = Path(path)
    metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with _style():
        figure.savefig(path, dpi=160, bbox_inches="tight", pad_inches=0.02, facecolor="white", metadata=metadata)
    return path


def plain_numbers(axis: Axis) -> None:
    """Numbers along a logarithmic axis, where matplotlib has formulas; between powers of ten where it spans less than one."""

    def between(value: float, _: object) -> str:
        low, high = axis.get_view_interval()
        return f"{value:g}" if high < 10 * low else ""

    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(between)


def _colour(interval: Interval, verdict: Verdict | None, mode: str) -> str:
    if verdict is None or not verdict.differs:
        return UNCLEAR
    return BETTER if (interval.estimate > 0) == (mode == "max") else WORSE


def _fit_height(axes: Axes, bands: Sequence[Band], metric: str) -> None:
    """Show where curves part: a loss on a logarithmic scale; else the first fifth of training may run off the axis."""
    if metric.endswith("loss") and all(np.nanmin(y.mean) > 0 for y in bands):
        axes.set_yscale("log")
        plain_numbers(axes.yaxis)
        return
    late = np.concatenate([edge[len(edge) // 5 :] for y in bands for edge in (y.mean, y.low, y.high)])
    known = late[~np.isnan(late)]  # one seed has no band
    low, high = (known.min(), known.max()) if known.size else (0, 0)
    whole = axes.get_ylim()
    if high > low and high - low < 0.6 * (whole[1] - whole[0]):
        axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))


def _label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Name each curve at its end, pushed apart where they crowd: a legend makes the reader match colours."""
    gap = (
        8.5 * 1.25 / (72 * (axes.figure.bbox.height / axes.figure.dpi - 0.7))
    )  # a line of text, as a share of the axis
    heights = axes.transData.transform([(0, value) for value, _, _ in sorted(ends)])[:, 1]
    wanted = [float(axes.transAxes.inverted().transform((0, height))[1]) for height in heights]
    places: list[float] = []
    for height in wanted:
        places.append(height if not places else max(height, places[-1] + gap))
    shift = min(1 - places[-1], sum(wanted) / len(wanted) - sum(places) / len(places))  # stays beside its curves
    shift = max(shift, -places[0])
    for (_, name, colour), place in zip(sorted(ends), places, strict=True):
        axes.text(1.015, place + shift, name, transform=axes.transAxes, color=colour, va="center", fontsize=8.5)


def _label_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Name each point beside it: of the places around it the first that no other name or point takes."""
    axes.figure.canvas.draw()  # the layout decides where points lie
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in (axes.transData.transform((px, py)) for px, py, _ in points)]
    scale = axes.figure.dpi / 72
    for px, py, name in sorted(points):
        x, y = axes.transData.transform((px, py))
        width, height = 4.6 * len(name) * scale, 9 * scale
        heights = (4, -12, 14, -22, 24, -32, 34, -42, 44, -52, 54, -62)
        places = [(dx, dy) for dy in heights for dx in (6, -6 - width / scale)]
        for dx, dy in places:
            box = (x + dx * scale, y + dy * scale, x + dx * scale + width, y + dy * scale + height)
            if not any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken):
                break
        taken.append(box)
        far = {"arrowstyle": "-", "color": _FAINT, "linewidth": 0.6, "shrinkA": 0} if abs(dy) > 14 else None
        axes.annotate(
            name, (px, py), xytext=(dx, dy), textcoords="offset points", fontsize=8, va="bottom", arrowprops=far
        )


def _short(comparison: Comparison, name: str | None) -> str:
    """An arm without the block that all arms of the comparison share: the title names it."""
    blocks = {row.arm.rpartition("/")[0] for row in comparison.rows}
    return (name or "").rpartition("/")[2] if len(blocks) == 1 else name or ""


def _caption(figure: Figure, comparison: Comparison, first: str = "") -> None:
    said = " · ".join(filter(None, (first, comparison.provenance.line())))
    text = textwrap.fill(said, round(16 * figure.get_figwidth()))  # letters of 6.5 points
    figure.text(0.01, -0.03, text, fontsize=6.5, color=UNCLEAR, ha="left", va="top")


def _xlabel(axes: Axes, text: str) -> None:
    """On as many lines as the figure's width asks for."""
    axes.set_xlabel(textwrap.fill(text, round(10 * axes.figure.bbox.width / axes.figure.dpi)))


def _axes(columns: Columns, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH[columns], height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(_STYLE)  # type: ignore[arg-type]
