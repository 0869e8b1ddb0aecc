"""Comparisons as CSV for other programs: full precision, one row per arm, or one per arm and seed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from typing import Any

from fsg.report.comparison import Comparison
from fsg.report.top import TopConfigurations
from fsg.stats.paired import Interval


def comparison_csv(comparison: Comparison) -> str:
    """One row per arm, nothing rounded, empty where there is no value. The provenance stands in every row."""

    def ends(name: str, interval: Interval | None) -> dict[str, Any]:
        found = (interval.estimate, interval.low, interval.high, interval.n) if interval else (None,) * 4
        return dict(zip((name, f"{name}_low", f"{name}_high", f"{name}_n"), found, strict=True))

    where = comparison.provenance
    return _text(
        {
            "arm": row.arm,
            "metric": comparison.measure.name,
            "unit": comparison.measure.unit,
            **ends("mean", row.metric),
            "test_accuracy": row.test_accuracy,
            **ends("vs_reference", row.vs_reference),
            "vs_reference_p_holm": row.verdict_reference.p_holm if row.verdict_reference else None,
            **ends("vs_baseline", row.vs_baseline),
            "vs_baseline_p_holm": row.verdict_baseline.p_holm if row.verdict_baseline else None,
            "epochs_to_target": row.epochs_to_target.median if row.epochs_to_target else None,
            "step_ratio": row.step_ratio,
            "epochs": " ".join(map(str, row.epochs)),
            "missing_seeds": " ".join(str(m.seed) for m in row.missing),
            "reference": comparison.reference,
            "baseline": comparison.baseline,
            "confidence": comparison.confidence,
            "interval_kind": "t",
            "study": where.study,
            "budget": where.budget,
            "device": where.device,
            "version": where.version,
            "date": where.date,
        }
        for row in comparison.rows
    )


def seeds_csv(comparison: Comparison) -> str:
    """``seed_rows`` as CSV."""
    return _text(seed_rows(comparison))


def seed_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per arm and seed: the metric's final value, or why it is missing."""
    rows = []
    for row in comparison.rows:
        found: list[tuple[int, float | None, str]] = [(seed, value, "") for seed, value in row.values.items()]
        found += [(missing.seed, None, missing.why) for missing in row.missing]
        rows += [
            {"arm": row.arm, "seed": seed, comparison.measure.name: value, "missing": why}
            for seed, value, why in sorted(found, key=lambda r: r[0])
        ]
    return rows


def top_csv(top: TopConfigurations) -> str:
    """One row per configuration that ran to its end, the best first: mean, interval, objectives, parameters, every seed."""
    return _text(
        {
            "key": row.key,
            "rank": row.rank,
            top.measure.name: row.metric.estimate,
            f"{top.measure.name}_low": row.metric.low,
            f"{top.measure.name}_high": row.metric.high,
            "n": len(row.values),
            **row.objectives,
            "on_front": row.on_front if top.objectives else None,
            "test_accuracy": row.test_accuracy,
            "epochs": row.epochs,
            **row.parameters,
            **{f"seed_{seed}": row.values.get(seed) for seed in top.seeds},
        }
        for row in top.ranked
    )


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
