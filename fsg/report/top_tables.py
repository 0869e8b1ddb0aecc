"""The tables of a sweep as grids: its best configurations, every seed of them, its Pareto front, a population's schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fsg.record.ledger import StudyState, TrialRecord
from fsg.report.cells import NONE, Cell, Grid, parameter, short
from fsg.report.columns import Column, grid, ranked_seeds, ranking_grid
from fsg.report.top import TopConfiguration, TopConfigurations
from fsg.study.space import value_at


def top_grids(top: TopConfigurations, state: StudyState) -> Iterator[Grid]:
    """The best configurations first, then what stands behind them, as far as the sweep has it."""
    yield top_grid(top)
    if top.objectives:
        yield ranking_grid(top, top.front, f"{top.provenance.study}: the Pareto front")
    if len(top.seeds) > 1:
        yield seeds_grid(top)
    members = [record for record in state.trials.values() if record.exploits]
    if members:
        yield schedule_grid(top, list(state.trials.values()))


def top_grid(top: TopConfigurations) -> Grid:
    """One row per configuration: rank, mean with its interval, objectives, test accuracy, epochs, what varies."""
    what = "configuration" if len(top.rows) == 1 else "configurations"
    return ranking_grid(top, top.rows, f"{top.provenance.study}: the best {len(top.rows)} {what}", top.notes)


def seeds_grid(top: TopConfigurations) -> Grid:
    """Every seed of the best configurations: what the search saw as a mean."""
    trial: Column[TopConfiguration] = Column("trial", lambda row: row.key, lambda row: Cell(row.key, best=row.best))
    return grid(
        (trial, *ranked_seeds(top)),
        top.rows,
        title=f"{top.provenance.study}: {top.measure.label} of every seed",
        notes=(f"{NONE}: not run, because the interval of the seeds before said that the best cannot be reached.",),
        caption=top.provenance.line(),
    )


def schedule_grid(top: TopConfigurations, records: Sequence[TrialRecord]) -> Grid:
    """What each member of a population began with, and what it took over from whom, the best member first."""
    paths = list(dict.fromkeys(path for record in records for e in record.exploits for path in e.values))
    place = {row.key: row.rank for row in top.ranked}
    rows = []
    for record in sorted(records, key=lambda r: place.get(r.key, len(records) + 1)):
        begun = [parameter(value_at(record.config, path)) for path in paths]
        rows.append((Cell(record.key), Cell("0"), Cell(NONE), *map(Cell, begun)))
        for e in record.exploits:
            now = [Cell(parameter(e.values.get(path))) for path in paths]
            rows.append((Cell(record.key), Cell(str(e.epoch)), Cell(e.donor), *now))
    return Grid(
        title=f"{top.provenance.study}: the schedule of every member",
        headers=("trial", "after epoch", "weights of", *short(paths)),
        rows=tuple(rows),
        notes=(
            "A row holds from its epoch on, until the next row of the same trial; weights and values were taken over from "
            "another member, then the values were changed.",
        ),
        caption=top.provenance.line(),
        kept=3 + len(paths),
    )


def importance_grid(
    top: TopConfigurations,
    measure: str,
    importances: Mapping[str, Mapping[str, float]],
    left_out: Sequence[str],
    counted: str | None = None,
) -> Grid:
    """Each path's share of the importance for ``measure`` by each method (name -> path -> share), the most important first.

    ``counted``: the configurations that it was told from; all that are ranked where it is left out.
    """
    paths = {path for shares in importances.values() for path in shares}
    ordered = sorted(paths, key=lambda path: -sum(shares.get(path, 0.0) for shares in importances.values()))
    over = counted or f"{len(top.ranked)} configurations that ran to their end"
    without = (f"Left out, for they are set in some trials only: {', '.join(left_out)}.",) if left_out else ()
    return Grid(
        title=f"{top.provenance.study}: what mattered for {measure}",
        headers=("parameter", *importances),
        rows=tuple((Cell(p), *(Cell(f"{shares.get(p, 0.0):.0%}") for shares in importances.values())) for p in ordered),
        notes=(
            f"Shares of the importance for {measure} over {over}, chosen by a search: a hint, no test.",
            *without,
        ),
        caption=top.provenance.line(),
    )
