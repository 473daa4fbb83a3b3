"""What the figure of the trials shows, against the tables that it is drawn from."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from figures.sweeps import trials
from tests.figures.battery import Draws, case
from tests.figures.reading import legend, named, ticks, verticals


@case("trials")
def test_margins_and_attacks_stand_on_their_statement_s_line(draw):
    draws = Draws(4)
    shapes = pd.DataFrame({
        "trial": ["b"] * 5 + ["a"] * 4, "name": ["Theorem B"] * 5 + ["Theorem A (part)"] * 4,
        "relative_margin": [*draws(4, 0.01, 0.9), np.nan, *draws(3, 0.0, 0.5), -0.3],
        "status": ["HOLDS"] * 5 + [None, None, "HOLDS", "HOLDS"],
    }).assign(shape=range(9))  # fmt: skip
    attacks = pd.DataFrame({"trial": ["a", "b", "b", "a", "gone"], "name": list("vwxyz"),
                            "true": [True, True, True, False, True],
                            "closest": [-0.2, -7.0, -np.inf, 0.4, -0.1]})  # fmt: skip
    figure = draw({}, trials=shapes, attacks=attacks)
    (ax,) = figure.axes
    assert ticks(ax, "y") == {"Theorem B": 0.0, "Theorem A (part)": 1.0}
    assert ax.yaxis_inverted(), "the first statement is on top"
    dots = named(ax)["tightest case of a shape of random batches"]
    np.testing.assert_array_equal(dots.x, shapes["relative_margin"][[0, 1, 2, 3, 7, 8]])
    np.testing.assert_array_equal(dots.y, [0, 0, 0, 0, 1, 1])
    rates = named(ax)["rate of a shape; past 0 by chance at times"]
    np.testing.assert_array_equal(rates.x, shapes["relative_margin"][[5, 6]])
    np.testing.assert_array_equal(rates.y, [1, 1])
    assert rates.look != dots.look
    best = named(ax)["closest approach of an attack"]
    np.testing.assert_array_equal(best.x, [0.2, 1.0])
    np.testing.assert_array_equal(best.y, [1.25, 0.25])
    assert [place for place, _ in verticals(ax)] == [0.0]
    assert len(legend(figure)) == 3


@case("trials")
def test_what_lies_beyond_the_axis_stands_at_its_end(draw):
    """A statement that is broken by a bound of the other sign has a margin of -2; an attack may find one too."""
    shapes = pd.DataFrame({"trial": "a", "name": "Theorem A", "relative_margin": [-2.0, 0.5, -1.3, 1.6],
                           "status": ["VIOLATED", "HOLDS", None, "HOLDS"]})  # fmt: skip
    attacks = pd.DataFrame({"trial": ["a"], "name": ["v"], "true": [True], "closest": [np.inf]})
    (ax,) = draw({}, trials=shapes, attacks=attacks).axes
    drawn = named(ax)
    places = {label: (list(curve.x), curve.look.marker) for label, curve in drawn.items()}
    tightest = "tightest case of a shape of random batches"
    assert places == {tightest: ([0.5], "|"), "tightest, beyond the left end": ([-1.09], "<"),
                      "tightest, beyond the right end": ([1.09], ">"),
                      "rate, beyond the left end": ([-1.09], "<"),
                      "rate of a shape; past 0 by chance at times": ([], "o"),
                      "closest approach of an attack": ([-1.0], "^")}  # fmt: skip
    colors = {label: curve.look.color for label, curve in drawn.items()}
    assert colors[tightest] == colors["tightest, beyond the left end"] != colors["rate, beyond the left end"]


def test_what_is_attained_is_not_broken():
    """A margin of minus round-off stands on the line."""
    _, ax = plt.subplots()
    table = pd.DataFrame({"name": ["A", "A"], "relative_margin": [-1e-16, -1e-3], "status": "HOLDS"})
    trials.draw_margins(ax, table, ["A"])
    np.testing.assert_array_equal(ax.lines[0].get_xdata(), [0.0, -1e-3])
    plt.close("all")
