"""What the figures of the limits on real data show, against the tables that they are drawn from."""

from statistics import mean, stdev

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from scipy.special import stdtrit

from figures.claims.limits import CROSS, TURN
from figures.words import seen
from tests.figures.battery import Draws, case
from tests.figures.reading import bars, curves, legend, named, verticals

SEEDS, STRENGTHS, SIZES = 3, (0.1, 0.4, 0.7, 1.0), (8, 16, 32, 64)


def half_width(values):
    return stdtrit(len(values) - 1, 0.975) * stdev(values) / len(values) ** 0.5


def limit_tables(draws):
    """Two methods; of the second no crossing is known, and of one training no critical strength."""
    levels = pd.DataFrame([{"curve": curve, "seed": seed, "strength": strength} for curve in ("A", "B")
                           for seed in range(SEEDS) for strength in STRENGTHS])  # fmt: skip
    for name in ("accuracy", "critical", "low", "high"):
        levels[name] = draws(len(levels), 0.2, 0.9)
    levels.loc[(levels["curve"] == "B") & (levels["seed"] == 1) & (levels["strength"] == 0.4), "critical"] = np.nan
    turns = pd.DataFrame([
        {"curve": "A", "seed": "0", "turning": 0.2, "crossing": 0.25},
        {"curve": "A", "seed": "mean curve", "turning": 0.42, "turning_low": 0.35, "turning_high": 0.51,
         "crossing": 0.63, "crossing_low": 0.6, "crossing_high": 0.72},
        {"curve": "B", "seed": "mean curve", "turning": 0.81, "turning_low": 0.77, "turning_high": 0.93},
    ])  # fmt: skip
    return {"limit_levels": draws.shuffled(levels, "curve"), "limit_turns": turns}


def assert_means(ax, rows, over, column):
    """Mean over seeds, with Student's interval where every seed has a value, and every seed as a dot."""
    seeds = rows["seed"].nunique()
    (drawn,) = bars(ax)
    rows = rows[rows[column].notna()]
    values = {place: list(part[column]) for place, part in rows.groupby(over)}
    np.testing.assert_allclose(drawn.x, list(values))
    np.testing.assert_allclose(drawn.y, [mean(each) for each in values.values()])
    for low, high, each in zip(drawn.low, drawn.high, values.values()):
        half = half_width(each) if len(each) == seeds else np.nan
        np.testing.assert_allclose([low, high], [mean(each) - half, mean(each) + half])
    cloud = next(curve for curve in curves(ax) if curve.look.marker == ".")
    seen = {(x, y) for x, y in zip(cloud.x, cloud.y) if np.isfinite(y)}
    assert seen == set(rows[[over, column]].itertuples(index=False, name=None))
    assert cloud.look.line == "None"


@case("claim_turns")
def test_turns_and_crossings(draw):
    tables = limit_tables(Draws(1))
    figure = draw({"claim": "X1"}, **tables)
    levels, turns = tables["limit_levels"], tables["limit_turns"]
    names = legend(figure)
    assert set(names) == {"strength in use", "accuracy turns", "critical falls below use", "mean, 95 %"}
    assert names["accuracy turns"].color == to_hex(TURN)
    assert names["critical falls below use"].color == to_hex(CROSS)
    above, below = figure.axes[:2], figure.axes[2:]
    assert [ax.get_title() for ax in above] == ["A", "B"]
    for curve, top, bottom in zip("AB", above, below):
        part = levels[levels["curve"] == curve]
        assert_means(top, part, "strength", "accuracy")
        assert_means(bottom, part, "strength", "critical")
        line = named(bottom)["strength in use"]
        np.testing.assert_array_equal(line.x, line.y)
        np.testing.assert_array_equal(line.x, [0.1, 1.0])
        row = turns[(turns["curve"] == curve) & (turns["seed"] == "mean curve")].iloc[0]
        known = [(column, label) for column, label in (("turning", "accuracy turns"),
                                                       ("crossing", "critical falls below use"))
                 if np.isfinite(row[column])]  # fmt: skip
        for ax in (top, bottom):
            assert [x for x, _ in verticals(ax)] == [row[column] for column, _ in known]
            assert [look.color for _, look in verticals(ax)] == [names[label].color for _, label in known]
            shades = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
            ends = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in shades]
            np.testing.assert_allclose(ends, [(row[f"{c}_low"], row[f"{c}_high"]) for c, _ in known])
    assert "3 seeds" in figure.get_suptitle()


@case("claim_turns")
def test_what_lies_beyond_the_levels_is_at_least_there(draw):
    """A crossing at the last level and a turn at the first, and a critical strength that one seed did not reach."""
    levels = pd.DataFrame([{"curve": "A", "seed": seed, "strength": strength, "accuracy": 0.5 + 0.01 * seed,
                            "critical": 1.2 if (seed, strength) == (1, 0.7) else 0.9 + 0.1 * seed}
                           for seed in range(SEEDS) for strength in STRENGTHS])  # fmt: skip
    levels["beyond"] = levels["critical"] == 1.2
    turns = pd.DataFrame([{"curve": "A", "seed": "mean curve", "turning": 0.1, "turning_censored": -1,
                           "turning_low": 0.1, "turning_high": 0.4, "crossing": 1.0, "crossing_censored": 1,
                           "crossing_low": 1.0, "crossing_high": 1.0}])  # fmt: skip
    levels.loc[(levels["seed"] == 2) & (levels["strength"] == 0.1), ["critical", "beyond"]] = [1.1, False]
    figure = draw({"claim": "X1"}, limit_levels=levels, limit_turns=turns)
    top, bottom = figure.axes
    names = legend(figure)
    assert set(names) == {"strength in use", "accuracy turns: at or below", "critical falls below use: at or above",
                          "mean, 95 %", "mean, at least"}  # fmt: skip
    for ax in (top, bottom):
        (turn, turn_look), (turn_arrow, turn_mark), (cross, cross_look), (cross_arrow, cross_mark) = verticals(ax)
        assert (turn, turn_arrow, cross, cross_arrow) == (0.1, 0.1, 1.0, 1.0)
        assert (turn_look.line, turn_mark.marker, cross_look.line, cross_mark.marker) == (":", "<", ":", ">")
    means, dots, least, capped = (
        bars(bottom)[0],
        *(curve for curve in curves(bottom) if curve.label != "strength in use"),
    )
    np.testing.assert_array_equal(np.isnan(means.low), [False, False, True, False])
    assert (least.label, least.look.marker, list(least.x)) == ("mean, at least", "^", [0.7])
    np.testing.assert_array_equal(np.isnan(means.y), np.isnan(means.low))
    np.testing.assert_allclose(least.y, [(0.9 + 1.2 + 1.1) / 3.0])
    assert (list(capped.x), list(capped.y), capped.look.marker) == ([0.7], [1.2], "^")
    assert 1.2 not in dots.y
    words = seen(figure)
    assert "critical falls below use: at or above: vertical line at 1" in words
    assert "mean, at least: 1.07 at 0.7" in words
    levels["critical"], levels["beyond"] = 1.2, True
    figure = draw({"claim": "X1"}, limit_levels=levels, limit_turns=turns)
    assert {"mean, 95 %", "mean, at least"} < set(legend(figure))
    above, below = seen(figure).split("critical strength against")
    assert "mean, 95 %: stays near 51 %" in above
    assert "mean, at least: 4 points from 1.2 to 1.2" in below
    assert "95 %" not in below


@case("claim_floor")
def test_accuracy_by_batch_beside_its_floors(draw):
    draws = Draws(2)
    levels = pd.DataFrame([{"seed": seed, "batch_size": size} for seed in range(SEEDS) for size in SIZES])
    levels["accuracy"] = draws(len(levels), 0.5, 0.9)
    # One floor is undecided, one lies beyond the largest batch.
    floors = pd.DataFrame({"seed": [0, 1, 2], "floor": [20.0, 27.0, 90.0], "certified": [33.0, np.nan, 120.0]})
    figure = draw({"claim": "X2"}, floor_levels=draws.shuffled(levels), floor_values=floors)
    (ax,) = figure.axes
    assert ax.get_xscale() == "log"
    assert_means(ax, levels, "batch_size", "accuracy")
    names = legend(ax)
    assert set(names) == {"predicted floor, these rows", "certified floor", "mean, 95 %"}
    found = {label: [x for x, look in verticals(ax) if look.color == names[label].color] for label in names}
    assert found["predicted floor, these rows"] == [20.0, 27.0, 90.0]
    assert found["certified floor"] == [33.0, 120.0]
    assert ax.get_xlabel() == "batch size"
