"""What the page draws, as plain data: intervals, curves and points. All statistics are done here, none in the browser.

A chart is ``{"id", "kind", "title", "about", "groups"}``; each group is one picture of it, of which the reader sees one at a
time. Numbers keep five figures. Proof: ``tests/report/test_charts.py``, ``tests/report/test_page.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fsg.record.ledger import finite
from fsg.report.arm_curves import Curve, arm_band, paired, seed_curves
from fsg.report.cells import decimals, p_value
from fsg.report.comparison import ArmRow, Comparison, Verdict
from fsg.report.factors import FactorReport
from fsg.report.top import TopConfigurations
from fsg.stats.paired import Interval

if TYPE_CHECKING:
    from fsg.record.ledger import StudyState, TrialRecord
    from fsg.stats.curves import Band

Chart = dict[str, Any]
MOST_POINTS = 40_000  # numbers of all learning curves together, of about 7 characters: a fifth of the page's 2 MB
MOST_EPOCHS = 200  # of a curve that are drawn: more than a screen can tell apart


# An ablation ----------------------------------------------------------------------------------------------------------
def comparison_charts(
    name: str,
    comparison: Comparison,
    state: StudyState,
    factors: FactorReport | None,
    doses: tuple[str, Mapping[str, Any]],
) -> Iterator[Chart]:
    """Every chart that a block of an ablation allows; ``name`` is the block's, "" where there is one alone."""
    yield from _chart(
        "differences", name, "intervals", "Differences, seed by seed", _ABOUT_DIFFERENCES, _differences(comparison)
    )
    yield from _chart("curves", name, "curves", "Learning curves", _ABOUT_CURVES, _learning(comparison, state))
    if factors is not None:
        yield from _chart(
            "effects", name, "intervals", "What each switch is worth", _ABOUT_EFFECTS, [_effects(comparison, factors)]
        )
    if len(found := _doses(comparison, *doses)) > 1:
        group = {"name": doses[0], "x": doses[0], "y": comparison.measure.label, "line": True, "points": found}
        yield from _chart("response", name, "points", f"Response to {doses[0]}", _ABOUT_POINTS, [group])
    costs = [_point(row, row.step_ratio) for row in comparison.rows if row.step_ratio is not None and row.metric]
    if len(costs) > 1:
        x = f"time of a step, relative to {comparison.baseline}"
        group = {"name": "cost", "x": x, "y": comparison.measure.label, "points": costs}
        yield from _chart("cost", name, "points", "Step time against quality", _ABOUT_POINTS, [group])


_ABOUT_DIFFERENCES = (
    "Each arm less the other over the seeds both finished: a filled diamond where the difference stands after Holm's "
    "correction, a hollow one where the seeds do not tell; a dot for each seed; grey, what is too small to matter."
)
_ABOUT_CURVES = "The mean over finished seeds with its pointwise interval; as a difference, paired seed by seed."
_ABOUT_EFFECTS = (
    "Filled where the effect stands after Holm's correction. Below it, the switch's Shapley share of the whole gain."
)
_ABOUT_POINTS = "The mean over seeds with its interval."


def _chart(where: str, block: str, kind: str, title: str, about: str, groups: Iterable[Chart]) -> Iterator[Chart]:
    drawn = [group for group in groups if group.get("rows") or group.get("series") or group.get("points")]
    if drawn:
        number = f"{where}-{block}" if block else where
        head = f"{block}: {title}" if block else title
        yield {"id": _slug(number), "kind": kind, "title": head, "about": about, "groups": drawn}


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text)


def _differences(comparison: Comparison) -> Iterator[Chart]:
    """Against the baseline first: that is what the answer says."""
    measure = comparison.measure
    rows = {row.arm: row for row in comparison.rows}
    for other, by_reference in ((comparison.baseline, False), (comparison.reference, True)):
        if other is None or (by_reference and other == comparison.baseline):
            continue
        base, found = rows[other].values, []
        for row in comparison.rows:
            interval = row.vs_reference if by_reference else row.vs_baseline
            verdict = row.verdict_reference if by_reference else row.verdict_baseline
            if interval is not None:
                dots = [[seed, short(row.values[seed] - base[seed])] for seed in row.values if seed in base]
                found.append(_interval(row.arm, interval, verdict, measure.mode) | {"dots": dots})
        yield {
            "name": f"against {other}",
            "x": f"{measure.label}: arm − {other}, {comparison.confidence:.0%} interval",
            "digits": decimals(
                [i for r in comparison.rows for i in (r.vs_reference, r.vs_baseline) if i], measure.unit
            ),
            "margin": comparison.smallest_effect,
            "better": 1 if measure.mode == "max" else -1,
            "rows": found,
        }


def _interval(name: str, interval: Interval, verdict: Verdict | None, mode: str) -> Chart:
    told = verdict.differs if verdict else interval.excludes_zero and interval.half_width > 0
    way = "better" if (interval.estimate > 0) == (mode == "max") else "worse"
    same = "equivalent" if verdict and verdict.equivalent else ""
    return {
        "name": name,
        "interval": [short(v) for v in (interval.estimate, interval.low, interval.high)],
        "n": interval.n,
        "told": way if told else "",
        "note": ", ".join(filter(None, (f"p Holm {p_value(verdict.p_holm)}" if verdict else "", same))),
    }


def _effects(comparison: Comparison, report: FactorReport) -> Chart:
    shares = report.shares.shares if report.shares else {}
    rows = []
    for effect, p in zip(report.effects, report.p_holm, strict=True):
        row = _interval(
            effect.name,
            effect.interval,
            Verdict(effect.p, p, p < 1 - comparison.confidence and not report.refused(effect), None),
            comparison.measure.mode,
        )
        row["n"] = len(report.seeds)
        if report.refused(effect):
            row["note"] = "no verdict: not exercised"
        if share := shares.get(effect.name):
            row["share"] = [short(v) for v in (share.estimate, share.low, share.high)]
        rows.append(row)
    return {
        "name": "effects",
        "x": f"effect on {comparison.measure.label}, {comparison.confidence:.0%} interval, {len(report.seeds)} seeds",
        "digits": decimals([effect.interval for effect in report.effects], comparison.measure.unit),
        "margin": None,
        "better": 1 if comparison.measure.mode == "max" else -1,
        "rows": rows,
    }


def _learning(comparison: Comparison, state: StudyState) -> Iterator[Chart]:
    """The metric, its paired difference to the baseline, the training loss, then whatever else was recorded, while it fits."""
    measure, other = comparison.measure, comparison.baseline or comparison.reference
    arms = [row.arm for row in comparison.rows]
    first = list(dict.fromkeys(a for a in (comparison.reference, comparison.baseline, comparison.leader, *arms) if a))
    kept = set(first[:4])  # more bands hide each other; the reader can show the others
    recorded = dict.fromkeys(n for r in state.trials.values() for e in r.epochs[:1] for n in e if n != "epoch")
    room = MOST_POINTS
    for metric in dict.fromkeys((measure.name, "train_loss", *recorded)):
        curves = {arm: seed_curves(state, arm, metric) for arm in first}
        label = measure.label if metric == measure.name else metric
        views: list[tuple[str, dict[str, dict[int, Curve]]]] = [(label, curves)]
        if metric == measure.name and other is not None:
            views.append(
                (f"{label} − {other}'s", {a: paired(c, curves[other]) for a, c in curves.items() if a != other})
            )
        for name, of_arm in views:
            bands = {arm: arm_band(seeds, comparison.confidence) for arm, seeds in of_arm.items()}
            series = [_series(arm, band, arm in kept) for arm, band in bands.items() if band is not None]
            room -= sum(3 * len(line["mean"]) for line in series)
            if series and room > 0:
                loss = metric.endswith("loss") and of_arm is curves
                positive = all(v is None or v > 0 for line in series for v in line["mean"])
                yield {"name": name, "x": "epoch", "y": name, "log": loss and positive, "series": series}


def _series(name: str, band: Band, shown: bool) -> Chart:
    at = _drawn(len(band.mean))
    ends = {
        what: [short(float(values[i])) for i in at]
        for what, values in (("mean", band.mean), ("low", band.low), ("high", band.high))
    }
    return {"name": name, "shown": shown, "at": [int(i) + 1 for i in at], "n": [int(band.n[i]) for i in at], **ends}


def _drawn(epochs: int) -> Sequence[int]:
    return np.unique(np.linspace(0, epochs - 1, min(epochs, MOST_EPOCHS)).round().astype(int)).tolist()


def _doses(comparison: Comparison, path: str, doses: Mapping[str, Any]) -> list[Chart]:
    rows = [row for row in comparison.rows if row.arm in doses and row.metric is not None]
    if all(isinstance(doses[row.arm], int | float) and not isinstance(doses[row.arm], bool) for row in rows):
        rows.sort(key=lambda row: doses[row.arm])
        return [_point(row, doses[row.arm]) for row in rows]
    return [_point(row, str(doses[row.arm])) for row in rows]


def _point(row: ArmRow, x: Any) -> Chart:
    assert row.metric is not None
    return {"name": row.arm, "x": x, "y": [short(v) for v in (row.metric.estimate, row.metric.low, row.metric.high)]}


# A sweep --------------------------------------------------------------------------------------------------------------
def search_charts(top: TopConfigurations, records: Sequence[TrialRecord]) -> Iterator[Chart]:
    """Every trial in the order of the search and over each searched parameter, and every learning curve."""
    measure = top.measure
    best = top.ranked[0].key if top.ranked else None
    points = [p for place, record in enumerate(records, 1) if (p := _trial(place, record, measure.name, best))]
    groups = [{"name": "order of the search", "x": "trial", "y": measure.label, "points": points}]
    for path in (path for path in top.varying if not top.searched or path in top.searched):
        values = {record.key: _read(record.last_config, path) for record in records}
        over = [{**point, "x": values[point["name"]]} for point in points if values[point["name"]] is not None]
        numeric = all(isinstance(p["x"], int | float) and not isinstance(p["x"], bool) for p in over)
        over = over if numeric else [{**point, "x": str(point["x"])} for point in over]
        groups.append({"name": path, "x": path, "y": measure.label, "points": over})
    yield from _chart("trials", "", "points", "Every trial", _ABOUT_TRIALS, [g for g in groups if g["points"]])
    share = max(2, MOST_POINTS // max(1, len(records)))
    lines = [line for record in records if (line := _line(record, measure.name, best, share))]
    about = "One line for each trial: finished ones, those that were stopped early, and the best one on top."
    group = {"name": measure.label, "x": "epoch", "y": measure.label, "log": False, "series": lines, "thin": True}
    yield from _chart("curves", "", "curves", "Every learning curve", about, [group])


_ABOUT_TRIALS = "The last value of each trial that recorded one; choose a parameter to see it over that."


def _trial(place: int, record: TrialRecord, metric: str, best: str | None) -> Chart | None:
    last = finite((record.final or {}).get(metric))
    if math.isnan(last) and record.epochs:
        last = finite(record.epochs[-1].get(metric))
    if math.isnan(last):
        return None
    return {
        "name": record.key,
        "x": place,
        "y": [short(last), None, None],
        "told": _told(record, best),
        "note": record.status,
    }


def _line(record: TrialRecord, metric: str, best: str | None, most: int) -> Chart | None:
    values = [finite(value) for value in record.curve(metric)]
    at = (
        [i for i in np.unique(np.linspace(0, len(values) - 1, min(len(values), most)).round().astype(int)).tolist()]
        if values
        else []
    )
    known = [(i + 1, short(values[i])) for i in at if not math.isnan(values[i])]
    if not known:
        return None
    return {
        "name": record.key, "shown": True, "told": _told(record, best), "note": record.status,
        "at": [epoch for epoch, _ in known], "mean": [value for _, value in known],
    }  # fmt: skip


def _told(record: TrialRecord, best: str | None) -> str:
    return "best" if record.key == best else record.status


def _read(config: Mapping[str, Any], path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if value is None or isinstance(value, int | float | str) else str(value)


def short(value: float) -> float | None:
    """Five figures of a number; None for what is no finite one."""
    return float(f"{value:.5g}") if math.isfinite(value) else None
