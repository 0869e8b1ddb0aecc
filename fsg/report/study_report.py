"""The report of a study, whichever kind: one grid of cells with every rendering, so that all of them say the same."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fsg.files import write_atomically
from fsg.report.cells import Grid, comparison_grid, top_grid
from fsg.report.comparison import arm_metrics, compare, top_trials
from fsg.report.markdown import grid_markdown
from fsg.report.terminal import TerminalTable
from fsg.study.ledger import StudyState
from fsg.study.spec import AblationSpec, SweepSpec


@dataclass(frozen=True)
class StudyReport:
    """``arm_metrics``: short rounded numbers of each arm, the columns of MLflow's view; none for a sweep."""

    grid: Grid
    arm_metrics: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def terminal(self) -> TerminalTable:
        """For rich to print."""
        return TerminalTable(self.grid)

    @property
    def markdown(self) -> str:
        """For a README or an issue."""
        return grid_markdown(self.grid)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The table as MLflow stores it: one mapping of header to cell per line."""
        return [dict(zip(self.grid.headers, (c.text for c in row), strict=True)) for row in self.grid.rows]

    def write(self, folder: Path) -> list[Path]:
        """Write the files of the report into ``folder`` and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "comparison.md"
        write_atomically(path, self.markdown.encode())
        return [path]


def make_report(spec: AblationSpec | SweepSpec, state: StudyState, top: int = 10) -> StudyReport:
    """The comparison of an ablation's arms, or the ``top`` trials of a sweep. StudyError where there is nothing to report."""
    device = ", ".join(sorted({t.device for t in state.trials.values() if t.device})) or "device not recorded"
    if isinstance(spec, SweepSpec):
        return StudyReport(top_grid(top_trials(state, spec.metric, top, device=device)))
    comparison = compare(
        state,
        metric=spec.metric,
        reference=spec.analysis.reference,
        baseline=spec.analysis.baseline,
        interval=spec.analysis.interval,
        smallest_effect=spec.analysis.smallest_effect_of_interest,
        device=device,
    )
    return StudyReport(comparison_grid(comparison), arm_metrics(comparison))
