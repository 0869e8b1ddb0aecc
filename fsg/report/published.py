"""Others' published numbers beside ours: the difference, and whether theirs could have been one more run of ours.

A published row belongs to an arm when its ``method`` is the arm's gradient estimator and every other column that names a part
of a trial (model, dataset, quantizer, optimizer, shape of the surrogate, activations) agrees with the arm's configuration. An
empty cell agrees with anything. What a row says of its ``work``, ``epochs``, ``protocol`` and ``source`` is shown beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from fsg.record.ledger import StudyState
from fsg.report.cells import NONE, Cell, Grid, number

_PARTS = {
    "method": ("gradient",),
    "shape": ("gradient", "shape"),
    "model": ("model",),
    "activations": ("model", "activations"),
    "dataset": ("data",),
    "data": ("data",),
    "quantizer": ("quantizer",),
    "optimizer": ("optimizer",),
}
_SAID = ("work", "epochs", "protocol", "source")  # of a row: shown, and compared with nothing


def published_grid(
    state: StudyState, arms: Sequence[str], rows: Sequence[Mapping[str, str]], confidence: float = 0.95
) -> Grid | None:
    """One line per arm and published number that belong together; None where none do.

    The prediction interval is that of one further run, mean -+ t sd sqrt(1 + 1/n) over our seeds; it needs 2 of them.
    """
    lines = []
    said = [column for column in _SAID if any(row.get(column) for row in rows)]
    for arm in arms:
        records = [r for r in state.trials.values() if r.arm == arm and r.status == "finished"]
        if not records:
            continue
        for row in rows:
            if _belongs(row, records[0].config):
                for column, theirs in _numbers(row).items():
                    metric = "test_accuracy_last10" if "last10" in column else "test_accuracy"
                    ours = [value for r in records if not math.isnan(value := r.final_value(metric))]
                    if ours:
                        beside = tuple(Cell(row.get(name) or NONE) for name in said)
                        lines.append(_line(arm, column, metric, ours, theirs, confidence) + beside)
    if not lines:
        return None
    return Grid(
        title="Published numbers beside ours",
        headers=(
            "arm",
            "published as",
            "our metric",
            "n",
            "ours",
            "theirs",
            "ours - theirs",
            "one more run of ours",
            "inside",
            *said,
        ),
        rows=tuple(lines),
        notes=(
            f"one more run of ours: the {confidence:.0%} prediction interval of a further seed; inside: theirs lies in it.",
            "The same name is not the same experiment: preprocessing, pre-training and budget may differ.",
        ),
        caption="Theirs as published, read from the study's `published` table.",
    )


def _belongs(row: Mapping[str, str], config: Mapping[str, Any]) -> bool:
    return all(row[column] == _named(config, place) for column, place in _PARTS.items() if row.get(column))


def _named(config: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    """The name of the part of a trial at ``place``; None where it has none."""
    found: Any = config
    for key in place:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found.get("name") if isinstance(found, Mapping) else found


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    """The columns of means and of an accuracy, by name; spreads, counts and losses stand for no accuracy."""
    found = {}
    for column, text in row.items():
        if {"mean", "accuracy"} & set(column.split("_")) and text:
            try:
                value = float(text)
            except ValueError:
                continue
            if math.isfinite(value):
                found[column] = value
    return found


def _line(arm: str, column: str, metric: str, ours: list[float], theirs: float, confidence: float) -> tuple[Cell, ...]:
    from scipy.special import stdtrit

    mean, n = fmean(ours), len(ours)
    span, inside = NONE, NONE
    if n > 1:
        half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * stdev(ours) * math.sqrt(1 + 1 / n)
        span = f"{mean - half:.1f} to {mean + half:.1f}"
        inside = "yes" if abs(theirs - mean) <= half else "no"
    cells = (
        arm,
        column,
        metric,
        str(n),
        f"{mean:.2f}",
        f"{theirs:.2f}",
        number(mean - theirs, 2, sign=True),
        span,
        inside,
    )
    return tuple(Cell(text) for text in cells)
