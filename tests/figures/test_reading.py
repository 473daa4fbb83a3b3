"""The readers of figures notice what they are for: each is shown a right picture and one with a planted error."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from figures.catalogue import FIGURES
from tests.figures.battery import Draws, case, draw_figure, lowest_middle_highest
from tests.figures.reading import (
    Pixels,
    assert_inside,
    bands,
    bars,
    boxes,
    curves,
    dots,
    heights,
    horizontals,
    legend,
    look_of,
    named,
    same_color,
    ticks,
    verticals,
    widths,
)

X, Y = np.array([1.0, 2.0, 4.0]), np.array([0.3, 0.9, 0.2])


@pytest.fixture
def ax():
    _, ax = plt.subplots(figsize=(3.0, 2.5), dpi=80)
    yield ax
    plt.close("all")


def test_lines_are_told_from_reference_lines_and_error_bars(ax):
    ax.plot(X, Y, "s--", color="#112233", label="a")
    ax.axvline(3.0, linestyle=":")
    ax.axhline(0.5)
    ax.errorbar(X, Y, yerr=0.1, capsize=2, label="b")
    (curve,) = curves(ax)
    np.testing.assert_array_equal([curve.x, curve.y], [X, Y])
    assert (curve.look.color, curve.look.line, curve.look.marker, curve.label) == ("#112233", "--", "s", "a")
    assert [(x, look.line) for x, look in verticals(ax)] == [(3.0, ":")]
    assert [y for y, _ in horizontals(ax)] == [0.5]
    assert list(named(ax)) == ["a"]
    ax.plot(X, Y, label="a")
    with pytest.raises(AssertionError, match="two lines of one label"):
        named(ax)


def test_the_order_of_points_is_seen(ax):
    ax.plot(X[::-1], Y[::-1])
    np.testing.assert_array_equal(curves(ax)[0].x, X[::-1])


@pytest.mark.parametrize("along", ["x", "y"])
def test_error_bars(ax, along):
    errors = np.array([[0.1, np.nan, 0.2], [0.3, np.nan, 0.4]])
    ax.errorbar(X, Y, **{f"{along}err": errors}, fmt="o", label="b")
    (found,) = bars(ax, along)
    middle = X if along == "x" else Y
    np.testing.assert_allclose(found.low, middle - errors[0])
    np.testing.assert_allclose(found.high, middle + errors[1])
    assert (found.label, found.look.line, found.look.marker) == ("b", "None", "o")


def test_bands(ax):
    ax.fill_between(X, Y - 0.1, Y + 0.2, color="#112233")
    # The same picture, its edges named the other way round.
    ax.fill_between(X, Y + 0.2, Y - 0.1, facecolor="none", edgecolor="#445566")
    for found, color in zip(bands(ax), ("#112233", "#445566")):
        np.testing.assert_allclose(found[:3], [X, Y - 0.1, Y + 0.2])
        assert found[3] == color


def test_a_band_of_unsorted_points_is_none(ax):
    ax.fill_between(X[[1, 0, 2]], Y - 0.1, Y + 0.2)
    with pytest.raises(AssertionError, match="from left to right"):
        bands(ax)


def test_a_legend_tells_each_entry_by_its_sample(ax):
    (line,) = ax.plot(X, Y, "^-.", color="C2", label="line")
    bar = ax.errorbar(X, Y, yerr=0.1, fmt="D", capsize=3, color="C3", label="bar")
    ax.legend(handles=[line, bar, Patch(color="#abcdef", label="patch"), Line2D([], [], color="C4", label="last")])
    found = legend(ax)
    assert list(found) == ["line", "bar", "patch", "last"]
    assert (found["line"], found["bar"], found["patch"]) == (look_of(line), look_of(bar), "#abcdef")
    ax.legend([bar, line], ["line", "bar"])
    assert legend(ax)["line"] == look_of(bar), "swapped entries are seen"
    ax.legend([line, bar], ["same", "same"])
    with pytest.raises(AssertionError, match="two entries of one name"):
        legend(ax)


def test_scatters_ticks_and_boxes(ax):
    ax.scatter(X, Y)
    ax.add_collection(PolyCollection([[(0, 0), (2, 0), (2, 1), (0, 1)], [(2, 1), (5, 1), (5, 3), (2, 3)]]))
    np.testing.assert_array_equal(dots(ax)[0], np.stack([X, Y], -1))
    assert len(dots(ax)) == 1
    np.testing.assert_array_equal(boxes(ax.collections[1]), [[0, 2, 0, 1], [2, 5, 1, 3]])
    ax.set_xticks([1.0, 4.0], ["one", "four"])
    assert ticks(ax, "x") == {"one": 1.0, "four": 4.0}


def test_inverted_and_logarithmic_axes_are_seen(ax):
    ax.set_ylim(1.0, 100.0)
    ax.set_xlim(0.0, 10.0)
    np.testing.assert_allclose(widths(ax, np.array([0.0, 2.5, 10.0])), [0.0, 0.25, 1.0])
    ax.set_yscale("log")
    np.testing.assert_allclose(heights(ax, np.array([1.0, 10.0, 100.0])), [0.0, 0.5, 1.0])
    ax.invert_yaxis()
    np.testing.assert_allclose(heights(ax, np.array([1.0, 10.0, 100.0])), [1.0, 0.5, 0.0], atol=1e-12)
    ax.invert_xaxis()
    np.testing.assert_allclose(widths(ax, np.array([0.0, 2.5, 10.0])), [1.0, 0.75, 0.0], atol=1e-12)


def seen(figure, ax, bar):
    """Values of a map of 2 x 3 cells as they are seen, from its top left corner."""
    pixels = Pixels(figure)
    return [
        [pixels.value(bar, pixels.at_fraction(ax, (j + 0.5) / 3, 1 - (i + 0.5) / 2)) for j in range(3)]
        for i in range(2)
    ]


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("cmap", ["viridis", "Greys"])
def test_values_are_read_off_the_screen(ax, cmap, inverted):
    values = np.array([[0.1, 0.8, 0.35], [0.95, 0.5, 0.0]])
    image = ax.imshow(values, aspect="auto", interpolation="nearest", cmap=cmap)
    bar = ax.figure.colorbar(image, ax=ax).ax
    if inverted:
        bar.invert_yaxis()
    np.testing.assert_allclose(seen(ax.figure, ax, bar), values, atol=0.03)
    ax.invert_yaxis()
    np.testing.assert_allclose(seen(ax.figure, ax, bar), values[::-1], atol=0.03)
    ax.invert_xaxis()
    np.testing.assert_allclose(seen(ax.figure, ax, bar), values[::-1, ::-1], atol=0.03)


def test_colors_of_another_map_are_not_on_the_bar(ax):
    image = ax.imshow([[0.0, 0.3, 1.0], [0.5, 0.2, 0.7]], aspect="auto", cmap="Reds")
    bar = ax.figure.colorbar(image, ax=ax).ax
    image.set_cmap("viridis")
    wrong = ax.figure.colorbar(image, ax=ax).ax
    image.set_cmap("Reds")
    np.testing.assert_allclose(Pixels(ax.figure).value(bar, np.array([1.0, 0.96, 0.94])), 0.0, atol=0.03)
    with pytest.raises(AssertionError, match="not on the bar"):
        Pixels(ax.figure).value(bar, np.array([0.0, 0.0, 1.0]))
    assert wrong is not bar


def test_places_in_data_coordinates(ax):
    ax.set(xlim=(0.0, 4.0), ylim=(4.0, 0.0))
    ax.fill_between([0.0, 2.0], 0.0, 2.0, color="#ff0000", linewidth=0)
    pixels = Pixels(ax.figure)
    assert same_color(pixels.at(ax, 1.0, 1.0), "#ff0000")
    assert same_color(pixels.at(ax, 3.0, 3.0), "white")
    assert same_color(pixels.at_fraction(ax, 0.25, 0.75), "#ff0000"), "downwards: small values are at the top"


@pytest.mark.parametrize("drawn", ["line", "marker", "error bar", "vertical", "horizontal", "scatter"])
def test_what_is_cut_off_is_noticed(ax, drawn):
    ax.set(xlim=(0.0, 5.0), ylim=(0.0, 1.0))
    ax.plot(X, Y)
    ax.errorbar(X, Y, yerr=0.05)
    assert_inside(ax.figure)
    {"line": lambda: ax.plot([1.0, 6.0], [0.5, 0.5]), "marker": lambda: ax.plot(2.0, 1.1, "o"),
     "error bar": lambda: ax.errorbar([2.0], [0.5], yerr=0.6), "vertical": lambda: ax.axvline(5.5),
     "horizontal": lambda: ax.axhline(-0.2), "scatter": lambda: ax.scatter([2.0], [1.3])}[drawn]()  # fmt: skip
    ax.set(xlim=(0.0, 5.0), ylim=(0.0, 1.0))
    with pytest.raises(AssertionError, match="lies outside its panel"):
        assert_inside(ax.figure)


def test_planted_values_tell_columns_apart():
    draws = Draws(1)
    values = draws(50)
    assert len(set(values)) == 50
    assert np.any(np.diff(values) > 0)
    assert np.any(np.diff(values) < 0)
    np.testing.assert_array_equal(values, Draws(1)(50))
    low, middle, high = lowest_middle_highest(draws, 50)
    assert (low < middle).all()
    assert (middle < high).all()
    assert (np.abs(high - 2 * middle + low) > 1e-6).all()
    table = pd.DataFrame({"arm": list("ccbbaa"), "x": range(6)})
    mixed = draws.shuffled(table, "arm")
    assert list(dict.fromkeys(mixed["arm"])) == ["c", "b", "a"]
    assert sorted(mixed["x"]) == list(range(6))
    assert not mixed.equals(table)


def test_a_case_without_the_tables_of_its_figure_is_refused():
    with pytest.raises(AssertionError, match="needs"):
        draw_figure("layers", {}, {"rows": pd.DataFrame({"a": [1]})}, leaves=False)
    assert case("layers")(lambda: None).figure in FIGURES
