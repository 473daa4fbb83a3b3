"""What the figures of claims show, against the tables that they are drawn from."""

from itertools import pairwise, product
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import StepPatch
from scipy.special import stdtrit

from tests.figures.battery import Draws, case
from tests.figures.reading import (
    Pixels,
    bands,
    bars,
    curves,
    heights,
    legend,
    named,
    same_color,
    ticks,
    verticals,
    widths,
)

CLAIM = {"claim": "X1"}


def half_width(values):
    """Of Student's 95 % interval of the mean."""
    return stdtrit(len(values) - 1, 0.975) * stdev(values) / len(values) ** 0.5


@case("claim_contrasts")
def test_contrasts(draw):
    """Two measures; every side, both directions, an interval that is missing, and a theorem's verdict that is none."""
    rows = [
        ("one", "accuracy", "above", "above", 0.021, 0.004, 0.047, 4),
        ("two", "accuracy", "above", "below", -0.032, -0.061, -0.011, 5),
        ("loss", "nats", "differs", "below", -1.7, -2.9, -0.6, 4),
        ("three", "accuracy", "differs", "above", 0.013, 0.002, 0.018, 4),
        ("four", "accuracy", "above", "undecided", 0.007, -0.019, 0.025, 4),
        ("five", "accuracy", "above", "undecided", -0.009, np.nan, np.nan, 1),
        ("theorem", "spread", "above", "HOLDS", np.nan, np.nan, np.nan, np.nan),
    ]
    columns = ["contrast", "measure", "direction", "side", "difference", "low", "high", "seeds"]
    table = pd.DataFrame(rows, columns=columns)
    # Columns beside the drawn ones, which a slip could take.
    table = table.assign(first=Draws(1)(7), second=Draws(2)(7))
    figure = draw(CLAIM, contrasts=table)
    names = legend(figure)
    assert names.pop("claimed side") == "#ededed"
    assert len(names) == len({look.marker for look in names.values()}) == 3
    sides = {("above", "above"): "on the claimed side", ("above", "below"): "on the other side",
             ("differs", "below"): "on the claimed side", ("differs", "above"): "on the claimed side",
             ("above", "undecided"): "undecided"}  # fmt: skip
    for ax, measure, scale in zip(figure.axes, ("accuracy", "nats"), (100.0, 1.0)):
        own = table[table["measure"] == measure]
        assert list(ticks(ax, "y")) == list(own["contrast"])
        assert (np.diff(heights(ax, np.array(list(ticks(ax, "y").values())))) < 0).all(), "the first one is at the top"
        drawn, shades = curves(ax), list(ax.collections)
        for row in own.to_dict("records"):
            place, name = ticks(ax, "y")[row["contrast"]], sides[row["direction"], row["side"]]
            if np.isfinite(row["low"]):
                interval = drawn.pop(0)
                assert interval.look.color == names[name].color
                np.testing.assert_allclose(interval.x, [scale * row["low"], scale * row["high"]], rtol=1e-14)
                np.testing.assert_array_equal(interval.y, place)
            mark = drawn.pop(0)
            assert (mark.look.color, mark.look.marker) == (names[name].color, names[name].marker)
            np.testing.assert_allclose([*mark.x, *mark.y], [scale * row["difference"], place], rtol=1e-14)
            extent = shades.pop(0).get_paths()[0].get_extents()
            left = ax.get_xlim()[0] if row["direction"] == "differs" else 0.0
            np.testing.assert_allclose([extent.x0, extent.x1], [left, ax.get_xlim()[1]])
            np.testing.assert_allclose([extent.y0, extent.y1], [place - 0.5, place + 0.5])
        assert not drawn
        assert not shades
        assert [x for x, _ in verticals(ax)] == [0.0]
        assert (np.diff(widths(ax, np.array([-0.5, 0.0, 0.5]))) > 0).all(), "above is right"
    assert [ax.get_xlabel() for ax in figure.axes] == ["difference of accuracy, percentage points", "difference: nats"]
    assert figure.get_suptitle() == "X1: mean differences and 95 % intervals over 1 to 5 seeds"
    later = draw({**CLAIM, "level": "98.6 %"}, contrasts=table)
    assert later.get_suptitle() == "X1: mean differences and 98.6 % intervals over 1 to 5 seeds"


def point_rows(draws, factor, values, names=("one", "two")):
    rows = [{"factor": factor, "value": value, "curve": curve, "seed": seed}
            for curve in names for value in values for seed in range(4)]  # fmt: skip
    table = draws.shuffled(pd.DataFrame(rows), "curve")
    for name in ("accuracy", "h_linear", "z_linear", "h_knn"):
        table[name] = draws(len(table), 0.4, 0.9)
    return table


def seeds_of(table, column, **where):
    """A column's values over seeds."""
    for name, value in where.items():
        table = table[table[name].astype(str) == str(value)]
    return list(table[column])


@case("claim_curves")
def test_accuracy_over_numbers_and_categories(draw):
    draws = Draws(3)
    numbers = point_rows(draws, "batch size", (512, 32, 128)).drop(columns=["h_linear", "z_linear"])
    kinds = point_rows(draws, "head", ("none", "MLP", "linear"))
    table = pd.concat([numbers, kinds], ignore_index=True)
    figure = draw(CLAIM, points=table)
    names = legend(figure)
    assert list(names) == ["one", "two"]
    assert names["one"] != names["two"]
    line, hidden, left, right = figure.axes
    assert not hidden.get_visible()
    assert (line.get_xlabel(), line.get_ylabel(), line.get_xscale()) == ("batch size", "accuracy", "log")
    assert ticks(line, "x") == {"32": 32, "128": 128, "512": 512}
    for found, single, curve in zip(bars(line), curves(line), names):
        assert found.look == names[curve]
        assert (single.look.color, single.look.marker, single.look.line) == (
            names[curve].color, names[curve].marker, "None"
        )  # fmt: skip
        np.testing.assert_array_equal(found.x, [32, 128, 512])
        values = [seeds_of(numbers, "accuracy", curve=curve, value=size) for size in (32, 128, 512)]
        np.testing.assert_allclose(found.y, [mean(each) for each in values])
        np.testing.assert_allclose(found.low, [mean(each) - half_width(each) for each in values])
        np.testing.assert_allclose(found.high, [mean(each) + half_width(each) for each in values])
        own = numbers[numbers["curve"] == curve]
        assert set(zip(single.x, single.y)) == set(zip(own["value"], own["accuracy"]))
        assert len(single.x) == 12
    order = list(dict.fromkeys(kinds["value"]))
    for ax, column, title in ((left, "h_linear", "linear probe on h"), (right, "z_linear", "linear probe on z")):
        # Named on the left panel only.
        places = ticks(left, "y")
        assert list(places) == order
        assert ax.get_ylim() == left.get_ylim()
        assert ax.get_title() == title
        for found, single, curve in zip(bars(ax, "x"), curves(ax), names):
            assert (found.look.color, found.look.marker) == (names[curve].color, names[curve].marker)
            nearest = [min(places, key=lambda name, y=y: abs(places[name] - y)) for y in found.y]
            assert sorted(nearest) == sorted(order)
            values = [seeds_of(kinds, column, curve=curve, value=name) for name in nearest]
            np.testing.assert_allclose(found.x, [mean(each) for each in values])
            np.testing.assert_allclose(found.low, [mean(each) - half_width(each) for each in values])
            np.testing.assert_allclose(found.high, [mean(each) + half_width(each) for each in values])
            beside = {(x, min(places, key=lambda name, y=y: abs(places[name] - y))) for x, y in zip(single.x, single.y)}
            own = kinds[kinds["curve"] == curve]
            assert beside == set(zip(own[column], own["value"]))
        assert (np.diff(heights(ax, np.array(list(places.values())))) < 0).all()
        assert ax.get_xlabel() == "accuracy"
    assert left.get_xlim() == right.get_xlim()
    assert left.get_ylabel() == "head"
    assert figure.get_suptitle() == "X1: accuracy, mean and 95 % interval (small: each of 4 seeds)"


@case("claim_composition")
def test_composition_of_augmentations(draw):
    draws = Draws(4)
    pairs = [("crop", "color"), ("crop", "crop"), ("blur", "crop"), ("color", "color"), ("blur", "blur")]
    table = pd.DataFrame([(*pair, seed) for pair in pairs for seed in range(3)], columns=["first", "second", "seed"])
    table["accuracy"] = draws(len(table), 0.1, 0.9)
    means = {
        pair: mean(table.loc[(table["first"] == pair[0]) & (table["second"] == pair[1]), "accuracy"]) for pair in pairs
    }
    figure = draw(CLAIM, composition=table)
    ax, bar = figure.axes
    pixels = Pixels(figure)
    names = ["crop", "blur", "color"]
    assert list(ticks(ax, "x")) == list(ticks(ax, "y")) == names
    written = {text.get_position(): text.get_text() for text in ax.texts}
    for (i, one), (j, other) in product(enumerate(names), repeat=2):
        x, y = ticks(ax, "x")[other], ticks(ax, "y")[one]
        value = means.get((one, other), means.get((other, one)))
        # In a corner of the cell, away from its number.
        color = pixels.at_fraction(ax, (j + 0.12) / 3, 1.0 - (i + 0.12) / 3)
        if value is None:
            assert written[x, y] == "none"
            assert same_color(color, "0.88")
            continue
        assert written[x, y] == f"{100 * value:.1f}%"
        assert pixels.value(bar, color) == pytest.approx(value, abs=0.01)
    assert (np.diff(heights(ax, np.array([0.0, 1.0, 2.0]))) < 0).all()
    assert bar.get_ylabel() == "accuracy"
    assert "diagonal: one alone" in figure.get_suptitle()
    assert figure.get_suptitle().endswith("mean accuracy over 3 seeds")


@case("claim_histograms")
def test_densities_of_scores(draw):
    draws = Draws(5)
    edges = [-1.0, -0.6, 0.1, 0.3, 1.0]
    rows = [{"curve": curve, "epoch": epoch, "from": low, "to": high, "positive": positive, "negative": negative}
            for curve in ("momentum .9", "momentum 0", "none") for epoch in (9, 1)
            for (low, high), positive, negative in zip(pairwise(edges), draws(4, 5, 90), draws(4, 90, 900))
            ]  # fmt: skip
    table = draws.shuffled(pd.DataFrame(rows), "curve")
    figure = draw(CLAIM, histograms=table)
    names = legend(figure)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title() for ax in shown] == ["momentum .9", "momentum 0", "none"]
    for ax in shown:
        assert list(ticks(ax, "y")) == ["epoch 1", "epoch 9"]
        assert (np.diff(heights(ax, np.array([0.0, 1.0]))) < 0).all()
        steps = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
        assert len(steps) == 2 * 2 * 2
        for epoch, place in ((1, 0), (9, 1)):
            own = table[(table["curve"] == ax.get_title()) & (table["epoch"] == epoch)].sort_values("from")
            density = {
                kind: own[kind].to_numpy() / sum(own[kind]) / np.diff(edges) for kind in ("negative", "positive")
            }
            peak = max(max(each) for each in density.values())
            for kind, (fill, line) in zip(density, (steps[:2], steps[2:4])):
                for patch in (fill, line):
                    data = patch.get_data()
                    np.testing.assert_allclose(data.edges, edges)
                    # Up on a downward axis, from the epoch's own line.
                    np.testing.assert_allclose(data.values, place - 0.85 * density[kind] / peak)
                look = names[f"{kind} pairs"]
                color = look if isinstance(look, str) else look.color
                assert {to_hex(fill.get_facecolor()), to_hex(line.get_edgecolor())} == {color}
                assert (fill.get_data().baseline == place).all()
            steps = steps[4:]
        assert ax.get_xlim() == (-1.0, 1.0)
    assert len(set(names.values())) == 2
    assert [ax.get_xlabel() for ax in shown] == ["", "cosine of two embeddings", "cosine of two embeddings"]
    assert figure.get_suptitle() == "X1: densities of scores by epoch (each row scaled to its peak)"


@case("claim_moments")
def test_moments_over_epochs(draw):
    draws = Draws(6)
    rows = [
        {"curve": curve, "seed": seed, "epoch": epoch}
        for curve in ("m .9", "m 0")
        for seed in range(4)
        for epoch in range(1, 6)
    ]
    table = draws.shuffled(pd.DataFrame(rows), "curve")
    panels = {"positive scores: mean": "positive_mean", "positive scores: variance": "positive_variance",
              "norm of the gradient": "gradient_norm", "negative scores: mean": "negative_mean",
              "negative scores: variance": "negative_variance"}  # fmt: skip
    for i, name in enumerate(panels.values()):
        table[name] = draws(len(table), 0.2 + i, 0.9 + i)
    table["gradient_norm"] = 10.0 ** draws(len(table), -2.0, 1.0)
    table.loc[table["epoch"].isin([1, 3]), "positive_mean"] = np.nan
    accuracy = {(curve, seed): value for (curve, seed), value in zip(product(("m .9", "m 0"), range(4)), draws(8))}
    table["accuracy"] = [accuracy[key] for key in zip(table["curve"], table["seed"])]
    figure = draw(CLAIM, moments=table)
    names = legend(figure)
    *axes, final = figure.axes
    assert list(names) == ["m .9", "m 0"]
    assert [ax.get_title() for ax in axes] == list(panels)
    for ax, column in zip(axes, panels.values()):
        epochs = [2, 4, 5] if column == "positive_mean" else [1, 2, 3, 4, 5]
        assert list(named(ax)) == list(names)
        for curve, band in zip(names, bands(ax)):
            line = named(ax)[curve]
            assert line.look == names[curve]
            assert band[3] == line.look.color
            values = [seeds_of(table, column, curve=curve, epoch=epoch) for epoch in epochs]
            np.testing.assert_array_equal(line.x, epochs)
            np.testing.assert_allclose(line.y, [mean(each) for each in values])
            np.testing.assert_allclose(band[1], [mean(each) - stdev(each) for each in values])
            np.testing.assert_allclose(band[2], [mean(each) + stdev(each) for each in values])
        assert ax.get_xlabel() == "epoch"
        assert ax.get_yscale() == ("log" if column == "gradient_norm" else "linear")
        assert (np.diff(heights(ax, np.array([0.5, 0.8]))) > 0).all()
    assert final.get_title() == "accuracy after training"
    for (single, middle), curve in zip(zip(curves(final)[::2], curves(final)[1::2]), names):
        values = [value for key, value in accuracy.items() if key[0] == curve]
        assert sorted(single.y) == sorted(values)
        assert (single.look.color, single.look.marker) == (names[curve].color, names[curve].marker)
        np.testing.assert_allclose(middle.y, mean(values))
        assert middle.look.color == single.look.color
        assert middle.x[0] < single.x[0] < middle.x[1]
    assert figure.get_suptitle() == "X1: mean over 4 seeds; bands: one standard deviation"


@case("claim_blocks")
def test_values_of_blocks(draw):
    draws = Draws(7)
    rows = [{"curve": curve, "seed": seed, "block": block, "measure": measure}
            for measure in ("mass", "affinity sharpness") for curve in ("labels", "views") for seed in range(4)
            for block in range(3)]  # fmt: skip
    table = draws.shuffled(pd.DataFrame(rows), "measure", "curve")
    table["value"] = draws(len(table))
    figure = draw(CLAIM, blocks=table)
    names = legend(figure)
    assert list(names) == ["labels", "views"]
    assert [ax.get_ylabel() for ax in figure.axes] == ["mass", "affinity sharpness"]
    for ax in figure.axes:
        assert len(bars(ax)) == 2
        for found, curve in zip(bars(ax), names):
            assert found.look == names[curve]
            np.testing.assert_array_equal(found.x, [0, 1, 2])
            values = [seeds_of(table, "value", measure=ax.get_ylabel(), curve=curve, block=block) for block in range(3)]
            np.testing.assert_allclose(found.y, [mean(each) for each in values])
            np.testing.assert_allclose(found.low, [mean(each) - half_width(each) for each in values])
            np.testing.assert_allclose(found.high, [mean(each) + half_width(each) for each in values])
        assert (ax.get_xlabel(), ax.get_yscale()) == ("block", "linear")
        assert (np.diff(heights(ax, np.array([0.2, 0.8]))) > 0).all()
    assert figure.get_suptitle() == "X1: mean over 4 seeds; bars: 95 % intervals"
