"""The columns of the comparison of arms and of a sweep's ranking: one list each, which every rendering reads.

A ``Column`` says what it holds of a row, how that reads in a cell, and under which names programs find it. Terminal, markdown,
LaTeX, HTML and MLflow's table take ``grid``, CSV takes ``record``, MLflow's metrics take ``numbers``: a new column is one entry
of a list. Proof: ``tests/report/test_columns.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Generic, TypeVar

from fsg.report.cells import (
    NONE,
    Cell,
    Grid,
    decimals,
    difference_cell,
    epochs_cell,
    estimate,
    number,
    parameter,
    short,
)
from fsg.report.comparison import ArmRow, Comparison, Measure, Provenance
from fsg.report.exercised import REFUSED
from fsg.report.top import TopConfiguration, TopConfigurations
from fsg.stats.paired import Interval

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Column(Generic[Row]):
    """One column of a table whose rows are ``Row``s.

    Attributes:
        name: Its header for readers; "" for a column that only programs see.
        value: What it holds of a row, nothing rounded: a number, text, an Interval, or None for nothing.
        cell: How that reads; left out, the value as text.
        csv: Its headers in CSV: of the value, or of an interval's estimate, low end, high end and n, as many as are named.
        mlflow: Its names among MLflow's metrics: of the value, or of an interval's estimate and half-width.
        keep: Whether a terminal that is too narrow for the table shows it all the same.
    """

    name: str
    value: Callable[[Row], Any]
    cell: Callable[[Row], Cell] | None = None
    csv: tuple[str, ...] = ()
    mlflow: tuple[str, ...] = ()
    keep: bool = False

    def read(self, row: Row) -> Cell:
        """The cell of a row."""
        if self.cell is not None:
            return self.cell(row)
        value = self.value(row)
        return Cell(NONE if value is None else str(value))


def grid(
    columns: Iterable[Column[Row]], rows: Iterable[Row], *, title: str, notes: tuple[str, ...], caption: str
) -> Grid:
    """The columns that readers see, as a table."""
    shown = [column for column in columns if column.name]
    kept = next((place for place, column in enumerate(shown) if not column.keep), len(shown))
    cells = tuple(tuple(column.read(row) for column in shown) for row in rows)
    return Grid(title, tuple(column.name for column in shown), cells, notes, caption, kept)


def record(columns: Iterable[Column[Row]], row: Row) -> dict[str, Any]:
    """A row for programs: CSV header to value, nothing rounded."""
    found: dict[str, Any] = {}
    for column in columns:
        value = column.value(row)
        parts = (value.estimate, value.low, value.high, value.n) if isinstance(value, Interval) else (value,)
        found.update(pair for pair in zip_longest(column.csv, parts[: len(column.csv)]))
    return found


def numbers(columns: Iterable[Column[Row]], row: Row, digits: int) -> dict[str, float]:
    """A row as MLflow's metrics: short name to rounded number; without what a row does not have."""
    found: dict[str, float] = {}
    for column in columns:
        value = column.value(row)
        parts = (value.estimate, value.half_width) if isinstance(value, Interval) else (value,)
        for name, part in zip(column.mlflow, parts, strict=False):
            if part is not None and math.isfinite(part):
                found[name] = round(float(part), digits)
    return found


TEST_DIGITS = 1  # of test accuracies, in points


# The comparison of arms -----------------------------------------------------------------------------------------------
def comparison_columns(comparison: Comparison) -> tuple[Column[ArmRow], ...]:
    """Every column of the comparison of arms, in the order of all renderings."""
    measure, reference, baseline = comparison.measure, comparison.reference, comparison.baseline
    digits = decimals(
        [i for r in comparison.rows for i in (r.metric, r.vs_reference, r.vs_baseline) if i is not None], measure.unit
    )

    def against_reference(row: ArmRow) -> Cell:
        if row.arm == reference or row.refused_reference:
            return Cell("reference" if row.arm == reference else REFUSED)
        return difference_cell(row.vs_reference, row.verdict_reference, digits, measure.mode)

    def against_baseline(row: ArmRow) -> Cell:
        if row.arm == baseline or row.refused_baseline:
            return Cell("baseline" if row.arm == baseline else REFUSED)
        return difference_cell(row.vs_baseline, row.verdict_baseline, digits, measure.mode)

    return (
        Column("arm", lambda row: row.arm, lambda row: Cell(row.arm, best=row.best), csv=("arm",), keep=True),
        _same("metric", measure.name),
        _same("unit", measure.unit),
        Column("n", lambda row: row.n, _seeds, keep=True),
        Column(
            measure.label,
            lambda row: row.metric,
            lambda row: estimate(row.metric, digits, best=row.best),
            csv=_ends("mean"),
            mlflow=("acc", "ci_half"),
        ),
        Column(
            "test [%]",
            lambda row: row.test,
            lambda row: estimate(row.test, TEST_DIGITS),
            csv=("test_accuracy",),
            mlflow=("test",),
        ),
        Column(
            "" if reference is None else f"vs {reference}",
            lambda row: row.vs_reference,
            against_reference,
            csv=_ends("vs_reference"),
            mlflow=("vs_full",),
        ),
        Column("", lambda row: row.verdict_reference and row.verdict_reference.p_holm, csv=("vs_reference_p_holm",)),
        Column(
            "" if baseline is None else f"vs {baseline}",
            lambda row: row.vs_baseline,
            against_baseline,
            csv=_ends("vs_baseline"),
            mlflow=("vs_ste",),
        ),
        Column("", lambda row: row.verdict_baseline and row.verdict_baseline.p_holm, csv=("vs_baseline_p_holm",)),
        Column(
            "" if all(row.test_vs_baseline is None for row in comparison.rows) else f"test vs {baseline}",
            lambda row: row.test_vs_baseline,
            lambda row: difference_cell(row.test_vs_baseline, None, TEST_DIGITS, "max"),
        ),
        Column("", lambda row: row.n, mlflow=("n",)),  # MLflow sorts by its first metric and shows them in this order
        Column(
            "" if baseline is None else "to target",
            lambda row: row.epochs_to_target and row.epochs_to_target.median,
            lambda row: epochs_cell(row.epochs_to_target),
            csv=("epochs_to_target",),
        ),
        Column(
            "" if baseline is None else "step ×",
            lambda row: row.step_ratio,
            lambda row: _ratio(row.step_ratio),
            csv=("step_ratio",),
            mlflow=("step_x",),
        ),
        *_spent(comparison),
        Column("", lambda row: " ".join(str(missing.seed) for missing in row.missing), csv=("missing_seeds",)),
        _same("reference", reference),
        _same("baseline", baseline),
        _same("confidence", comparison.confidence),
        _same("interval_kind", "t"),
        *_origin(comparison.provenance),
        Column("", lambda row: row.test and row.test.low, csv=("test_accuracy_low",)),
        Column("", lambda row: row.test and row.test.high, csv=("test_accuracy_high",)),
        Column("", lambda row: row.test_vs_baseline, csv=_ends("test_vs_baseline")),
        Column("", lambda row: row.refused_reference, csv=("vs_reference_not_exercised",)),
        Column("", lambda row: row.refused_baseline, csv=("vs_baseline_not_exercised",)),
    )


def comparison_grid(comparison: Comparison) -> Grid:
    """One row per arm: n, metric, test accuracy, the two paired differences, epochs to target, relative step time."""
    return grid(
        comparison_columns(comparison),
        comparison.rows,
        title=f"{comparison.provenance.study}: {comparison.measure.label}, {comparison.confidence:.0%} intervals",
        notes=comparison.notes,
        caption=comparison.provenance.line(),
    )


def comparison_records(comparison: Comparison) -> Iterator[dict[str, Any]]:
    """One row per arm for CSV: nothing rounded, None where there is no value, the provenance in every row."""
    columns = comparison_columns(comparison)
    return (record(columns, row) for row in comparison.rows)


def arm_meanings(comparison: Comparison) -> dict[str, str]:
    """What each of those numbers is, in a sentence for who meets it in MLflow: short name to sentence."""
    label, confidence = comparison.measure.label, f"{comparison.confidence:.0%}"
    said = {
        "acc": f"{label}, mean over the arm's seeds",
        "ci_half": f"half-width of its {confidence} interval",
        "test": "test accuracy [%], mean over the arm's seeds",
        "vs_full": f"{label} less {comparison.reference}'s, paired by seed",
        "vs_ste": f"{label} less {comparison.baseline}'s, paired by seed",
        "n": "seeds with a value",
        "step_x": f"time of a step relative to {comparison.baseline}'s",
    }
    return {name: said.get(name, column.name) for column in comparison_columns(comparison) for name in column.mlflow}


def arm_metrics(comparison: Comparison) -> dict[str, dict[str, float]]:
    """Per arm, short names and rounded values for MLflow's columns: acc, ci_half, test, vs_full, vs_ste, n, step_x.

    ``vs_full`` and ``vs_ste`` are the differences to the reference and the baseline, whatever these are called.
    What an arm does not have is left out.
    """
    columns, digits = comparison_columns(comparison), 2 if comparison.measure.unit == "%" else 4
    return {row.arm: numbers(columns, row, digits) for row in comparison.rows}


@dataclass(frozen=True, slots=True)
class SeedRow:
    """What one seed of an arm gave: the metric's final ``value``, or None and why it is ``missing``."""

    arm: str
    seed: int
    value: float | None
    missing: str


def seed_columns(measure: Measure) -> tuple[Column[SeedRow], ...]:
    """The columns of the table of every arm's seeds."""
    return (
        Column("arm", lambda row: row.arm, csv=("arm",)),
        Column("seed", lambda row: row.seed, csv=("seed",)),
        Column(measure.label, lambda row: row.value, csv=(measure.name,)),
        Column("missing", lambda row: row.missing, csv=("missing",)),
    )


def seed_records(comparison: Comparison) -> list[dict[str, Any]]:
    """One row per arm and seed: the metric's final value, or why it is missing."""
    columns = seed_columns(comparison.measure)
    found = []
    for row in comparison.rows:
        seeds = [SeedRow(row.arm, seed, value, "") for seed, value in row.values.items()]
        seeds += [SeedRow(row.arm, missing.seed, None, missing.why) for missing in row.missing]
        found += [record(columns, one) for one in sorted(seeds, key=lambda one: one.seed)]
    return found


def _spent(comparison: Comparison) -> Iterator[Column[ArmRow]]:
    """What each arm was given: shown only where arms had different epochs; else the caption says it."""
    rows, baseline = comparison.rows, comparison.baseline
    differ = len({row.epochs for row in rows if row.epochs}) > 1
    yield Column(
        "epochs" if differ else "",
        lambda row: " ".join(map(str, row.epochs)),
        lambda row: Cell(" to ".join(map(str, row.epochs)) or NONE),
        csv=("epochs",),
    )
    paid = next((row.epochs for row in rows if row.arm == baseline), ())

    def time(row: ArmRow) -> float | None:
        return row.step_ratio * row.epochs[0] / paid[0] if row.step_ratio is not None and len(row.epochs) == 1 else None

    if differ and len(paid) == 1:
        yield Column("time ×", time, lambda row: _ratio(time(row)))


def _seeds(row: ArmRow) -> Cell:
    return Cell(f"{row.n}/{row.n + len(row.missing)}" if row.missing else str(row.n))


def _test(row: TopConfiguration) -> Cell:
    return Cell(NONE if row.test_accuracy is None else f"{row.test_accuracy:.{TEST_DIGITS}f}")


def _ratio(value: float | None) -> Cell:
    return Cell(NONE if value is None else f"{value:.2f}")


def _ends(name: str) -> tuple[str, str, str, str]:
    return name, f"{name}_low", f"{name}_high", f"{name}_n"


def _same(name: str, value: Any) -> Column[Any]:
    """What is the same in every row, for programs."""
    return Column("", lambda row: value, csv=(name,))


def _origin(where: Provenance) -> Iterator[Column[Any]]:
    for name in ("study", "budget", "device", "version", "date"):
        yield _same(name, getattr(where, name))


# A sweep's ranking ----------------------------------------------------------------------------------------------------
def ranking_columns(top: TopConfigurations) -> tuple[Column[TopConfiguration], ...]:
    """Every column of a sweep's ranking, in the order of its CSV; ``ranking_grid`` brings forward what was searched."""
    several, measure = len(top.seeds) > 1, top.measure
    digits = decimals([row.metric for row in top.rows], measure.unit) if several else _digits(measure)
    scales = {objective.name: _scale(objective, top.ranked) for objective in top.objectives}

    def objective(measure: Measure) -> Column[TopConfiguration]:
        value: Callable[[TopConfiguration], float] = lambda row: row.objectives[measure.name]  # noqa: E731
        return Column(measure.label, value, lambda row: Cell(number(value(row), scales[measure.name])), (measure.name,))

    return (
        Column("trial", lambda row: row.key, _configuration, csv=("key",), keep=True),
        Column("#", lambda row: row.rank, csv=("rank",), keep=True),
        Column(
            measure.label,
            lambda row: row.metric,
            lambda row: estimate(row.metric, digits, best=row.best),
            csv=_ends(measure.name)[:3],
            keep=True,
        ),
        Column("n" if several else "", lambda row: len(row.values), csv=("n",)),
        *map(objective, top.objectives),
        Column("", lambda row: row.on_front if top.objectives else None, csv=("on_front",)),
        Column("test [%]", lambda row: row.test_accuracy, _test, csv=("test_accuracy",)),
        Column("" if "epochs" in top.varying else "epochs", lambda row: row.epochs, csv=("epochs",)),
        *(
            _parameter(path, name, not top.searched or path in top.searched)
            for path, name in zip(top.varying, short(top.varying), strict=True)
        ),
    )


def ranking_grid(
    top: TopConfigurations, rows: Sequence[TopConfiguration], title: str, notes: tuple[str, ...] = ()
) -> Grid:
    """``rows`` of the ranking as a table: what was searched first, and last what is the same in all of them."""

    def place(column: Column[TopConfiguration]) -> int:
        same = len({column.read(row) for row in rows}) == 1 < len(rows)
        return 0 if column.keep else 2 if same else 1

    columns = sorted(ranking_columns(top), key=place)
    return grid(columns, rows, title=title, notes=notes, caption=top.provenance.line())


def ranked_seeds(top: TopConfigurations) -> tuple[Column[TopConfiguration], ...]:
    """A column for each seed: what the search saw as a mean."""
    digits = _digits(top.measure)

    def seed(which: int) -> Column[TopConfiguration]:
        def cell(row: TopConfiguration) -> Cell:
            return Cell(number(row.values[which], digits) if which in row.values else NONE)

        return Column(f"seed {which}", lambda row: row.values.get(which), cell, (f"seed_{which}",))

    return tuple(map(seed, top.seeds))


def ranking_records(top: TopConfigurations) -> Iterator[dict[str, Any]]:
    """One row per configuration that ran to its end, the best first: mean, interval, objectives, parameters, every seed."""
    columns = (*ranking_columns(top), *ranked_seeds(top))
    return (record(columns, row) for row in top.ranked)


def _configuration(row: TopConfiguration) -> Cell:
    return Cell(row.key, mark="▲" if row.on_front else "", best=row.best)


def _parameter(path: str, name: str, searched: bool) -> Column[TopConfiguration]:
    def cell(row: TopConfiguration) -> Cell:
        return Cell(parameter(row.parameters[path]))

    return Column(name, lambda row: row.parameters[path], cell, csv=(path,), keep=searched)


def _digits(measure: Measure) -> int:
    return 2 if measure.unit == "%" else 4


def _scale(measure: Measure, rows: Iterable[TopConfiguration]) -> int:
    """None for whole numbers such as bits, else two."""
    return 0 if all(float(row.objectives[measure.name]).is_integer() for row in rows) else 2
