"""What each layer did in each epoch, drawn: the quantities that explain why an arm is better or worse."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fsg.errors import StudyError
from fsg.report.figures import _style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fsg.record.ledger import StudyState

MEANING = {
    "flip_ratio": "share of weights that change sign in a step",
    "gain": "RMS of the generated over the STE direction",
    "cosine": "cosine of the generated with the STE direction",
    "uphill": "share of steps with a negative cosine",
    "trace": "trace of the loss's Hessian in the layer's quantised weights",
    "bits": "bits of a quantised weight",
    "slow_share": "share of the slow gradient in the mix",
    "history_share": "share of the slow gradient that the past made",
    "moved": "relative change of the direction against STE",
    "moved_by_hgs": "relative change of the direction by the past",
    "moved_by_fsg": "relative change of the direction by the fast gradient",
    "moved_by_lre": "relative change of the direction by the embedding",
    "lre_distance": "mean distance of a layer's embedding to the others",
}


def draw_diagnostics(state: StudyState, events: Iterable[Mapping[str, Any]], arm: str, caption: str = "") -> Figure:
    """One panel for each quantity that the arm recorded: a line per layer, mean over seeds, against the epoch.

    StudyError where the arm recorded none.
    """
    keys = {record.key for record in state.trials.values() if record.arm == arm}
    series: dict[str, dict[str, dict[int, list[float]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for event in events:
        if event["event"] == "layers" and event["key"] in keys:
            for layer, values in event["layers"].items():
                for name, value in values.items():
                    if value is not None:
                        series[name][layer][event["epoch"]].append(value)
    names = [name for name in MEANING if name in series]
    if not names:
        raise StudyError(f'arm "{arm}" has recorded no layers, so there are no diagnostics to draw.')

    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    columns = 2
    rows = -(-len(names) // columns)
    with _style():
        figure = Figure(figsize=(8.0, 2.2 * rows + 0.4), layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False).ravel()
        for panel, name in zip(panels, names, strict=False):
            for layer, by_epoch in series[name].items():
                epochs = sorted(by_epoch)
                panel.plot(epochs, [sum(by_epoch[e]) / len(by_epoch[e]) for e in epochs], linewidth=1.3, label=layer)
            panel.set_title(f"{name}: {MEANING[name]}", fontsize=8, loc="left")
            panel.set_xlabel("epoch")
            panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        for panel in panels[len(names) :]:
            panel.set_visible(False)
        if len(series[names[0]]) <= 12:
            panels[0].legend(frameon=False, fontsize=7)
        figure.suptitle(f"{arm}, mean over seeds{f' · {caption}' if caption else ''}", fontsize=9, x=0.01, ha="left")
    return figure
