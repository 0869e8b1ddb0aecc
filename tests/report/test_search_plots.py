"""The drawings of a search, read back from their axes."""

from types import SimpleNamespace

import pytest

from fsg.report.search_plots import contours, history, parallel, slices
from fsg.search.insights import Ended
from fsg.study.domains import parse_domain

PATHS = {
    "rate": parse_domain({"loguniform": [1e-4, 1.0]}),
    "beta": parse_domain({"uniform": [0.0, 2.0]}),
    "gain": parse_domain({"choice": ["bounded", "locked"]}),
}
POINTS = [
    {"rate": 1e-4, "beta": 0.5, "gain": "locked"},
    {"rate": 1e-2, "beta": 2.0, "gain": "bounded"},
    {"rate": 1.0, "beta": 0.0, "gain": "locked"},
    {"rate": 1e-1, "beta": 1.0, "gain": "bounded"},
]


def study(mode="max", values=(50.0, None, 70.0, 60.0), points=POINTS):
    return Ended(SimpleNamespace(name="val_accuracy", mode=mode), tuple(points), values, (0, 1, 2, 5))


@pytest.mark.parametrize(("mode", "best"), [("max", [50.0, 70.0, 70.0]), ("min", [50.0, 50.0, 50.0])])
def test_the_history_has_every_finished_value_at_its_place_and_the_best_so_far(mode, best):
    (axes,) = history(study(mode)).axes
    assert axes.collections[0].get_offsets().tolist() == [[0, 50.0], [2, 70.0], [5, 60.0]]
    assert list(axes.lines[0].get_ydata()) == best


def test_a_slice_has_a_panel_for_each_parameter_on_its_scale():
    rate, beta, gain, _ = slices(study(), PATHS).axes
    assert (rate.get_xscale(), beta.get_xscale()) == ("log", "linear")
    assert beta.collections[0].get_offsets().tolist() == [[0.5, 50.0], [0.0, 70.0], [1.0, 60.0]]
    assert [label.get_text() for label in gain.get_xticklabels()] == ["bounded", "locked"]


@pytest.mark.parametrize(("mode", "last"), [("max", 70.0), ("min", 50.0)])
def test_parallel_lines_run_from_end_to_end_of_each_scale_with_the_best_on_top(mode, last):
    axes = parallel(study(mode), PATHS).axes[0]
    lines = axes.collections[0]
    assert lines.get_array()[-1] == last
    drawn = {value: [y for _, y in line] for value, line in zip(lines.get_array(), lines.get_segments(), strict=True)}
    assert drawn[50.0] == pytest.approx([0.0, 0.0, 0.25, 1.0])
    assert drawn[70.0] == pytest.approx([1.0, 1.0, 0.0, 1.0])


def test_a_contour_is_drawn_between_ranges_and_dots_alone_with_a_choice():
    figure = contours(study(), PATHS)
    with_ranges, with_choice, other, _ = figure.axes
    assert len(with_ranges.collections) == 2 and len(with_choice.collections) == len(other.collections) == 1


def test_configurations_on_one_line_get_their_dots():
    points = [{"rate": 1e-2, "beta": place, "gain": "locked"} for place in (0.0, 0.5, 1.0, 2.0)]
    panel = contours(study(points=points), {name: PATHS[name] for name in ("rate", "beta")}).axes[0]
    assert len(panel.collections) == 1 and len(panel.collections[0].get_offsets()) == 3
