"""What a sweep has taught, from its ledger: which parameters matter, and how the search went, as files for its reports.

Importance by PED-ANOVA (what tells the best from the rest; arXiv:2304.10255) and by fANOVA (variance of a forest's
prediction; Hutter et al., 2014), over the configurations that ran to their end. Both describe the trials that were run, in
the order of a search that leant towards good ones: a hint, no test. Plots are Optuna's, drawn by matplotlib.
Proof: ``tests/tune/test_insights.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from fsg.study.ledger import StudyState
from fsg.study.population import is_population
from fsg.study.spec import SweepSpec
from fsg.tune.configurations import outcomes
from fsg.tune.distributions import distribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fsg.study.search import Objective
    from fsg.study.spec import SearchMetricSpec

FEWEST = 8  # finished configurations; with fewer, an importance is noise
_FEWEST_BEST = 8  # of a few trials, a tenth is chance: PED-ANOVA's "best" are at least so many
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
                distributions={path: distribution(domains[path]) for path in outcome.point},
                intermediate_values=steps,
            )
        )
    return study


def importance(study: optuna.Study, spec: SweepSpec) -> dict[str, dict[str, float]]:
    """Share of each path that every finished trial has, by method; none where too few have finished or all are equal."""
    from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances

    finished = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if len(finished) < FEWEST or len({trial.value for trial in finished}) < 2:
        return {}
    paths = [path for path, domain in spec.space.domains.items() if not domain.when]
    found = {}
    with _quiet_drawing():
        best = max(0.1, min(0.5, _FEWEST_BEST / len(finished)))
        for name, evaluator in (
            ("PED-ANOVA", PedAnovaImportanceEvaluator(target_quantile=best)),
            ("fANOVA", FanovaImportanceEvaluator(seed=spec.search.seed)),
        ):
            shares = get_param_importances(study, evaluator=evaluator, params=paths)
            if shares and all(math.isfinite(share) for share in shares.values()):
                found[name] = shares
    return found


def _plots(study: optuna.Study, spec: SweepSpec, label: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, how to draw it) of every plot that suits the sweep; ``label`` names the values."""
    from optuna.visualization import matplotlib as plots

    importances = importance(study, spec)
    important = list(next(iter(importances.values()), {}))
    contoured = [p for p in important or spec.space.paths if not spec.space.root[p].when][:_MOST_PATHS]
    yield "history", lambda: plots.plot_optimization_history(study, target_name=label)
    yield "slice", lambda: plots.plot_slice(study, target_name=label)
    yield "parallel", lambda: plots.plot_parallel_coordinate(study, target_name=label)
    if len(contoured) > 1:
        yield "contour", lambda: plots.plot_contour(study, params=contoured, target_name=label)
    if importances:
        yield "importances", lambda: plots.plot_param_importances(study, target_name=label)


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
        layout = {"figure.constrained_layout.use": True, "axes.edgecolor": "#5B6770"}
        with warnings.catch_warnings(), pyplot.style.context(["default", layout]):
            warnings.simplefilter("ignore")
            yield
    finally:
        pyplot.switch_backend(before)
        optuna.logging.set_verbosity(level)


def _close(figure: Figure) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
