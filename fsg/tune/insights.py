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

from fsg.files import write_atomically
from fsg.study.folder import StudyFolder
from fsg.study.spec import SweepSpec
from fsg.tune.configurations import outcomes
from fsg.tune.distributions import distribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEWEST = 8  # finished configurations; with fewer, an importance is noise
_FEWEST_BEST = 8  # of a few trials, a tenth is chance: PED-ANOVA's "best" are at least so many
_MOST_PATHS = 4  # in a contour plot: six panels, still readable
_PANEL = 2.8  # inches a path
_COLOURS = {"PRUNED": "#B8C2C9", "FAIL": "#D55E00", "COMPLETE": "#0072B2"}
_STATES = {"finished": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


def write_insights(folder: StudyFolder, spec: SweepSpec) -> list[Path]:
    """Write what can be drawn from the trials so far into the study's reports; the files, none where nothing has ended."""
    study = as_optuna(folder, spec)
    finished = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not finished:
        return []
    folder.reports.mkdir(parents=True, exist_ok=True)
    written = []
    importances = {} if spec.objectives else importance(study, spec)
    text = importance_markdown(importances, spec, len(finished))
    write_atomically(folder.reports / "importances.md", text.encode())
    written.append(folder.reports / "importances.md")
    for name, draw in _plots(study, spec, importances):
        with _quiet_drawing():
            try:
                figure = _figure(draw())
                figure.set_size_inches(*_inches(name, spec))
                if name == "contour":
                    figure.subplots_adjust(wspace=0.4, hspace=0.35)  # each panel has its own names
            except (ValueError, RuntimeError, ArithmeticError):
                continue  # a picture that these trials are too few or too equal for
            path = folder.reports / f"search_{name}.png"
            figure.savefig(path, dpi=120, bbox_inches="tight")
            _close(figure)
            written.append(path)
    return written


def as_optuna(folder: StudyFolder, spec: SweepSpec) -> optuna.Study:
    """The sweep's configurations as an Optuna study in memory: complete (means over seeds), pruned and failed ones."""
    measures: list[Any] = [spec.metric, *spec.objectives]
    directions = ["maximize" if m.mode == "max" else "minimize" for m in measures]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions)  # type: ignore[arg-type]
    domains = spec.space.domains
    for outcome in outcomes(spec, folder.state().trials).values():
        values = [(outcome.metrics or {}).get(m.name) for m in measures]
        state = _STATES.get(outcome.status)
        if state is None or (state == TrialState.COMPLETE and None in values):
            continue
        metric = spec.metric.name
        steps = {e["epoch"]: e[metric] for e in outcome.epochs if e.get(metric) is not None}
        study.add_trial(
            optuna.trial.create_trial(
                state=state,
                values=[float(v) for v in values if v is not None] if state == TrialState.COMPLETE else None,
                params=dict(outcome.point),
                distributions={path: distribution(domains[path]) for path in outcome.point},
                intermediate_values={} if spec.objectives else steps,
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


def importance_markdown(importances: dict[str, dict[str, float]], spec: SweepSpec, finished: int) -> str:
    """The importances as a table, the most important first; or why there are none."""
    title = f"# What mattered in {spec.name}\n\n"
    if spec.objectives:
        return title + "With several objectives no single importance is given; see the Pareto front.\n"
    if not importances:
        return title + f"{finished} finished configurations; importance is given from {FEWEST} that differ.\n"
    methods = list(importances)
    paths = sorted(importances[methods[0]], key=lambda p: -sum(shares.get(p, 0) for shares in importances.values()))
    lines = [f"| path | {' | '.join(methods)} |", f"|---|{'---:|' * len(methods)}"]
    lines += [f"| `{p}` | {' | '.join(f'{importances[m].get(p, 0):.0%}' for m in methods)} |" for p in paths]
    rest = [path for path in spec.space.paths if path not in paths]
    without = f" Conditional paths are left out: {', '.join(f'`{p}`' for p in rest)}." if rest else ""
    note = (
        f"\n\nShares of the importance for `{spec.metric.name}` over {finished} configurations that ran to their end, "
        f"chosen by a search: a hint, no test.{without}\n"
    )
    return title + "\n".join(lines) + note


def _plots(
    study: optuna.Study, spec: SweepSpec, importances: dict[str, dict[str, float]]
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(name, how to draw it) of every plot that suits the sweep."""
    from optuna.visualization import matplotlib as plots

    measures: list[Any] = [spec.metric, *spec.objectives]
    if spec.objectives:
        if len(measures) <= 3:
            yield "pareto", lambda: plots.plot_pareto_front(study, target_names=[m.name for m in measures])
        return
    label = spec.metric.name
    important = list(next(iter(importances.values()), {}))
    contoured = [p for p in important or spec.space.paths if not spec.space.root[p].when][:_MOST_PATHS]
    yield "history", lambda: plots.plot_optimization_history(study, target_name=label)
    yield "curves", lambda: _curves(study, label)
    yield "slice", lambda: plots.plot_slice(study, target_name=label)
    yield "parallel", lambda: plots.plot_parallel_coordinate(study, target_name=label)
    if len(contoured) > 1:
        yield "contour", lambda: plots.plot_contour(study, params=contoured, target_name=label)
    if importances:
        yield "importances", lambda: plots.plot_param_importances(study, target_name=label)


def _curves(study: optuna.Study, label: str) -> Any:
    """The learning curve of every configuration, by how it ended; the best on top."""
    from matplotlib import pyplot
    from matplotlib.ticker import MaxNLocator

    _, axes = pyplot.subplots()
    best = study.best_trial.number
    for trial in sorted(study.trials, key=lambda trial: (trial.number == best, trial.state == TrialState.COMPLETE)):
        epochs = sorted(trial.intermediate_values)
        colour, width = ("#E69F00", 2.5) if trial.number == best else (_COLOURS[trial.state.name], 0.9)
        marker = "." if len(epochs) == 1 else None
        axes.plot(epochs, [trial.intermediate_values[e] for e in epochs], color=colour, lw=width, marker=marker)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(
        xlabel="epoch",
        ylabel=label,
        title="Learning curves: best (orange), finished (blue), stopped (grey), failed (red)",
    )
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


@contextmanager
def _quiet_drawing() -> Iterator[None]:
    """Without a window, Optuna's warnings that its plots are experimental, or its log; as before afterwards."""
    import matplotlib
    from matplotlib import pyplot

    before, level = matplotlib.get_backend(), optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    pyplot.switch_backend("agg")
    try:
        with warnings.catch_warnings(), pyplot.style.context("default"):
            warnings.simplefilter("ignore")
            yield
    finally:
        pyplot.switch_backend(before)
        optuna.logging.set_verbosity(level)


def _close(figure: Figure) -> None:
    from matplotlib import pyplot

    pyplot.close(figure)
