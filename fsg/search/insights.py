"""What a sweep has taught, from its ledger: which parameters matter, and how the search went, as files for its reports.

Importance by PED-ANOVA (arXiv:2304.10255): how far the best configurations' values of a parameter lie from those of all. Of a
configuration it needs to know only whether it is among the best, so those that the scheduler stopped count too: as none of
them. One function gives the numbers, and table and picture both show them. They describe the trials that were run, in the order
of a search that leant towards good ones: a hint, no test. The other plots are Optuna's, of finished configurations.
Proof: ``tests/search/test_insights.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from fsg.record.ledger import StudyState
from fsg.search.configurations import outcomes
from fsg.study.population import is_population
from fsg.study.spec import SweepSpec

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fsg.study.search import Objective
    from fsg.study.spec import SearchMetricSpec

METHOD = "PED-ANOVA"
# Finished configurations that importances and contours need. In 200 random searches of three parameters, one of which rules, it
# was named first in 98 % with 16 of them, in 88 % with 12, in 82 % with 8, in 60 % with 4.
FEWEST = 16
_FEWEST_BEST = 8  # PED-ANOVA's "best": a tenth, Optuna's choice, are 2 of 20, which named it in 66 %; 8 in 98 %
_MOST_PATHS = 4  # in a contour plot: six panels, still readable
_PANEL = 2.8  # inches a path
_TITLES = {
    "history": "How the search went",
    "slice": "The metric by each parameter",
    "parallel": "Parallel coordinates",
    "contour": "The metric by pairs of parameters",
    "importances": "What mattered",
}
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def write_insights(spec: SweepSpec, state: StudyState, reports: Path) -> list[tuple[str, Path]]:
    """Draw what the trials so far allow into ``reports``: (title, file) of each drawing.

    None where nothing has finished, nor of a population, whose members have no one value of a parameter.
    """
    written = []
    for measure in () if is_population(spec) else measures(spec):
        study = as_optuna(spec, state, measure)
        if not any(trial.state == TrialState.COMPLETE for trial in study.trials):
            continue
        reports.mkdir(parents=True, exist_ok=True)
        of, about = (f"_{measure.name}", f", by {measure.name}") if spec.objectives else ("", "")
        for name, draw in _plots(study, spec, measure.name):
            with _quiet_drawing():
                try:
                    figure = _plain(_figure(draw()), boxed=name != "parallel")
                    figure.set_size_inches(*_inches(name, spec))
                except (ValueError, RuntimeError, ArithmeticError):
                    continue  # a picture that these trials are too few or too equal for
                path = reports / f"search_{name}{of}.png"
                figure.savefig(path, dpi=120, bbox_inches="tight")
                _close(figure)
                written.append((_TITLES[name] + about, path))
    return written


def measures(spec: SweepSpec) -> tuple[SearchMetricSpec | Objective, ...]:
    """What a sweep searches for, each to be looked at by itself."""
    return (spec.metric, *spec.objectives)


def as_optuna(spec: SweepSpec, state: StudyState, measure: SearchMetricSpec | Objective) -> optuna.Study:
    """The sweep's configurations as an Optuna study in memory, by one measure: complete (means over seeds), pruned, failed."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize" if measure.mode == "max" else "minimize")
    domains, name = spec.space.domains, measure.name
    for outcome in outcomes(spec, state.trials).values():
        value = (outcome.metrics or {}).get(name)
        end = _STATES.get(outcome.status)
        if end is None or (end == TrialState.COMPLETE and value is None):
            continue
        steps = {e["epoch"]: e[name] for e in outcome.epochs if e.get(name) is not None}
        study.add_trial(
            optuna.trial.create_trial(
                state=end,
                value=float(value) if end == TrialState.COMPLETE and value is not None else None,
                params=dict(outcome.point),
                distributions={path: domains[path].to_optuna() for path in outcome.point},
                intermediate_values=steps,
            )
        )
    return study


def importance(study: optuna.Study, spec: SweepSpec) -> dict[str, dict[str, float]]:
    """By METHOD, the share of each path that every configuration has, the largest first; none where ``untold`` says why.

    The configurations are given to Optuna by their rank, with the stopped ones behind all, so neither the metric's direction nor
    its scale is left to it: with a ``target``, Optuna 5.0 takes the lowest for the best even where the study maximises.
    """
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    if untold(study):
        return {}
    finished, stopped = _ended(study)
    values = sorted({_value(trial) for trial in finished}, reverse=study.direction == StudyDirection.MAXIMIZE)
    ranks = [values.index(_value(trial)) for trial in finished] + [len(values)] * len(stopped)
    ranked, ended = optuna.create_study(direction="minimize"), [*finished, *stopped]
    ranked.add_trials(
        optuna.trial.create_trial(value=rank, params=trial.params, distributions=trial.distributions)
        for rank, trial in zip(ranks, ended, strict=True)
    )
    best = min(max(_FEWEST_BEST, len(ended) // 4), len(ended) // 2, len(finished))
    evaluator = PedAnovaImportanceEvaluator(target_quantile=(best - 0.5) / len(ended))  # Optuna rounds up
    paths = [path for path, domain in spec.space.domains.items() if not domain.when]
    with _quiet_drawing():
        shares = get_param_importances(ranked, evaluator=evaluator, params=paths)
    return {METHOD: shares} if shares and all(map(math.isfinite, shares.values())) else {}


def untold(study: optuna.Study) -> str | None:
    """Why there are no importances and contours, as a sentence; None where there are."""
    finished, _ = _ended(study)
    if len(finished) < FEWEST:
        return too_few(len(finished))
    if len({trial.value for trial in finished}) < 2:
        return "What mattered cannot be told: all configurations came to the same value."
    return None


def too_few(finished: int) -> str:
    """That so many finished configurations tell nothing of what mattered."""
    count = f"{finished} configuration{'s' * (finished != 1)} finished"
    return (
        f"What mattered, and contours, are told from {FEWEST} finished configurations on, for fewer mislead; {count}."
    )


def counted(study: optuna.Study) -> str:
    """What the importances were told from."""
    finished, stopped = _ended(study)
    of_stopped = f" and {len(stopped)} that were stopped, as none of the best" if stopped else ""
    return f"{len(finished)} configurations that ran to their end{of_stopped}"


def _ended(study: optuna.Study) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """The finished configurations and the stopped ones."""
    trials = study.get_trials(deepcopy=False)
    return [t for t in trials if t.state == TrialState.COMPLETE], [t for t in trials if t.state == TrialState.PRUNED]


def _value(trial: FrozenTrial) -> float:
    """Of a finished configuration."""
    assert trial.value is not None
    return trial.value


def _plots(study: optuna.Study, spec: SweepSpec, label: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, how to draw it) of every plot that suits the sweep; ``label`` names the values."""
    from optuna.visualization import matplotlib as plots

    shares = importance(study, spec).get(METHOD, {})
    contoured = list(shares)[:_MOST_PATHS]
    yield "history", lambda: plots.plot_optimization_history(study, target_name=label)
    yield "slice", lambda: plots.plot_slice(study, target_name=label)
    yield "parallel", lambda: plots.plot_parallel_coordinate(study, target_name=label)
    if len(contoured) > 1:
        yield "contour", lambda: plots.plot_contour(study, params=contoured, target_name=label)
    if shares:
        yield "importances", lambda: _bars(shares, label)


def _bars(shares: Mapping[str, float], label: str) -> Any:
    """The importances as the table has them, the largest on top."""
    from matplotlib import pyplot

    axes = pyplot.figure().add_subplot()
    bars = axes.barh(list(shares)[::-1], list(shares.values())[::-1], color="#0072B2")
    axes.bar_label(bars, [f"{share:.0%}" for share in list(shares.values())[::-1]], padding=3, fontsize=8)
    axes.set_xlabel(f"share of the importance for {label} ({METHOD})")
    axes.margins(x=0.1)
    return axes


def _inches(name: str, spec: SweepSpec) -> tuple[float, float]:
    """Wide enough for the names of the paths."""
    paths = len(spec.space.paths)
    match name:
        case "slice":
            return max(6.0, _PANEL * paths), 4.0
        case "contour":
            side = _PANEL * min(paths, _MOST_PATHS)
            return side + 1.5, side
        case "parallel":
            return max(8.0, 2.0 * (paths + 1)), 5.0
        case _:
            return 8.0, 5.0


def _figure(axes: Any) -> Figure:
    """The figure of what Optuna returns: one Axes, or an array of them."""
    while isinstance(axes, Sequence) or hasattr(axes, "flat"):
        axes = next(iter(axes.flat if hasattr(axes, "flat") else axes))
    figure: Figure = axes.figure
    return figure


def _plain(figure: Figure, boxed: bool) -> Figure:
    """On white, without the title (the report has one), and with few enough numbers on a logarithmic axis."""
    from matplotlib.ticker import NullFormatter

    figure.suptitle("")
    for axes in figure.axes:
        axes.set(title="", facecolor="white")
        axes.tick_params(labelsize=8)
        axes.grid(False)
        for spine in axes.spines.values() if boxed else ():
            spine.set(visible=True, color="#B8C2C9", linewidth=0.8)
        if (legend := axes.get_legend()) is not None:
            legend.get_frame().set(facecolor="white", edgecolor="none")
        for axis in (axes.xaxis, axes.yaxis):
            axis.label.set_fontsize(9)
            if axis.get_scale() == "log":
                axis.set_major_formatter("{x:g}")
                axis.set_minor_formatter(NullFormatter())
    return figure


@contextmanager
def _quiet_drawing() -> Iterator[None]:
    """Without a window, Optuna's warnings that its plots are experimental, or its log; as before afterwards."""
    import matplotlib
    from matplotlib import pyplot

    before, level = matplotlib.get_backend(), optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pyplot.switch_backend("agg")
    try:
        # Made with the layout that keeps names, panels and colour bars apart; it cannot be chosen afterwards.
        layout = {"figure.constrained_layout.use": True, "axes.edgecolor": "#5B6770", "text.parse_math": False}
        with warnings.catch_warnings(), pyplot.style.context(["default", layout]):
            warnings.simplefilter("ignore")
            yield
    finally:
        pyplot.switch_backend(before)
        optuna.logging.set_verbosity(level)


def _close(figure: Figure) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
