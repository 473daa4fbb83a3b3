"""What the figures of trainings on images show, against the tables that they are drawn from."""

from itertools import pairwise
from math import pi

import numpy as np
import pandas as pd
import pytest

from tests.figures.battery import Draws, case
from tests.figures.reading import Pixels, bands, bars, curves, heights, horizontals, legend, named

CONFIG = {
    "data": {"dataset": "somewhere/images/"},
    "method": {"name": "moco"},
    "encoder": {"kind": "small"},
    "batch_size": 52,
}
TITLE = "moco on images, small encoder, batch 52"


def image_tables(draws):
    """Five epochs, of which 2, 4 and 5 were measured; histograms of four unequal bins; two blocks."""
    epochs = pd.DataFrame({"epoch": [3, 1, 5, 2, 4]})
    for name in ("loss", "gradient_norm", "seconds"):
        epochs[name] = draws(5, 0.2, 5.0)
    for name in ("knn", "positive_mean", "negative_mean", "positive_variance", "negative_variance"):
        epochs[name] = draws(5, 0.05, 0.4)
    for name, level in (("phi_q05", 0.1), ("phi_q25", 0.3), ("phi_q50", 0.5), ("phi_q95", 0.9), ("ceiling", 0.7)):
        epochs[name] = level + draws(5, 0.0, 0.1)
    unmeasured = [name for name in epochs if name not in ("epoch", "loss", "gradient_norm", "seconds")]
    epochs.loc[epochs["epoch"].isin([1, 3]), unmeasured] = np.nan
    edges = [-1.0, -0.3, 0.1, 0.6, 1.0]
    scores = pd.DataFrame([{"epoch": epoch, "from": low, "to": high, "positive": positive, "negative": negative}
                           for epoch in (4, 2, 5) for (low, high), positive, negative in zip(
                               pairwise(edges), draws.rng.permutation([9, 25, 64, 110]),
                               draws.rng.permutation([400, 1100, 90, 2300]))])  # fmt: skip
    layers = pd.DataFrame([{"epoch": epoch, "part": part, "index": index, "chance": 0.77}
                           for epoch in (4, 2, 5) for part in ("attention", "reading") for index in (1, 0, 2)]
                          )  # fmt: skip
    for name in ("sharpness", "certified", "class_mass", "integrity"):
        layers[name] = draws(len(layers), 0.1, 0.5)
    return {"epochs": epochs, "scores": draws.shuffled(scores), "layers": draws.shuffled(layers)}


@case("image_curves")
def test_losses_probes_and_angles(draw):
    tables = image_tables(Draws(1))
    figure = draw(CONFIG, **tables)
    epochs = tables["epochs"].sort_values("epoch")
    expected = {"loss": ("loss", "linear"), "kNN accuracy, validation": ("knn", "linear"),
                "gradient norm": ("gradient_norm", "log")}  # fmt: skip
    *panels, angles = figure.axes
    assert [ax.get_title() for ax in figure.axes] == [*expected, "angular noise of views, degrees"]
    for ax, (column, scale) in zip(panels, expected.values()):
        (curve,) = curves(ax)
        part = epochs[epochs[column].notna()]
        np.testing.assert_array_equal([curve.x, curve.y], part[["epoch", column]].T)
        assert (ax.get_xscale(), ax.get_yscale()) == ("linear", scale)
        assert (np.diff(heights(ax, np.array([0.1, 0.3]))) > 0).all()
    assert panels[1].get_ylim() == (0.0, 1.0)
    names, drawn = legend(angles), named(angles)
    part = epochs[epochs["phi_q50"].notna()]
    degrees = {name: [value * 180.0 / pi for value in part[name]] for name in part if name.startswith(("phi", "ceil"))}
    assert list(drawn) == ["views: median", "ceiling (2b, quantiles)"]
    for label, column in (("views: median", "phi_q50"), ("ceiling (2b, quantiles)", "ceiling")):
        assert drawn[label].look == names[label]
        np.testing.assert_array_equal(drawn[label].x, [2, 4, 5])
        np.testing.assert_allclose(drawn[label].y, degrees[column], rtol=1e-14)
    ((x, low, high, color),) = bands(angles)
    np.testing.assert_array_equal(x, [2, 4, 5])
    np.testing.assert_allclose([low, high], [degrees["phi_q05"], degrees["phi_q95"]], rtol=1e-14)
    assert color == names["5 to 95 %"]
    assert angles.get_ylim()[0] == 0.0
    figure.draw_without_rendering()
    box = angles.get_legend().get_window_extent()
    (shade,) = angles.collections
    assert shade.get_window_extent().y1 < box.y0, "the legend lies above the band"
    assert {ax.get_xlabel() for ax in figure.axes} == {"epoch"}
    assert figure.get_suptitle() == TITLE


@case("image_curves")
def test_baselines_are_levels_of_the_kNN_panel(draw):
    """As the monitor measures them; the probe's own numbers, of test images or of its best candidate, are others."""
    tables = image_tables(Draws(8))
    names = [(features, probe) for features in ("h", "z", "pixels", "untrained") for probe in ("knn", "linear")]
    tables["results"] = pd.DataFrame(names, columns=["features", "probe"])
    for column, levels in (("accuracy", Draws(9)(8)), ("validation_accuracy", Draws(10)(8))):
        tables["results"][column] = levels
    monitored = {("pixels", "knn"): 0.625, ("untrained", "knn"): 0.375, ("h", "knn"): 0.25, ("z", "knn"): 0.125}
    tables["results"]["monitor_accuracy"] = [monitored.get(name, np.nan) for name in names]
    loss, knn, *_ = draw(CONFIG, **tables).axes
    samples = legend(knn)
    assert horizontals(knn) == [
        (0.625, samples["raw pixels 62.5%"]), (0.375, samples["untrained encoder 37.5%"])
    ]  # fmt: skip
    assert len(curves(knn)) == 1
    assert not horizontals(loss)
    # A set without labels has none, and neither has a run of an earlier version (all other tests).
    tables["results"]["monitor_accuracy"] = np.nan
    assert not horizontals(draw(CONFIG, **tables).axes[1])


@case("image_curves")
def test_a_ceiling_of_zero_says_why(draw):
    tables = image_tables(Draws(2))
    tables["epochs"]["ceiling"] = 0.0
    angles = draw(CONFIG, **tables).axes[3]
    assert "2b does not apply:\nclasses overlap" in legend(angles), "a run of an earlier version"
    assert list(named(angles))[:1] == ["views: median"]
    epochs = tables["epochs"]
    epochs["closer"] = np.where(epochs["epoch"] == epochs.loc[epochs["phi_q50"].notna(), "epoch"].max(), 0.374, 0.9)
    expected = "2b does not apply:\n37% of the cross pairs are\ncloser than the farthest\nwithin pair"
    assert expected in legend(draw(CONFIG, **tables).axes[3])


@case("image_curves")
def test_a_ceiling_is_drawn_where_there_is_one(draw):
    tables = image_tables(Draws(2))
    epochs = tables["epochs"]
    first = epochs["epoch"] == epochs.loc[epochs["phi_q50"].notna(), "epoch"].min()
    epochs.loc[first, "ceiling"] = 0.0
    drawn = named(draw(CONFIG, **tables).axes[3])["ceiling (2b, quantiles)"]
    assert np.isnan(drawn.y).tolist() == [True, False, False]


@case("image_scores")
def test_histograms_of_scores(draw):
    tables = image_tables(Draws(3))
    epochs, scores = tables["epochs"].sort_values("epoch"), tables["scores"]
    figure = draw(CONFIG, **tables)
    *panels, bar = figure.axes
    pixels = Pixels(figure)
    # Columns reach halfway to the next measured epoch.
    columns = {2: (1.0, 3.0), 4: (3.0, 4.5), 5: (4.5, 5.5)}
    for ax, kind in zip(panels, ("positive", "negative")):
        for row in scores.to_dict("records"):
            total = sum(scores.loc[scores["epoch"] == row["epoch"], kind])
            left, right = columns[row["epoch"]]
            for share in (0.05, 0.9):
                color = pixels.at(ax, left + share * (right - left), row["from"] + 0.15 * (row["to"] - row["from"]))
                assert pixels.value(bar, color) == pytest.approx((row[kind] / total) ** 0.5, abs=0.02)
        (found,) = bars(ax)
        part = epochs[epochs[f"{kind}_mean"].notna()]
        spread = [value**0.5 for value in part[f"{kind}_variance"]]
        np.testing.assert_array_equal([found.x, found.y], part[["epoch", f"{kind}_mean"]].T)
        np.testing.assert_allclose(found.low, part[f"{kind}_mean"] - spread)
        np.testing.assert_allclose(found.high, part[f"{kind}_mean"] + spread)
        assert ax.get_title() == f"{kind} scores"
        assert (ax.get_xlabel(), ax.get_yscale()) == ("epoch", "linear")
        assert (np.diff(heights(ax, np.array([-1.0, 0.0, 1.0]))) > 0.3).all()
    assert (panels[0].get_ylabel(), bar.get_ylabel()) == ("cosine of two embeddings", "square root of the share")
    assert figure.get_suptitle() == f"{TITLE}: scores (bars: mean, one sd)"


@case("image_scores")
def test_one_epoch_is_one_column(draw):
    tables = image_tables(Draws(4))
    tables = {name: table[table["epoch"] == 4] for name, table in tables.items()}
    (ax, *_) = draw(CONFIG, **tables).axes
    assert ax.get_xlim() == (3.5, 4.5)
    assert [tick for tick in ax.get_xticks() if 3.5 <= tick <= 4.5] == [4.0], "epochs are whole"


@case("image_layers")
def test_affinity_sharpness_of_blocks(draw):
    tables = image_tables(Draws(5))
    layers = tables["layers"]
    figure = draw(CONFIG, **tables)
    readings, attention = figure.axes
    names = legend(readings)
    assert list(names) == ["block 0", "block 1", "block 2"]
    assert len(set(names.values())) == 3
    assert legend(attention) == names
    assert (len(curves(readings)), len(curves(attention))) == (6, 3)
    for index, name in enumerate(names):
        for ax, part, column in ((readings, "reading", "sharpness"), (attention, "attention", "class_mass")):
            rows = layers[(layers["part"] == part) & (layers["index"] == index)].sort_values("epoch")
            assert named(ax)[name].look == names[name]
            np.testing.assert_array_equal([named(ax)[name].x, named(ax)[name].y], rows[["epoch", column]].T)
        rows = layers[(layers["part"] == "reading") & (layers["index"] == index)].sort_values("epoch")
        certified = curves(readings)[2 * index + 1]
        np.testing.assert_array_equal([certified.x, certified.y], rows[["epoch", "certified"]].T)
        assert (certified.look.color, certified.look.line) == (names[name].color, "--")
    assert [y for y, _ in horizontals(readings)] == [0.77]
    assert not horizontals(attention)
    assert readings.get_title() == "affinity sharpness (dashes: certified; gray: chance)"
    assert attention.get_title() == "attention inside the own class"
    assert [ax.get_ylim()[0] for ax in figure.axes] == [0.0, 0.0]
    assert figure.get_suptitle() == f"{TITLE}, validation images"


@case("image_layers")
def test_without_attention_there_is_one_panel(draw):
    tables = image_tables(Draws(6))
    tables["layers"] = tables["layers"][tables["layers"]["part"] == "reading"]
    assert len(draw(CONFIG, **tables).axes) == 1


@case("image_curves")
def test_the_critical_strength_beside_the_one_in_use(draw):
    """Logged after epochs 2, 4 and 5: known, known without an upper end, and beyond what was embedded."""
    tables = image_tables(Draws(5))
    epochs = tables["epochs"]
    logged = {2: (0.75, 0.4, 0.3, 0.6), 4: (0.75, 0.62, 0.55, np.nan), 5: (0.75, np.nan, 1.0, np.nan)}
    for place, name in enumerate(("strength", "critical_strength", "critical_low", "critical_high")):
        epochs[name] = [logged[epoch][place] if epoch in logged else np.nan for epoch in epochs["epoch"]]
    figure = draw(CONFIG, **tables)
    panel = figure.axes[4]
    assert panel.get_title() == "augmentation strength"
    drawn = named(panel)
    np.testing.assert_array_equal([drawn["in use"].x, drawn["in use"].y], [[2, 4, 5], [0.75, 0.75, 0.75]])
    np.testing.assert_array_equal([drawn["at least"].x, drawn["at least"].y], [[5], [1.0]])
    assert {"in use", "critical, 95 %", "at least"} == set(legend(panel))
    (known,) = bars(panel)
    np.testing.assert_array_equal(known.x, [2, 4])
    np.testing.assert_allclose([known.low, known.y, known.high], [[0.3, 0.55], [0.4, 0.62], [0.6, 0.62]], rtol=1e-14)
    assert panel.get_ylim()[0] == 0.0
    assert len(draw(CONFIG, **image_tables(Draws(5))).axes) == 4, "a run without it has no such panel"
