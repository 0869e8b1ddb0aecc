"""A trained network's loss around it, drawn: the eigenvalues of the Hessian, and a plane along its sharpest directions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fsg.report.figures import _style, plain_numbers

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fsg.train.landscape import Landscape

BINS = 41


def draw_landscape(found: Landscape, arm: str, caption: str = "") -> Figure:
    """Left the density of eigenvalues, its height on a logarithmic scale; right the loss over the plane, its least marked."""
    from matplotlib.figure import Figure

    with _style():
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        heights, edges = np.histogram(found.nodes, bins=BINS, weights=found.weights)
        left.bar(edges[:-1], heights, np.diff(edges), align="edge", color="#0072B2")
        left.set_yscale("log")
        plain_numbers(left.yaxis)
        left.set_xlabel("eigenvalue")
        left.set_title("share of eigenvalues", fontsize=8, loc="left")
        drawn = right.contourf(found.at, found.at, found.losses, levels=18, cmap="cividis")
        right.contour(found.at, found.at, found.losses, levels=18, colors="white", linewidths=0.3)
        right.plot(0, 0, marker="+", color="white")
        row, column = np.unravel_index(np.argmin(found.losses), found.losses.shape)
        right.plot(found.at[column], found.at[row], marker="o", markersize=4, color="#D55E00")
        right.set_ylabel(f"along {found.top[0]:.3g}")
        right.set_xlabel(f"along {found.top[1]:.3g}, shares of norm Wq")
        right.set_title("training loss, BatchNorm of each point (+ here, o least)", fontsize=8, loc="left")
        figure.colorbar(drawn, ax=right)
        figure.suptitle(f"{arm}{f' · {caption}' if caption else ''}", fontsize=9, x=0.01, ha="left")
    return figure
