"""What the figures of the noise sweep and of the tightness table show, against the tables that they are drawn from."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from figures.words import seen
from tests.figures.battery import Draws, case, lowest_middle_highest
from tests.figures.reading import bands, bars, curves, heights, horizontals, legend, named, ticks, verticals

OUTCOMES = {"separated": "separation", "admits_threshold": "persistence", "recovered": "persistence"}


def noise_rows(draws):
    """Two batch sizes at D = 64, one at D = 16, five noise levels each; one noise-free and one control cell that are no
    points."""
    rows = []
    for dim, size in ((64, 96), (64, 18), (16, 96)):
        outcomes = {name: lowest_middle_highest(draws, 5) for name in OUTCOMES}
        ceilings = {"separation_ceiling": draws(1, 0.55, 0.7)[0], "persistence_ceiling": draws(1, 0.3, 0.5)[0]}
        for i, level in enumerate(draws(5, 0.1, 1.1)):
            row = {"ambient_dim": dim, "batch_size": size, "noise_level": level, "mapped": False, **ceilings}
            for name, (low, rate, high) in outcomes.items():
                row |= {f"{name}_low": low[i], f"{name}_rate": rate[i], f"{name}_high": high[i]}
            rows.append(row)
        rows.append({**rows[-1], "noise_level": 0.0, "mapped": True})
    table = pd.DataFrame(rows).assign(control="no")
    beside = table[:5].assign(control="proved event", ambient_dim=11, separated_rate=draws(5))
    table = draws.shuffled(pd.concat([table, beside], ignore_index=True))
    return table.assign(cell=range(len(table)), noise="gaussian", num_clusters=8, trials=57)


@case("success_against_noise")
@pytest.mark.parametrize("threshold", [None, 0.3])
def test_success_rates_bands_and_ceilings(draw, threshold):
    rows = noise_rows(Draws(1))
    figure = draw({"delta": 0.1, "threshold": threshold}, rows=rows, layers=rows)
    panels = np.array(figure.axes).reshape(2, 3)
    names = legend(figure)
    assert list(names) == ["n = 18", "n = 96", "proved ceiling (of each n)", "90 %"]
    assert names["n = 18"] != names["n = 96"]
    assert names["90 %"].line == ":"
    for line, dim in zip(panels, (16, 64)):
        assert line[0].get_ylabel() == f"success rate, D = {dim}"
        for ax, (outcome, ceiling) in zip(line, OUTCOMES.items()):
            own = rows[(rows["ambient_dim"] == dim) & ~rows["mapped"] & (rows["control"] == "no")]
            sizes = sorted(set(own["batch_size"]))
            assert list(named(ax)) == [f"n = {size}" for size in sizes]
            assert len(curves(ax)) == len(bands(ax)) == len(sizes)
            marks = []
            for size, band in zip(sizes, bands(ax)):
                part = own[own["batch_size"] == size].sort_values("noise_level")
                curve = named(ax)[f"n = {size}"]
                assert curve.look == names[f"n = {size}"], "one look everywhere"
                np.testing.assert_array_equal(curve.x, part["noise_level"])
                np.testing.assert_array_equal(curve.y, part[f"{outcome}_rate"])
                np.testing.assert_array_equal(band[0], part["noise_level"])
                np.testing.assert_array_equal(band[1], part[f"{outcome}_low"])
                np.testing.assert_array_equal(band[2], part[f"{outcome}_high"])
                assert band[3] == curve.look.color
                marks.append((part[f"{ceiling}_ceiling"].iloc[0], curve.look.color))
            promised = outcome != "recovered" or threshold is None
            assert [(x, look.color) for x, look in verticals(ax)] == (marks if promised else [])
            ((goal, look),) = horizontals(ax)
            assert (goal, look.line) == (pytest.approx(0.9), names["90 %"].line)
            assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "linear")
            assert ax.get_xlim()[0] == 0.0
            assert (np.diff(heights(ax, np.array([0.0, 0.5, 1.0]))) > 0.4).all(), "a rate of 1 is at the top"
            assert ax.get_xlabel() == r"noise level $\sigma$"
    assert [ax.get_title().split("\n")[0] for ax in panels[0]] == [
        "Separated at the input", "Theorem 2a's hypotheses hold", "Clusters recovered"
    ]  # fmt: skip
    assert "8 clusters, 57 batches a point" in figure.get_suptitle()


@case("success_against_noise")
def test_what_repairs_past_separation(draw):
    """In the third panels: certified shares of every batch size, and, with hollow marks, the rows at the fusion
    ceiling, whose line is as dashed as they are."""
    draws = Draws(3)
    rows = noise_rows(draws)
    rows = rows.assign(certified_rate=draws(len(rows)), repaired_rate=np.nan, fusion_ceiling=0.0)
    beside = rows[(rows["ambient_dim"] == 64) & (rows["batch_size"] == 96) & ~rows["mapped"]][:4]
    beside = beside.assign(control="fusion", repaired_rate=draws(len(beside)), fusion_ceiling=0.83)
    table = draws.shuffled(pd.concat([rows, beside], ignore_index=True))
    figure = draw({"delta": 0.1, "threshold": None}, rows=table, layers=table)
    panels = np.array(figure.axes).reshape(2, 3)
    certified, fusion = list(legend(figure).items())[-2:]
    assert "certified" in certified[0]
    assert "2f" in fusion[0]
    for ax, dim in zip(panels[:, 2], (16, 64)):
        own = rows[(rows["ambient_dim"] == dim) & ~rows["mapped"] & (rows["control"] == "no")]
        lines = [line for line in ax.lines if line.get_linewidth() == 1.0 and len(line.get_xdata()) > 2]
        for line, size in zip(lines, sorted(set(own["batch_size"])), strict=True):
            part = own[own["batch_size"] == size].sort_values("noise_level")
            np.testing.assert_array_equal(line.get_ydata(), part["certified_rate"])
            assert to_hex(line.get_color()) == named(ax)[f"n = {size}"].look.color
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == "white"]
        assert len(hollow) == (dim == 64)
        for line in hollow:
            part = beside.sort_values("noise_level")
            np.testing.assert_array_equal(line.get_xdata(), part["noise_level"])
            np.testing.assert_array_equal(line.get_ydata(), part["repaired_rate"])
            assert to_hex(line.get_color()) == named(ax)["n = 96"].look.color
            assert 0.83 in [x for x, look in verticals(ax) if look.line == "-."]
    assert all(len(ax.lines) == len(panels[1, 0].lines) for ax in panels[:, 0][1:])


@case("success_against_noise")
def test_a_ceiling_of_zero_is_no_line(draw):
    """In a table of an earlier version, without control cells."""
    rows = noise_rows(Draws(2))
    rows = rows[rows["control"] == "no"].drop(columns="control").assign(separation_ceiling=0.0, noise="worst")
    figure = draw({"delta": 0.05, "threshold": None}, rows=rows, layers=rows)
    assert [len(verticals(ax)) for ax in figure.axes[3:]] == [0, 2, 2]
    assert "worst case" in figure.axes[0].get_xlabel()


def layered_cells(draws):
    """At each of two dimensions: six noisy cells of the larger batch, of which four are to be shown beside the
    noise-free one, and cells of a smaller batch, which are not."""
    cells, layers = [], []
    # The last guaranteed ones are shown, and the first below .9 and below .05.
    columns = ("noise_level", "persistence_guaranteed", "separation_guaranteed", "recovered_rate")
    kinds = ((0.21, True, True, 1.0), (0.33, True, True, 0.99), (0.47, False, True, 0.97), (0.58, False, False, 0.93),
             (0.71, False, False, 0.62), (0.93, False, False, 0.03))  # fmt: skip
    for dim in (64, 16):
        for size in (18, 96):
            noisy = [dict(zip(columns, kind)) for kind in kinds]
            clean = {**noisy[0], "noise_level": 0.0, "mapped": True}
            cells += [{"mapped": False, **each, "ambient_dim": dim, "batch_size": size} for each in (*noisy, clean)]
    cells = pd.DataFrame(cells).assign(control="no")
    cells = pd.concat([cells, cells[:3].assign(control="sharp cap", batch_size=500)], ignore_index=True)
    cells = draws.shuffled(cells).assign(trials=31)
    cells["cell"] = 3 + 2 * np.arange(len(cells))
    columns = ("alpha_min", "alpha_mean", "alpha_max", "beta_max", "beta_mean", "beta_min", "integrity_min",
               "integrity_mean", "sharpness_min", "sharpness_mean", "sharpness_chance", "alpha_rate_bound",
               "beta_cap")  # fmt: skip
    for cell in cells["cell"]:
        values = {name: draws(4) for name in columns}
        layers += [{"cell": cell, "layer": i, **{name: v[i] for name, v in values.items()}} for i in range(4)]
    return cells, draws.shuffled(pd.DataFrame(layers))


@case("layers")
def test_layer_by_layer(draw):
    rows, layers = layered_cells(Draws(3))
    figure = draw(rows=rows, layers=layers)
    panels = np.array(figure.axes).reshape(2, 4)
    shown = {"0, keys W x (Thm 1)": 0.0, "0.33 (every depth guaranteed)": 0.33, "0.47 (one block guaranteed)": 0.47,
             "0.71 (no guarantee)": 0.71, "0.93 (no guarantee)": 0.93}  # fmt: skip
    styles = legend(figure)
    assert (styles[r"Theorem 1's rate: floor of $\alpha_l$"].line, styles[r"Theorem 2a's cap on $\beta_l$"].line) == (
        "--",
        ":",
    )
    for line, dim in zip(panels, (16, 64)):
        own = rows[(rows["ambient_dim"] == dim) & (rows["batch_size"] == 96)]
        assert line[0].get_ylabel() == f"D = {dim}, n = 96"
        looks = legend(line[3])
        assert list(looks) == list(shown)
        for ax, column in zip(line, ("alpha_min", "beta_max", "integrity_min", "sharpness_min")):
            measured, others = named(ax), [curve for curve in curves(ax) if curve.label.startswith("_")]
            assert list(measured) == list(shown)
            for name, level in shown.items():
                cell = own.loc[own["noise_level"] == level, "cell"].item()
                part = layers[layers["cell"] == cell].sort_values("layer")
                assert measured[name].look == looks[name]
                np.testing.assert_array_equal(measured[name].x, part["layer"])
                np.testing.assert_array_equal(measured[name].y, part[column])
                bound, line_style, color = {
                    "alpha_min": ("alpha_rate_bound", "--", looks[name].color),
                    "beta_max": ("beta_cap", ":", looks[name].color),
                    "sharpness_min": ("sharpness_chance", "-", "#999999"),
                }.get(column, (None, "", ""))
                if bound is None:
                    assert not others
                    continue
                other = others.pop(0)
                assert (other.look.line, other.look.color, other.look.marker) == (line_style, color, "None")
                np.testing.assert_array_equal(other.x, part["layer"])
                np.testing.assert_array_equal(other.y, part[bound])
            assert not others
            assert ax.get_yscale() == "linear"
            assert (np.diff(heights(ax, np.array([0.0, 1.0]))) > 0).all()
    assert [ax.get_title() for ax in panels[0]] == [
        r"smallest within cosine $\alpha_l$", r"largest cross cosine $\beta_l$",
        r"cluster integrity $\alpha_l - \beta_l$", "affinity sharpness",
    ]  # fmt: skip
    assert [ax.get_xlabel() for ax in panels[1]] == ["layer"] * 4
    assert "Worst of 31 batches" in figure.get_suptitle()


def boundary_table(draws):
    table = pd.DataFrame(
        [(dim, size, ceiling) for dim in (64, 16) for size in (96, 18) for ceiling in ("separation", "persistence")],
        columns=["ambient_dim", "batch_size", "ceiling"],
    )
    low, measured, high = lowest_middle_highest(draws, len(table), 0.2, 1.4)
    table = table.assign(bound=draws(len(table), 0.2, 0.9), measured=measured, measured_low=low, measured_high=high)
    table["tightness"] = table["measured"] / table["bound"]
    table.loc[1, "measured_low"] = np.nan
    table.loc[2, ["measured", "tightness"]] = np.nan
    table.loc[5, "bound"] = 0.0
    return table


@case("tightness")
def test_measured_boundaries_over_proved_ceilings(draw):
    table = Draws(5).shuffled(boundary_table(Draws(4)))
    figure = draw({"delta": 0.1}, boundaries=table)
    left, right = figure.axes
    names, places = legend(figure), ticks(right, "x")
    kept = table[(table["bound"] > 0) & table["measured"].notna()]
    assert list(places) == ["D=16\nn=18", "D=16\nn=96", "D=64\nn=18", "D=64\nn=96"]
    assert len({look.marker for name, look in names.items() if "ceiling" in name}) == 2
    for ax in (left, right):
        assert len(bars(ax)) == 2
    for found, beside in zip(bars(left), bars(right)):
        kind = found.label.removesuffix(" ceiling")
        assert found.look == beside.look == names[found.label]
        own = kept[kept["ceiling"] == kind]
        assert len(found.x) == len(beside.x) == len(own)
        for i in range(len(own)):
            (row,) = own[own["bound"] == found.x[i]].to_dict("records")
            assert found.y[i] == row["measured"]
            ends = [row["measured_low"], row["measured_high"]]
            # An end outside the noise levels has no bar: it stops at the point.
            ends = [row["measured"] if np.isnan(end) else end for end in ends]
            np.testing.assert_allclose([found.low[i], found.high[i]], ends, rtol=1e-12)
            place = f"D={row['ambient_dim']}\nn={row['batch_size']}"
            assert abs(beside.x[i] - places[place]) < 0.25
            assert beside.y[i] == row["tightness"]
            np.testing.assert_allclose([beside.low[i], beside.high[i]], np.divide(ends, row["bound"]), rtol=1e-12)
    (diagonal,) = curves(left)
    np.testing.assert_array_equal(diagonal.x, diagonal.y)
    assert diagonal.look == names["measured = proved"]
    ((x, low, high, _),) = bands(left)
    np.testing.assert_array_equal(low, 0.0)
    np.testing.assert_array_equal(high, x)
    assert [y for y, _ in horizontals(right)] == [1.0]
    (shade,) = right.patches
    assert (shade.get_y(), shade.get_height()) == (0.0, 1.0)
    assert (left.get_xlabel(), left.get_ylabel()) == ("proved ceiling", "measured boundary")
    assert left.get_xlim() == left.get_ylim()
    assert right.get_ylabel() == "tightness = measured / proved"
    assert (np.diff(heights(right, np.array([1.0, 1.2]))) > 0).all()
    assert "90 %" in figure.get_suptitle()


@case("tightness")
def test_nothing_measured_is_said(draw):
    figure = draw({"delta": 0.05}, boundaries=boundary_table(Draws()).assign(measured=np.nan))
    assert not figure.axes
    assert "No boundary was measured" in figure.texts[0].get_text()
    assert seen(figure) == figure.texts[0].get_text()


@case("tightness_grid")
def test_tightness_by_geometry(draw):
    draws = Draws(6)
    places = [
        place for place in product((64, 16), (8, 2), (32, 4), (1.0, 0.8, 0.6)) if (place[0], place[3]) != (16, 0.6)
    ]
    table = pd.DataFrame(places, columns=["ambient_dim", "num_clusters", "cluster_size", "within_cos"])
    low, middle, high = lowest_middle_highest(draws, len(table), 0.95, 1.6)
    table = table.assign(tightness=middle, tightness_low=low, tightness_high=high, trials=77)
    # The largest values are at the second dimension: limits made for the first one would cut them off.
    table.loc[table["ambient_dim"] == 64, ["tightness", "tightness_low", "tightness_high"]] += 0.4
    table.loc[3, "tightness_high"] = np.inf
    figure = draw({"delta": 0.1}, tightness=draws.shuffled(table))
    names = legend(figure)
    assert [ax.get_title() for ax in figure.axes] == ["D = 16", "D = 64"]
    for ax, dim in zip(figure.axes, (16, 64)):
        places = ticks(ax, "x")
        assert list(places) == ["K=2\nm=4", "K=2\nm=32", "K=8\nm=4", "K=8\nm=32"]
        cosines = sorted({0.6, 0.8, 1.0} - ({0.6} if dim == 16 else set()))
        assert [found.label for found in bars(ax)] == [f"within cosine {cos:g}" for cos in cosines]
        for found, cos in zip(bars(ax), cosines):
            assert found.look == names[f"within cosine {cos:g}"]
            for i, (x, y) in enumerate(zip(found.x, found.y)):
                (row,) = table[table["tightness"] == y].to_dict("records")
                assert (row["ambient_dim"], row["within_cos"]) == (dim, cos)
                assert abs(x - places[f"K={row['num_clusters']}\nm={row['cluster_size']}"]) < 0.3
                if np.isfinite(row["tightness_high"]):
                    np.testing.assert_allclose(
                        [found.low[i], found.high[i]], [row["tightness_low"], row["tightness_high"]], rtol=1e-12
                    )
            assert len(found.x) == 4
        assert [y for y, _ in horizontals(ax)] == [1.0]
        assert (ax.patches[0].get_y(), ax.patches[0].get_height()) == (0.0, 1.0)
        assert (np.diff(heights(ax, np.array([1.0, 1.2]))) > 0).all()
    assert figure.axes[0].get_ylabel() == "tightness = measured / proved"
    assert "90 % breakdown over the bound, 77 batches" in figure.get_suptitle()
