"""The report of a study, whichever kind: the same grids and drawings on the terminal, in files, on a page, in MLflow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from fsg.errors import StudyError
from fsg.files import write_atomically
from fsg.record.ledger import StudyState, TrialRecord
from fsg.record.versions import mixtures
from fsg.report.answer import Answer, answer, answer_of_search, effects_in_words
from fsg.report.cells import Grid
from fsg.report.columns import arm_meanings, arm_metrics, comparison_grid, seed_records
from fsg.report.comparison import Comparison, compare
from fsg.report.csv import comparison_csv, seeds_csv
from fsg.report.exercised import exercise_grid
from fsg.report.factors import FactorReport, anova_grid, factor_grid, factor_report
from fsg.report.judgement import judgement_grid
from fsg.report.latex import grid_latex
from fsg.report.markdown import grid_markdown, one_line
from fsg.report.page import html_page
from fsg.report.page.charts import Chart, comparison_charts, search_charts
from fsg.report.published import published_grid
from fsg.report.terminal import TerminalTable
from fsg.report.top import TopConfigurations
from fsg.stats.sequential import Looks, plan_looks
from fsg.study.design import aliases, doses, factor_levels, left_out
from fsg.study.plan import Block as DesignBlock
from fsg.study.published import read_published
from fsg.study.seeds import SequentialSeeds
from fsg.study.spec import AblationSpec, SweepSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NOTE = 5000  # letters that MLflow takes for a description of an experiment


@dataclass(frozen=True)
class Block:
    """One comparison: the study's, or that of one block of a cross.

    ``factors``: its effects, where the design has them; ``doses``: the option it varies, and the value of each arm.
    """

    name: str
    comparison: Comparison
    factors: FactorReport | None
    grids: tuple[Grid, ...]
    doses: tuple[str, Mapping[str, Any]] = ("", MappingProxyType({}))

    @property
    def acted(self) -> bool:
        """Whether its second table says what the components did."""
        return any(arm.parts for arm in self.comparison.exercised.values())


@dataclass(frozen=True)
class StudyReport:
    """``grids``: the tables first, then what stands behind them. ``arm_metrics``: the columns of MLflow's view.

    ``texts`` are further files by name; a sweep has no ``blocks`` and no ``arm_metrics`` but a ``ranking``, and its own way
    to ``draw``.
    """

    title: str
    question: str
    grids: tuple[Grid, ...]
    texts: dict[str, str]
    state: StudyState
    blocks: tuple[Block, ...] = ()
    draw: Callable[[Path], list[tuple[str, Path]]] | None = None
    ranking: TopConfigurations | None = None

    @property
    def comparison(self) -> Comparison | None:
        """The first block's."""
        return self.blocks[0].comparison if self.blocks else None

    @property
    def arm_metrics(self) -> dict[str, dict[str, float]]:
        """Short rounded numbers of each arm."""
        return {arm: numbers for block in self.blocks for arm, numbers in arm_metrics(block.comparison).items()}

    @property
    def arm_meanings(self) -> dict[str, str]:
        """What each of these numbers is, by its short name; of several blocks each names its own reference and baseline."""
        found: dict[str, dict[str, None]] = defaultdict(dict)
        for block in self.blocks:
            for name, what in arm_meanings(block.comparison).items():
                found[name][what] = None
        return {name: "; ".join(whats) for name, whats in found.items()}

    @property
    def note(self) -> str:
        """The question, its answer, and as many of the main tables as MLflow's description of a run has room for."""
        head = [f"**{one_line(self.question)}**"] if self.question else []
        text = "\n\n".join([*head, *(one_line(found.sentence) for found in self.answers)])
        for grid in self.main_grids:
            more = f"{text}\n\n{grid_markdown(grid)}"
            if len(more) > MOST_NOTE:
                break
            text = more
        return text

    @property
    def main_grids(self) -> list[Grid]:
        """The tables, what acted, the effects where the design has them, and published numbers: what answers the question."""
        shown = [grid for b in self.blocks for grid in b.grids[: 1 + b.acted + bool(b.factors)]]
        of_blocks = [grid for block in self.blocks for grid in block.grids]
        return shown + [grid for grid in self.grids if grid not in of_blocks]

    @property
    def terminal(self) -> list[TerminalTable]:
        """``main_grids`` for rich to print."""
        return [TerminalTable(grid) for grid in self.main_grids]

    @property
    def markdown(self) -> str:
        """Every grid, for a README or an issue."""
        return "\n".join(grid_markdown(grid) for grid in self.grids)

    @property
    def rows(self) -> list[dict[str, str]]:
        """The tables as MLflow stores them: one mapping of header to cell per line."""
        tables = [block.grids[0] for block in self.blocks] or self.grids[:1]
        return [dict(zip(t.headers, (c.text for c in row), strict=True)) for t in tables for row in t.rows]

    @property
    def seeds(self) -> list[dict[str, Any]]:
        """What each seed of each arm gave, or why it gave nothing."""
        return [row for block in self.blocks for row in seed_records(block.comparison)]

    @property
    def answers(self) -> list[Answer]:
        """What the report answers: a sentence for each comparison, or the one of a search."""
        return [answer(block.comparison) for block in self.blocks] + (
            [answer_of_search(self.ranking)] if self.ranking else []
        )

    @property
    def charts(self) -> list[Chart]:
        """What the page draws."""
        found = [
            chart
            for block in self.blocks
            for chart in comparison_charts(block.name, block.comparison, self.state, block.factors, block.doses)
        ]
        if self.ranking is not None:
            found += search_charts(self.ranking, list(self.state.trials.values()))
        return found

    @property
    def files(self) -> dict[str, str]:
        """The tables as files, by name: markdown, LaTeX and CSV."""
        latex = "\n".join(grid_latex(t, f"tab:{self.title}{i or ''}") for i, t in enumerate(self.main_grids))
        return {"comparison.md": self.markdown, "comparison.tex": latex} | self.texts

    def write(self, folder: Path, drawings: bool = True) -> list[Path]:
        """Write markdown, LaTeX, CSV, figures and one self-contained page into ``folder``; returns their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for name, text in self.files.items():
            write_atomically(folder / name, text.encode())
            paths.append(folder / name)
        drawn = self._draw(folder) if drawings else []
        return [*paths, *(path for _, path in drawn), self.write_page(folder, drawn)]

    def write_page(self, folder: Path, drawn: Sequence[tuple[str, Path]] = ()) -> Path:
        """Write ``report.html`` into ``folder``; of what was ``drawn`` (title, file) it embeds what it has no chart of."""
        folder.mkdir(parents=True, exist_ok=True)
        main = self.main_grids
        page = html_page(
            self.title,
            self.question,
            main,
            answers=self.answers,
            more=[effects_in_words(b.comparison, b.factors) for b in self.blocks if b.factors is not None],
            charts=self.charts,
            images=[(title, path) for title, path in drawn if not self.blocks and path.stem != "search_curves"],
            details=[grid for grid in self.grids if grid not in main],
            files=self.files,
        )
        write_atomically(folder / "report.html", page.encode())
        return folder / "report.html"

    def _draw(self, folder: Path) -> list[tuple[str, Path]]:
        if self.draw is not None:
            return self.draw(folder)
        from fsg.report.figures import save

        drawn = []
        for block in self.blocks:
            for title, name, draw in self._figures(block):
                with suppress(StudyError):  # its data are not there
                    prefix = f"{block.name}." if block.name else ""
                    path = folder / f"{prefix}{name.replace('/', '.')}.svg"
                    drawn.append((f"{block.name} {title}".strip(), save(draw(), path)))
        return drawn

    def _figures(self, block: Block) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
        """(title, file name, how to draw it)."""
        from fsg.report.figures import cost_and_quality, dose_response, forest, learning_curves, main_effects

        comparison, factors = block.comparison, block.factors
        for other in (comparison.reference, comparison.baseline):
            if other is not None and len(comparison.rows) > 1:
                yield (
                    f"Differences to {other}",
                    f"forest_{other.rpartition('/')[2]}",
                    partial(forest, comparison, other),
                )
        if factors is not None:
            yield "Effects and interactions", "effects", partial(main_effects, comparison, factors)
        path, doses = block.doses
        if doses:
            yield f"Response to {path}", "dose_response", partial(dose_response, comparison, path, doses)
        for metric in dict.fromkeys((comparison.measure.name, "train_loss")):
            unit = comparison.measure.unit if metric == comparison.measure.name else ""
            title = f"Learning curves: {metric}"
            yield title, f"curves_{metric}", partial(learning_curves, comparison, self.state, metric, unit=unit)
        if comparison.baseline is not None:
            yield "Step time against quality", "cost_and_quality", partial(cost_and_quality, comparison)


def make_report(spec: AblationSpec | SweepSpec, state: StudyState, top: int = 10) -> StudyReport:
    """The comparison of an ablation's arms, or the ``top`` configurations of a sweep. StudyError if nothing was planned."""
    if isinstance(spec, SweepSpec):
        from fsg.report.sweep_report import make_sweep_report

        return make_sweep_report(spec, state, top, device_of(state))
    blocks = tuple(_block(spec, state, block) for block in spec.plan.blocks)
    texts = {
        "comparison.csv": _joined([comparison_csv(block.comparison) for block in blocks]),
        "seeds.csv": _joined([seeds_csv(block.comparison) for block in blocks]),
    }
    grids = [grid for block in blocks for grid in block.grids]
    if spec.published is not None:
        arms = [row.arm for block in blocks for row in block.comparison.rows]
        published = published_grid(state, arms, read_published(spec.published), spec.analysis.interval or 0.95)
        grids += [published] if published else []
    return StudyReport(spec.name, spec.question, tuple(grids), texts, state, blocks)


def device_of(state: StudyState) -> str:
    """What the trials computed on."""
    return ", ".join(sorted({t.device for t in state.trials.values() if t.device})) or "device not recorded"


def comparison_of(spec: AblationSpec, state: StudyState, block: DesignBlock, baseline: str | None = None) -> Comparison:
    """The comparison of one block of a study, as its file wants it read; ``baseline``: an arm in the place of the file's."""
    own = {key: trial for key, trial in state.trials.items() if trial.arm in block.arms}
    return compare(
        StudyState(state.header, own),
        metric=spec.metric,
        reference=block.reference,
        baseline=baseline or block.baseline,
        interval=spec.analysis.interval or 0.95,
        smallest_effect=spec.analysis.smallest_effect_of_interest,
        device=device_of(state),
        looks=planned_looks(spec),
        equal=spec.fairness.equal,
    )


def planned_looks(spec: AblationSpec) -> Looks | None:
    """The looks of a study that adds seeds one by one; None where its seeds are a list."""
    seeds = spec.seeds
    return (
        plan_looks(seeds.min, seeds.max, spec.analysis.interval or 0.95) if isinstance(seeds, SequentialSeeds) else None
    )


def _block(spec: AblationSpec, state: StudyState, block: DesignBlock) -> Block:
    own = [trial for trial in state.trials.values() if trial.arm in block.arms]
    looks, comparison = planned_looks(spec), comparison_of(spec, state, block)
    factors = _factors(spec, block, comparison) if looks is None else None
    table = comparison_grid(comparison)
    design_notes = [f"Aliased in this fraction: {', '.join(found)}."] if (found := aliases(spec.design)) else []
    design_notes += [f"Left out, its rules forbid it: {why}." for why in left_out(spec)]
    notes = (*table.notes, *_spending(spec, block), *fairness(own), *mixtures(own), *design_notes)
    grids = [replace(table, notes=notes)]
    if (acted := exercise_grid(comparison.exercised, comparison.provenance.study, table.caption)) is not None:
        grids.append(acted)
    if factors is not None:
        grids.append(factor_grid(comparison, factors))
    if looks is None:
        others = [
            o for o in (comparison.reference, comparison.baseline) if o is not None and enough_pairs(comparison, o)
        ]
        grids += [judgement_grid(comparison, other) for other in others]
    if factors is not None:
        grids.append(anova_grid(comparison, factors))
    return Block(block.name, comparison, factors, tuple(grids), doses(spec, block))


def _spending(spec: AblationSpec, block: DesignBlock) -> list[str]:
    """What every arm could spend, where epochs follow from costs: the rule, and the cost of an epoch of each arm."""
    costs = {arm: spec.fairness.costs[arm] for arm in block.arms if arm in spec.fairness.costs}
    if not spec.fairness.by_cost or block.reference not in costs:
        return []
    what, unit = {"time": ("training time", "s"), "flops": ("FLOPs", "")}[spec.fairness.equal or ""]
    each = ", ".join(f"{arm.rpartition('/')[2]} {cost:.3g}{unit and ' ' + unit}" for arm, cost in costs.items())
    return [
        f"Equal {what}: every arm trains as many whole epochs as cost what {block.reference}'s do. "
        f"An epoch's steps, measured before the first trial: {each}."
    ]


def fairness(records: Iterable[TrialRecord]) -> list[str]:
    """Whether the trials of a seed started from the same weights and saw the same first batches, by their hashes."""
    by_seed: dict[int, set[tuple[str, str]]] = defaultdict(set)
    for record in records:
        if record.fingerprint is not None:
            by_seed[record.seed].add(record.fingerprint)
    if not by_seed:
        return []
    notes = []
    for part, what in enumerate(("start from the same weights", "see the same first batches")):
        differ = [str(seed) for seed, found in sorted(by_seed.items()) if len({f[part] for f in found}) > 1]
        if differ:
            notes.append(f"NOT PAIRED by hash: the arms of seed {', '.join(differ)} do not {what}.")
    return notes or ["All arms of a seed start from the same weights and see the same first batches (hashes agree)."]


def enough_pairs(comparison: Comparison, other: str) -> bool:
    """Whether any arm shares two finished seeds with ``other``."""
    values = {row.arm: set(row.values) for row in comparison.rows}
    return any(len(values[other] & v) > 1 for arm, v in values.items() if arm != other)


def _factors(spec: AblationSpec, block: DesignBlock, comparison: Comparison) -> FactorReport | None:
    """The effects of a factorial design, as far as its seeds are whole."""
    names, levels = factor_levels(spec, block)
    if len(names) < 2 or not levels:
        return None
    try:
        return factor_report(comparison, names, levels)
    except StudyError:
        return None  # no factorial, or seeds are missing: the table says which


def _joined(tables: list[str]) -> str:
    """CSV tables of the same columns as one."""
    first, *others = tables
    return first + "".join(text.partition("\n")[2] for text in others)
