"""The report of a study, whichever kind: the same grids and drawings on the terminal, in files, on a page, in MLflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fsg.errors import StudyError
from fsg.files import write_atomically
from fsg.report.cells import Grid, comparison_grid, top_grid
from fsg.report.comparison import Comparison, arm_metrics, compare, top_trials
from fsg.report.csv import comparison_csv, seeds_csv, top_csv
from fsg.report.factors import FactorReport, factor_grid, factor_report
from fsg.report.html import html_page
from fsg.report.judgement import judgement_grid
from fsg.report.latex import grid_latex
from fsg.report.markdown import grid_markdown
from fsg.report.terminal import TerminalTable
from fsg.study.design import FULL, arms_of
from fsg.study.ledger import StudyState
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class StudyReport:
    """``grids``: the table first, then what stands behind it. ``arm_metrics``: the columns of MLflow's view; none for a sweep.

    ``texts`` are further files by name; ``comparison`` and ``factors`` are what the drawings show.
    """

    title: str
    question: str
    grids: tuple[Grid, ...]
    texts: dict[str, str]
    state: StudyState
    arm_metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    comparison: Comparison | None = None
    factors: FactorReport | None = None

    @property
    def terminal(self) -> list[TerminalTable]:
        """For rich to print: the table, and the effects where the design has them."""
        shown = self.grids[:1] + (self.grids[1:2] if self.factors else ())
        return [TerminalTable(grid) for grid in shown]

    @property
    def markdown(self) -> str:
        """Every grid, for a README or an issue."""
        return "\n".join(grid_markdown(grid) for grid in self.grids)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The table as MLflow stores it: one mapping of header to cell per line."""
        grid = self.grids[0]
        return [dict(zip(grid.headers, (c.text for c in row), strict=True)) for row in grid.rows]

    def write(self, folder: Path, drawings: bool = True) -> list[Path]:
        """Write markdown, LaTeX, CSV, figures and one self-contained page into ``folder``; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        files = {"comparison.md": self.markdown, "comparison.tex": grid_latex(self.grids[0])} | self.texts
        paths = []
        for name, text in files.items():
            write_atomically(folder / name, text.encode())
            paths.append(folder / name)
        drawn = self._draw(folder) if drawings else []
        page = folder / "report.html"
        write_atomically(page, html_page(self.title, self.question, self.grids, drawn).encode())
        return [*paths, *(path for _, path in drawn), page]

    def _draw(self, folder: Path) -> list[tuple[str, Path]]:
        from fsg.report.figures import save

        return [(title, save(figure, folder / f"{name}.svg")) for title, name, figure in self._figures()]

    def _figures(self) -> list[tuple[str, str, Figure]]:
        """(title, file name, figure) of what can be drawn; a figure whose data are not there is left out."""
        from fsg.report.figures import forest, learning_curves, main_effects

        found: list[tuple[str, str, Figure]] = []
        comparison = self.comparison
        if comparison is None:
            return found
        for other in (comparison.reference, comparison.baseline):
            if other is not None and len(comparison.rows) > 1:
                found += _try(
                    f"Differences to {other}",
                    f"forest_{other.replace('/', '_')}",
                    lambda o=other: forest(comparison, o),
                )
        if self.factors is not None:
            factors = self.factors
            found += _try("Effects", "effects", lambda: main_effects(comparison, factors))
        for metric in dict.fromkeys((comparison.measure.name, "train_loss")):
            unit = comparison.measure.unit if metric == comparison.measure.name else ""
            found += _try(
                metric, f"curves_{metric}", lambda m=metric, u=unit: learning_curves(comparison, self.state, m, unit=u)
            )
        return found


def make_report(spec: AblationSpec | SweepSpec, state: StudyState, top: int = 10) -> StudyReport:
    """The comparison of an ablation's arms, or the ``top`` trials of a sweep. StudyError where there is nothing to report."""
    device = ", ".join(sorted({t.device for t in state.trials.values() if t.device})) or "device not recorded"
    if isinstance(spec, SweepSpec):
        best = top_trials(state, spec.metric, top, device=device)
        return StudyReport(spec.name, spec.question, (top_grid(best),), {"top.csv": top_csv(best)}, state)
    comparison = compare(
        state,
        metric=spec.metric,
        reference=spec.analysis.reference,
        baseline=spec.analysis.baseline,
        interval=spec.analysis.interval,
        smallest_effect=spec.analysis.smallest_effect_of_interest,
        device=device,
    )
    factors = _factors(spec, comparison)
    grids = [comparison_grid(comparison)]
    if factors is not None:
        grids.append(factor_grid(comparison, factors))
    others = [o for o in (comparison.reference, comparison.baseline) if o is not None and _paired(comparison, o)]
    grids += [judgement_grid(comparison, other) for other in others]
    texts = {"comparison.csv": comparison_csv(comparison), "seeds.csv": seeds_csv(comparison)}
    return StudyReport(
        spec.name, spec.question, tuple(grids), texts, state, arm_metrics(comparison), comparison, factors
    )


def _paired(comparison: Comparison, other: str) -> bool:
    """Whether any arm shares two finished seeds with ``other``."""
    values = {row.arm: set(row.values) for row in comparison.rows}
    return any(len(values[other] & v) > 1 for arm, v in values.items() if arm != other)


def _factors(spec: AblationSpec, comparison: Comparison) -> FactorReport | None:
    """The effects of a factorial design, as far as its seeds are whole."""
    switches = getattr(spec.design, "switches", None)
    if spec.design is None or spec.design.kind != "full_factorial" or not switches:
        return None
    designed = {a: c.gradient for a, c in arms_of(spec).items() if a == FULL or a.startswith("no_")}
    levels = {arm: [bool(getattr(gradient, s)) for s in switches] for arm, gradient in designed.items()}
    try:
        return factor_report(comparison, switches, levels)
    except StudyError:
        return None  # seeds are missing: the table says which


def _try(title: str, name: str, draw: Callable[[], Figure]) -> list[tuple[str, str, Figure]]:
    try:
        return [(title, name, draw())]
    except StudyError:
        return []
