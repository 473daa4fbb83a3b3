"""What the figures of over-fusion and of the sharpening map show, against the tables that they are drawn from."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.figures.battery import Draws, case, lowest_middle_highest
from tests.figures.reading import Pixels, bands, boxes, curves, heights, horizontals, legend, named, ticks, widths


def fusion_tables(draws):
    """Three curves that are shown (one peaks at the input, one has a cap), and two that are not."""
    curves_ = pd.DataFrame({
        "cell": [7, 3, 9, 4, 12], "name": ["softmax 6", "ReLU", "softmax 8", "normalized", "equiangular"],
        "batches": ["noisy"] * 4 + ["equiangular"], "normalized": [False, False, False, True, False],
        "chance": [0.13, 0.11, 0.13, 0.2, 0.3], "peak_predicted": [2, 0, 5, 1, 1], "peak_measured": [1, 3, 2, 0, 0],
    })  # fmt: skip
    depths = []
    for cell in curves_["cell"]:
        low, mean, high = lowest_middle_highest(draws, 8)
        predicted, cap, errors = draws(8), draws(8), draws(16, 1e-4, 1e-2)
        for layer in range(8):
            # Errors below 1e-7 are rounding.
            error = 1e-9 if (cell, layer) == (7, 7) else errors[layer]
            depths.append({"cell": cell, "layer": layer, "sharpness_low": low[layer], "sharpness_mean": mean[layer],
                           "sharpness_high": high[layer], "predicted": predicted[layer], "error_mean": error,
                           "error_max": errors[8 + layer], "cap": cap[layer] if cell == 9 else np.nan})  # fmt: skip
    return curves_, draws.shuffled(pd.DataFrame(depths))


@case("over_fusion")
def test_sharpness_against_depth(draw):
    table, depths = fusion_tables(Draws(1))
    config = {"num_clusters": 8, "cluster_size": 5, "within_cos": 0.83, "between_cos": 0.21, "trials": 37}
    figure = draw(config, curves=table, depths=depths)
    left, right = figure.axes
    names = legend(figure)
    shown = {"softmax 6": 7, "ReLU": 3, "softmax 8": 9}
    assert list(names) == [*shown, "block model (predicted; circle: its peak)", "Theorem 3c's cap", "chance"]
    measured = named(left)
    assert list(measured) == list(shown)
    assert len({curve.look.color for curve in measured.values()}) == 3
    others = [curve for curve in curves(left) if curve.label.startswith("_")]
    predicted = [
        curve for curve in others if curve.look.line == names["block model (predicted; circle: its peak)"].line
    ]
    circles = [curve for curve in others if curve.look.marker == "o"]
    caps = [curve for curve in others if curve.look.line == names["Theorem 3c's cap"].line]
    assert (len(predicted), len(caps), len(others)) == (3, 1, 3 + 2 + 1)
    for (name, cell), model, band, error in zip(shown.items(), predicted, bands(left), curves(right)):
        part = depths[depths["cell"] == cell].sort_values("layer")
        curve = measured[name]
        assert curve.look == names[name]
        # Layer 0 stands at 1 on the logarithmic axis, and the ticks say so.
        np.testing.assert_array_equal([curve.x, curve.y], [part["layer"] + 1, part["sharpness_mean"]])
        np.testing.assert_array_equal([model.x, model.y], [part["layer"] + 1, part["predicted"]])
        np.testing.assert_array_equal(band[:3], [part["layer"] + 1, part["sharpness_low"], part["sharpness_high"]])
        assert band[3] == error.look.color == curve.look.color
        seen = part["error_mean"].where(part["error_mean"] > 1e-8)
        np.testing.assert_array_equal([error.x, error.y], [part["layer"] + 1, seen])
    assert np.isnan(curves(right)[0].y).sum() == 1
    points = depths.set_index(["cell", "layer"])["predicted"]
    assert [(c.x[0], c.y[0]) for c in circles] == [(3, points[7, 2]), (6, points[9, 5])]
    capped = depths[depths["cell"] == 9].sort_values("layer")
    np.testing.assert_array_equal([caps[0].x, caps[0].y], [capped["layer"] + 1, capped["cap"]])
    assert caps[0].look.color == measured["softmax 8"].look.color
    assert [(y, look) for y, look in horizontals(left)] == [(0.13, names["chance"]), (0.11, names["chance"])]
    for ax in (left, right):
        assert ax.get_xscale() == "log"
        assert ticks(ax, "x") == {"0": 1, "1": 2, "2": 3, "4": 5}
        assert ax.get_xlabel() == "layer"
        assert (np.diff(widths(ax, np.array([1.0, 3.0, 8.0]))) > 0).all()
    assert (left.get_yscale(), right.get_yscale()) == ("linear", "log")
    assert (np.diff(heights(left, np.array([0.1, 0.9]))) > 0).all()
    assert (left.get_ylabel(), right.get_ylabel()) == ("mean affinity sharpness", "error of the mean-field prediction")
    title = figure.get_suptitle()
    assert "8 clusters of 5, mean cosines 0.83 within and 0.21 between, 37 batches" in title


def sharpening_tables(draws):
    """4 x 3 squares with distinct changes, and predicted changes whose zeros are known lines."""
    xs, ys = np.array([0.1, 0.3, 0.55, 0.8, 0.95]), np.array([0.003, 0.02, 0.1, 0.6])
    squares = []
    for i, j in product(range(4), range(3)):
        row = {"within_from": xs[i], "within_to": xs[i + 1], "between_from": ys[j], "between_to": ys[j + 1]}
        for name in ("plain", "squared", "thresholded"):
            before, after = draws(1, 0.3, 0.7)[0], draws(1, 0.3, 0.7)[0]
            model = draws(2)
            row |= {f"{name}_before": before, f"{name}_after": after, f"{name}_model_before": model[0],
                    f"{name}_model_after": model[1]}  # fmt: skip
        squares.append(row)
    grid = [(x, y) for x in np.linspace(0.1, 0.95, 15) for y in np.geomspace(0.003, 0.6, 15) if y < x]
    boundary = pd.DataFrame(grid, columns=["within", "between"])
    # Linear along each edge of the grid, so that the contour is exact: within = .4, and between = a grid line's middle.
    boundary = boundary.assign(
        plain=-0.1, squared=boundary["within"] - 0.4, thresholded=np.where(boundary["between"] > 0.05, -0.2, 0.0)
    )
    return draws.shuffled(pd.DataFrame(squares)), draws.shuffled(boundary)


@case("sharpening_map")
def test_where_one_block_sharpens(draw):
    table, boundary = sharpening_tables(Draws(2))
    config = {"threshold": 0.31, "num_clusters": 4, "cluster_size": 16, "trials": 23}
    figure = draw(config, map=table, boundary=boundary)
    *panels, bar = figure.axes
    pixels, names = Pixels(figure), legend(figure)
    for ax, name in zip(panels, ("plain", "squared", "thresholded")):
        change = table[f"{name}_after"] - table[f"{name}_before"]
        edges = table[["within_from", "within_to", "between_from", "between_to"]].to_numpy()
        np.testing.assert_array_equal(boxes(ax.collections[0]), edges)
        np.testing.assert_array_equal(ax.collections[0].get_array(), change)
        for (left, right, low, high), value in zip(edges, change):
            color = pixels.at(ax, left + 0.3 * (right - left), low * (high / low) ** 0.3)
            assert pixels.value(bar, color) == pytest.approx(value, rel=0.12, abs=1e-3)
            assert (color[2] > color[0]) == (value > 0), "blue sharpens"
        assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.1, 0.95), (0.003, 0.6))
        assert ax.get_xlabel() == "mean cosine within clusters"
    lines = [[each for each in ax.collections if "ContourSet" in type(each).__name__] for ax in panels]
    assert [len(each) for each in lines] == [0, 1, 1], "a block that never sharpens has no boundary"
    squared, thresholded = (np.concatenate([path.vertices for path in each[0].get_paths()]) for each in lines[1:])
    np.testing.assert_allclose(squared[:, 0], 0.4)
    assert len(squared) > 5
    # Nothing lost counts as risen: the boundary is where the model begins to fall.
    above = boundary["between"][boundary["between"] > 0.05].min()
    below = boundary["between"][boundary["between"] < 0.05].max()
    assert ((thresholded[:, 1] > below) & (thresholded[:, 1] < above)).all()
    assert [[(y, look.line) for y, look in horizontals(ax)] for ax in panels] == [[], [], [(0.31, ":")]]
    assert names[r"threshold $\tau$"].line == ":"
    assert names["predicted boundary (block model: Proposition 5)"].line == "-"
    assert [ax.get_title() for ax in panels] == ["plain ReLU", "squared ReLU", r"ReLU with threshold $\tau$ = 0.31"]
    assert (panels[0].get_ylabel(), bar.get_ylabel()) == (
        "mean cosine between clusters",
        "measured change of sharpness",
    )
    assert "4 clusters of 16, 23 batches a square" in figure.get_suptitle()
