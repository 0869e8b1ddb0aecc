"""Comparisons as CSV for other programs: full precision, one row per arm, or one per arm and seed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

from fsg.report.columns import comparison_records, ranking_records, seed_records
from fsg.report.comparison import Comparison
from fsg.report.top import TopConfigurations


def comparison_csv(comparison: Comparison) -> str:
    """One row per arm, nothing rounded, empty where there is no value. The provenance stands in every row."""
    return _text(comparison_records(comparison))


def seeds_csv(comparison: Comparison) -> str:
    """One row per arm and seed: the metric's final value, or why it is missing."""
    return _text(seed_records(comparison))


def top_csv(top: TopConfigurations) -> str:
    """One row per configuration that ran to its end, the best first: mean, interval, objectives, parameters, every seed."""
    return _text(ranking_records(top))


def _text(rows: Iterable[dict[str, Any]]) -> str:
    lines = list(rows)
    if not lines:
        return ""
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _plain(value) for name, value in line.items()} for line in lines)
    return out.getvalue()


def _plain(value: Any) -> Any:
    return "" if value is None or (isinstance(value, float) and not math.isfinite(value)) else value
