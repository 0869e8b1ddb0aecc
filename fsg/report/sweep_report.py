"""The report of a sweep: its best configurations, what stands behind them, what mattered, and how the search went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsg.record.ledger import StudyState, TrialRecord
from fsg.report.cells import Grid
from fsg.report.csv import top_csv
from fsg.report.study_report import StudyReport
from fsg.report.top import TopConfigurations, by_configuration, top_configurations
from fsg.report.top_tables import importance_grid, top_grids
from fsg.search.configurations import bits, outcomes, own_bits, told
from fsg.search.insights import FEWEST, Ended, counted, ended, importance, measures, too_few, untold
from fsg.study.population import is_population
from fsg.study.search import BITS
from fsg.study.spec import SweepSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def make_sweep_report(spec: SweepSpec, state: StudyState, top: int, device: str) -> StudyReport:
    """The ``top`` configurations of a sweep. StudyError where nothing has been planned."""
    allowed = partial(_allowed, spec)
    best = top_configurations(
        state,
        spec.metric,
        top,
        objectives=spec.objectives,
        count=_count,
        allowed=allowed,
        device=device,
        searched=[name for path in spec.space.paths for name in (path, f"{path}.name")],  # gradient: a section's name
    )
    studies = _by_measure(spec, state)
    mattered, why_not = _insights(spec, state, studies, best)
    best = replace(best, notes=(*best.notes[:1], *_early(spec, state), *best.notes[1:], *why_not))
    grids = (*top_grids(best, state), *mattered)
    draw = partial(_draw, spec, state, best, studies)
    return StudyReport(spec.name, spec.question, grids, {"top.csv": top_csv(best)}, state, draw=draw, ranking=best)


def _early(spec: SweepSpec, state: StudyState) -> Iterator[str]:
    """Why the sweep ended before its number of trials, where it did."""
    if state.stopped:
        begun = len(by_configuration(state.trials.values()))
        yield f"Ended early, with {begun} of {spec.search.trials} configurations: {state.stopped}."


def _by_measure(spec: SweepSpec, state: StudyState) -> list[Ended]:
    """What the configurations came to, by each measure; none of a population, whose members have no one value of a parameter."""
    if is_population(spec):
        return []
    found = outcomes(spec, state.trials)
    return [ended(found, measure) for measure in measures(spec)]


def _insights(
    spec: SweepSpec, state: StudyState, studies: Sequence[Ended], best: TopConfigurations
) -> tuple[list[Grid], list[str]]:
    """What mattered for each measure, as a table where enough configurations have finished, else as a sentence on why not."""
    if not studies:
        return [], []
    trials = [record for record in state.trials.values() if record.status == "finished"]
    if len(trials) < FEWEST * len(spec.seeds) and (finished := len(by_configuration(trials))) < FEWEST:
        return [], [too_few(finished)]
    grids, sentences = [], []
    for study in studies:
        if why := untold(study):
            sentences.append(why)
        elif found := importance(study, spec):
            known = {path for shares in found.values() for path in shares}
            left_out = [path for path in spec.space.paths if path not in known]
            grids.append(importance_grid(best, study.measure.name, found, left_out, counted(study)))
    return grids, list(dict.fromkeys(sentences))


def _count(config: Mapping[str, Any], name: str) -> float | None:
    """Bits per weight, the one objective that is no metric; None where layers differ, for then the trial reports it."""
    if name != BITS:
        return None
    from fsg.config import TrialConfig

    trial = TrialConfig.model_validate(config)
    return None if own_bits(trial) else bits(trial)


def _allowed(spec: SweepSpec, finished: Sequence[TrialRecord]) -> bool:
    """Whether a configuration keeps the constraints on metrics, at the means of its seeds."""
    if not spec.constraints:
        return True
    from fsg.config import TrialConfig

    config = TrialConfig.model_validate(finished[0].last_config)
    finals: dict[int, Mapping[str, Any]] = {record.seed: record.final or {} for record in finished}
    return all(by <= 0 for by in told(spec, config, finals)[1].values())


def _draw(
    spec: SweepSpec, state: StudyState, best: TopConfigurations, studies: Sequence[Ended], folder: Path
) -> list[tuple[str, Path]]:
    """Every drawing that the trials allow, as files in ``folder``."""
    from fsg.report.figures import save
    from fsg.report.search_plots import draw_search

    drawn = [(title, save(draw(), folder / f"{name}.svg")) for title, name, draw in _figures(spec, state, best)]
    return [*drawn, *draw_search(spec, studies, folder)]


def _figures(
    spec: SweepSpec, state: StudyState, best: TopConfigurations
) -> Iterator[tuple[str, str, Callable[[], Figure]]]:
    from fsg.report.search_figures import all_curves, pareto_pairs, schedules

    records = list(state.trials.values())
    if best.front:
        yield "The Pareto front", "search_pareto", partial(pareto_pairs, best)
    if any(record.epochs for record in records):
        yield "Every learning curve", "search_curves", partial(all_curves, best, records)
    if is_population(spec) and any(record.exploits for record in records):
        yield "What each member trained with", "search_schedules", partial(schedules, best, records, spec.space.domains)
