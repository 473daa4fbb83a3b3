"""What the figure of proved numbers against measured ones shows, against the table that it is drawn from."""

import numpy as np
import pandas as pd
import pytest

from figures.sweeps.large_batches import LABELS
from figures.sweeps.slack import KINDS
from synthetic.slack.options import BLOCKS
from synthetic.tightness import PROMISES
from tests.figures.battery import Draws, case, lowest_middle_highest
from tests.figures.reading import Pixels, bars, legend, named, same_color, ticks, verticals, widths


def slack_table(low, high):
    """Seven combinations in the run's own order: the third with nothing proved, the fifth and sixth with open ends."""
    draws = Draws(3)
    ratio, failure = lowest_middle_highest(draws, 7, low, high), lowest_middle_highest(draws, 7, 0.0, 0.09)
    table = pd.DataFrame({"place": [f"place {name}" for name in "dbagfce"], "trials": 31})
    names = (("ratio_low", "ratio", "ratio_high"), ("failure_low", "failure_rate", "failure_high"))
    for columns, values in zip(names, (ratio, failure)):
        table = table.assign(**dict(zip(columns, values)))
    table.loc[2, [column for group in names for column in group]] = np.nan
    table.loc[2, "trials"] = 0
    table.loc[4, "ratio_high"] = np.inf
    table.loc[5, "ratio_low"] = 0.0
    return table


@case("slack")
@pytest.mark.parametrize(
    ("bound", "low", "high", "ratio"),
    [("depth", 0.4, 0.99, "measured / proved"), ("fusion", 1.05, 1.6, "measured / proved"),
     ("soft", 1.05, 2.6, "proved / measured")],
)  # fmt: skip
def test_ratios_and_failures_stand_on_their_combination_s_line(draw, bound, low, high, ratio):
    table = slack_table(low, high)
    figure = draw({"bound": bound, "delta": 0.07}, slack=table)
    left, right = figure.axes
    kept = table[table["trials"] > 0].reset_index(drop=True)
    assert ticks(left, "y") == {place: float(i) for i, place in enumerate(kept["place"])}
    assert left.yaxis_inverted(), "the first combination is on top"
    for ax, name, middle in ((left, "ratio", "ratio"), (right, "failure", "failure_rate")):
        (found,) = bars(ax, along="x")
        np.testing.assert_array_equal(found.x, kept[middle])
        np.testing.assert_array_equal(found.y, np.arange(6))
        ends = np.where(kept[f"{name}_low"] > 0.0, kept[f"{name}_low"], kept[middle])
        np.testing.assert_allclose(found.low, ends, rtol=1e-12)
        ends = np.where(np.isfinite(kept[f"{name}_high"]), kept[f"{name}_high"], kept[middle])
        np.testing.assert_allclose(found.high, ends, rtol=1e-12)
        assert (np.diff(widths(ax, np.array([0.5, 1.5]))) > 0).all()
    assert [x for x, _ in verticals(left)] == [1.0]
    assert [x for x, _ in verticals(right)] == [0.07]
    assert left.get_xlabel() == f"{ratio}; shaded: theory violated"
    # Between two lines, a little to either side of 1.
    pixels = Pixels(figure)
    step = 0.012 * np.ptp(left.get_xlim()) * (1.0 if bound == "depth" else -1.0)
    assert same_color(pixels.at(left, 1.0 + step, 0.3), "0.92")
    assert not same_color(pixels.at(left, 1.0 - step, 0.3), "0.92")
    assert "nothing proved in 1 of 7 combinations" in figure.get_suptitle()


@case("slack")
def test_nothing_proved_at_all_is_said(draw):
    table = slack_table(1.1, 1.5).assign(trials=0)
    figure = draw({"bound": "fusion", "delta": 0.05}, slack=table)
    assert "nothing proved in 7 of 7 combinations" in figure.get_suptitle()


def test_every_kind_with_a_promise_has_its_title_and_ratio():
    assert set(KINDS) == set(PROMISES) == set(BLOCKS) - {"separation"}
    assert {kind: ratio.replace(" ", "") for kind, (_, ratio, _) in KINDS.items()} == {
        kind: ratio for kind, (_, _, ratio) in PROMISES.items()
    }


@case("large_batches")
def test_costs_and_their_slopes(draw):
    """Each panel has its own axis's rows; the line of n spans the batches that go in tiles."""
    draws = Draws(11)
    sizes = {"n": (1024, 2048, 4096, 8192), "ambient_dim": (32, 64, 128), "depth": (1, 2, 4)}
    table = pd.DataFrame(
        [{"axis": axis, "n": 512, "ambient_dim": 16, "depth": 8} | {axis: size}
         for axis, each in sizes.items() for size in each]
    )  # fmt: skip
    table = table.assign(seconds=draws(10, 1.0, 9.0), product_seconds=draws(10, 1.0, 9.0), tile_rows=64)
    table.loc[0, "tile_rows"] = 0
    slopes = pd.DataFrame({"axis": list(sizes), "slope": [2.03, 0.71, 0.93], "standard_error": [0.04, 0.02, 0.01],
                           "intercept": np.log([1e-6, 0.2, 1.5])})  # fmt: skip
    figure = draw(memory=draws.shuffled(table), slopes=slopes)
    words = ("points n", "coordinates D", "blocks L")
    assert dict(zip(sizes, words)) == LABELS
    for ax, label, (_, fit) in zip(figure.axes, words, slopes.iterrows(), strict=True):
        part, axis = table[table["axis"] == fit["axis"]], fit["axis"]
        measured, fitted, bare = (named(ax)[name] for name in ("measured", "fitted", "bare products"))
        np.testing.assert_array_equal([measured.x, measured.y], part[[axis, "seconds"]].T)
        np.testing.assert_array_equal([bare.x, bare.y], part[[axis, "product_seconds"]].T)
        tiled = part[part["tile_rows"] > 0][axis]
        np.testing.assert_array_equal(fitted.x, tiled)
        np.testing.assert_allclose(fitted.y, np.exp(fit["intercept"]) * tiled ** fit["slope"], rtol=1e-9)
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_xlabel()) == ("log", "log", label)
        assert ax.get_title() == f"slope {fit['slope']:.2f} ± {fit['standard_error']:.2f}"
        assert ticks(ax, "x") == {f"{size:,}": size for size in part[axis]}
    assert figure.axes[0].get_ylabel() == "seconds"
    assert list(legend(figure.axes[0])) == ["measured", "fitted", "bare products"]
