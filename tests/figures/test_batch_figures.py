"""What the figures of the batch sweep and the phase diagram show, against the tables that they are drawn from."""

from itertools import product

import numpy as np
import pandas as pd
import pytest

from tests.figures.battery import Draws, case, lowest_middle_highest
from tests.figures.reading import (
    Pixels,
    bands,
    boxes,
    curves,
    dots,
    heights,
    horizontals,
    legend,
    named,
    verticals,
    widths,
)

FLOORS = ("isolated", "simulated", "proved", "one_step")


def batch_tables(draws, settings=((60.0, 0.0), (60.0, 0.25), (45.0, 0.25)), missing=((2, 60.0, 0.25),)):
    """Curves of recovery over cluster size and one row of floors each; at some settings a dimension is missing."""
    rows, floors, group = [], [], 10
    for dim, (angle, share), kind in product((3, 2), settings, ("squared", "signed")):
        if (dim, angle, share) in missing:
            continue
        group += 3
        base = {"group": group, "subspace_dim": dim, "principal_angle_deg": angle, "affinity": kind,
                "noise_level": share * angle / 90.0}  # fmt: skip
        floors.append({**base, **dict(zip(FLOORS, draws(4, 5.0, 60.0))), "measured": draws(1, 5.0, 60.0)[0]})
        low, rate, high = lowest_middle_highest(draws, 5)
        for i, size in enumerate(draws.rng.choice(np.arange(4, 70), 5, replace=False)):
            rows.append({**base, "noise_share": share, "cluster_size": size, "recovered_low": low[i],
                         "recovered_rate": rate[i], "recovered_high": high[i],
                         "exact_rate": draws(1)[0] if dim == 2 and share == 0 else np.nan})  # fmt: skip
    rows = draws.shuffled(pd.DataFrame(rows), "principal_angle_deg", "noise_share")
    return rows.assign(trials=91, num_clusters=3), draws.shuffled(pd.DataFrame(floors))


@case("recovery_against_batch_size")
def test_recovery_curves_and_floors(draw):
    rows, floors = batch_tables(Draws(1))
    settings = list(dict.fromkeys(zip(rows["principal_angle_deg"], rows["noise_share"])))
    figure = draw({"delta": 0.1}, rows=rows, floors=floors)
    panels = np.array(figure.axes).reshape(2, 3)
    names = legend(figure)
    kinds = {kind: names[f"{kind} affinity, measured"].color for kind in ("signed", "squared")}
    styles = {"isolated": names["isolated points alone (heuristic)"].line, "simulated": names["simulated floor"].line,
              "proved": names["proved floor: guaranteed from here on"].line}  # fmt: skip
    assert len(set(kinds.values())) == 2
    assert len(set(styles.values())) == 3
    for column, (angle, share) in zip(panels.T, settings):
        for ax, dim in zip(column, (2, 3)):
            own = rows[
                (rows["subspace_dim"] == dim) & (rows["principal_angle_deg"] == angle) & (rows["noise_share"] == share)
            ]
            if own.empty:
                assert not ax.axison
                assert (dim, angle, share) == (2, 60.0, 0.25)
                continue
            measured = [curve for curve in curves(ax) if curve.look.marker == "o"]
            exact = [curve for curve in curves(ax) if curve.look.color == "#000000"]
            assert len(measured) == len(bands(ax)) == len(exact) == 2
            assert exact[0].look.line == names["exact rate (r = 2, no noise)"].line
            expected = set()
            for kind, curve, known, band in zip(("signed", "squared"), measured, exact, bands(ax)):
                part = own[own["affinity"] == kind].sort_values("cluster_size")
                assert curve.look.color == band[3] == kinds[kind]
                np.testing.assert_array_equal(curve.x, part["cluster_size"])
                np.testing.assert_array_equal(curve.y, part["recovered_rate"])
                np.testing.assert_array_equal(known.y, part["exact_rate"])
                np.testing.assert_array_equal(band[:3], part[["cluster_size", "recovered_low", "recovered_high"]].T)
                (floor,) = floors[floors["group"] == part["group"].iloc[0]].to_dict("records")
                expected |= {(floor[name], kinds[kind], style) for name, style in styles.items()}
            assert {(x, look.color, look.line) for x, look in verticals(ax)} == expected
            assert [y for y, _ in horizontals(ax)] == [pytest.approx(0.9)]
            assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
            assert (np.diff(heights(ax, np.array([0.0, 0.5, 1.0]))) > 0.4).all()
            assert (np.diff(widths(ax, np.array([5.0, 20.0, 60.0]))) > 0).all()
        drawn = [ax for ax in column if ax.axison]
        noise = "no noise" if share == 0 else f"noise {share * angle / 90.0:.2f}"
        assert [ax.get_title() for ax in drawn] == [f"{angle:g}° apart, {noise}", ""][: len(drawn)]
        assert drawn[-1].get_xlabel() == "points a cluster"
    assert [line[0].get_ylabel() for line in panels] == ["recovery, r = 2 (exact floor)", "recovery, r = 3"]
    assert "recover 3 clusters" in figure.get_suptitle()
    assert "91 batches a point, 95 % bands, dotted line 90 %" in figure.get_suptitle()


@case("recovery_against_batch_size")
def test_only_what_is_drawn_is_in_the_legend(draw):
    rows, floors = batch_tables(Draws(2), settings=((60.0, 0.0),), missing=())
    figure = draw({"delta": 0.1}, rows=rows[rows["affinity"] == "squared"], floors=floors)
    assert [name for name in legend(figure) if "measured" in name] == ["squared affinity, measured"]


@case("floors")
@pytest.mark.parametrize("clean", [True, False])
def test_floors_over_the_measured_one(draw, clean):
    _, floors = batch_tables(Draws(3))
    floors.loc[2, "measured"] = np.nan
    if not clean:
        floors["noise_level"] += 0.01
    figure = draw(floors=floors)
    left, right = figure.axes
    kept = floors[floors["measured"].notna()]
    shown = kept[kept["noise_level"] == 0] if clean else kept
    assert left.get_title() == ("Noise-free groups" if clean else "All groups")
    places = [(text.get_text(), place) for text, place in zip(left.get_xticklabels(), left.get_xticks())]
    assert [name for name, _ in places] == [
        f"r={row.subspace_dim}, {row.principal_angle_deg:g}°\n{row.affinity}" for row in shown.itertuples()
    ]
    columns = {"one-step descent (proved)": "one_step", "two-step descent; exact for r = 2 (proved)": "proved",
               "simulated": "simulated", "isolated points (heuristic)": "isolated"}  # fmt: skip
    assert list(named(left)) == list(legend(left)) == list(columns)
    for label, column in columns.items():
        curve = named(left)[label]
        assert curve.look == legend(left)[label]
        np.testing.assert_array_equal(curve.x, [place for _, place in places])
        np.testing.assert_allclose(curve.y, [row[column] / row["measured"] for row in shown.to_dict("records")])
    assert [y for y, _ in horizontals(left)] == [1]
    for name in ("proved", "measured"):
        found = set()
        for one, other in product(kept.to_dict("records"), repeat=2):
            same = all(one[key] == other[key] for key in ("subspace_dim", "principal_angle_deg", "noise_level"))
            if same and (one["affinity"], other["affinity"]) == ("signed", "squared"):
                found.add((one[name], other[name] / one[name]))
        curve = named(right)[name]
        assert curve.look == legend(right)[name]
        assert {(x, y) for x, y in zip(curve.x, curve.y)} == found
        assert len(found) > 2
    assert [y for y, _ in horizontals(right)] == [0.5]
    assert right.get_xscale() == "log"
    assert right.get_ylim()[0] == 0.0
    assert (left.get_ylabel(), right.get_ylabel()) == ("floor / measured floor", "squared / signed")
    assert left.get_ylim()[0] == 0.0


@case("floors")
@pytest.mark.parametrize("measured", [True, False])
def test_floors_of_one_affinity_are_compared_with_no_other(draw, measured):
    """Sweeps of one affinity have no savings, and where recovery never turned there is nothing to divide by."""
    _, floors = batch_tables(Draws(4))
    floors = floors[floors["affinity"] == "signed"].assign(**({} if measured else {"measured": np.nan}))
    figure = draw(floors=floors)
    assert (figure is not None) == measured
    if measured:
        (ax,) = figure.axes
        assert named(ax)["simulated"].x.tolist() == list(range(len(floors[floors["noise_level"] == 0])))


@case("denoising")
def test_noise_left_in_fused_points(draw):
    draws = Draws(5)
    table = pd.DataFrame(
        [(dim, size) for dim in (64, 16) for size in (32, 4, 8)], columns=["ambient_dim", "cluster_size"]
    )
    table = table.assign(
        noise_level=0.37, depth=5, bound=draws(6, 0.1, 0.3), measured=draws(6, 0.05, 0.2), limit=draws(6, 0.02, 0.1)
    )
    figure = draw(denoising=draws.shuffled(table))
    names = legend(figure)
    assert len(set(names.values())) == 4
    for ax, dim in zip(figure.axes, (16, 64)):
        part = table[table["ambient_dim"] == dim].sort_values("cluster_size")
        expected = {"proved bound on every point": part["bound"],
                    "measured, worst point (mean over batches)": part["measured"],
                    r"$\sigma/\sqrt{m}$": [0.37 / size**0.5 for size in (4, 8, 32)],
                    r"limit of the bound, $\sigma/\sqrt{\kappa D}$": part["limit"]}  # fmt: skip
        assert list(named(ax)) == list(expected) == list(names)
        for label, values in expected.items():
            assert named(ax)[label].look == names[label]
            np.testing.assert_array_equal(named(ax)[label].x, [4, 8, 32])
            np.testing.assert_allclose(named(ax)[label].y, values, rtol=1e-15)
        assert (ax.get_xscale(), ax.get_yscale(), ax.get_title()) == ("log", "log", f"D = {dim}")
        assert ax.get_xlabel() == "points a cluster m"
        assert (np.diff(heights(ax, np.array([0.05, 0.1, 0.2]))) > 0).all()
    assert figure.axes[0].get_ylabel() == "noise left in a fused point"
    assert "σ = 0.37, 5 blocks" in figure.get_suptitle()


def phase_tables(draws):
    """Two panels of 3 x 4 squares, all rates distinct; the dots lie on the squares' corners."""
    squares, outline, rows = [], [], []
    for panel, (noise, top) in enumerate((("gaussian", 1.3), ("bounded", 0.5))):
        xs, ys = top * np.array([0.0, 0.2, 0.55, 1.0]), np.array([3.0, 7.0, 20.0, 50.0, 130.0])
        rates = draws.rng.permutation(np.linspace(0.03, 0.97, 12)).reshape(3, 4)
        for i, j in product(range(3), range(4)):
            squares.append({"panel": panel, "noise_from": xs[i], "noise_to": xs[i + 1], "size_from": ys[j],
                            "size_to": ys[j + 1], "recovered_rate": rates[i, j]})  # fmt: skip
        # The floor rises with noise past the top of the panel, and is not known further right.
        # In the first panel one theorem alone has a higher floor, in the second it is the floor.
        alone = (12.0, 90.0, np.nan, np.nan) if panel == 0 else (11.0, 17.0, 200.0, np.nan)
        outline += [
            {"panel": panel, "noise_level": x, "proved_floor": y, "lens_floor": z}
            for x, y, z in zip(top * np.array([0.0, 0.1, 0.3, 0.6]), (11.0, 17.0, 200.0, np.nan), alone)
        ]
        # Recovery falls with noise only, along x = .7 top on the contour.
        rows += [{"panel": panel, "noise": noise, "noise_level": x, "cluster_size": y,
                  "recovered_rate": 0.9 + 0.1 * (0.7 - x / top)} for x in xs for y in ys]  # fmt: skip
    rows = pd.DataFrame(rows).assign(num_clusters=3, subspace_dim=4, affinity="squared", trials=41)
    return draws.shuffled(rows, "panel"), draws.shuffled(pd.DataFrame(squares)), pd.DataFrame(outline)


# The floor rises past the top of the panel.
@case("phase_diagram", leaves=True)
def test_recovery_over_noise_and_size(draw):
    rows, squares, outline = phase_tables(Draws(6))
    figure = draw(rows=rows, squares=squares, outline=outline)
    *panels, bar = figure.axes
    names, pixels = legend(figure), Pixels(figure)
    for panel, ax in enumerate(panels):
        own = squares[squares["panel"] == panel]
        top = own["noise_to"].max()
        for square in own.to_dict("records"):
            # Beside the middle, where neither dots nor lines are; hatching is thin and above the floor only.
            x = square["noise_from"] + 0.62 * (square["noise_to"] - square["noise_from"])
            y = square["size_from"] + 0.4 * (square["size_to"] - square["size_from"])
            if square["noise_from"] >= 0.2 * top:
                assert pixels.value(bar, pixels.at(ax, x, y)) == pytest.approx(square["recovered_rate"], abs=0.02)
        heat = ax.collections[0]
        order = np.lexsort(boxes(heat)[:, [2, 0]].T)
        expected = own.sort_values(["noise_from", "size_from"])
        np.testing.assert_array_equal(
            boxes(heat)[order], expected[["noise_from", "noise_to", "size_from", "size_to"]].to_numpy()
        )
        np.testing.assert_array_equal(heat.get_array()[order], expected["recovered_rate"])
        known = outline[(outline["panel"] == panel) & outline["proved_floor"].notna()]
        floor, *alone = curves(ax)
        assert len(alone) == (panel == 0)
        for curve in alone:
            assert curve.look == names["by Theorem 2c alone"]
            own = outline[(outline["panel"] == panel) & outline["lens_floor"].notna()]
            np.testing.assert_array_equal([curve.x, curve.y], own[["noise_level", "lens_floor"]].T)
        assert floor.look == names["proved floor: recovery is guaranteed above it"]
        np.testing.assert_array_equal([floor.x, floor.y], known[["noise_level", "proved_floor"]].T)
        ((x, low, high, _),) = bands(ax)
        np.testing.assert_array_equal(x, known["noise_level"])
        np.testing.assert_array_equal(low, [min(value, 130.0) for value in known["proved_floor"]])
        np.testing.assert_array_equal(high, 130.0)
        (places,) = dots(ax)
        measured = rows[rows["panel"] == panel]
        assert {tuple(place) for place in places} == set(zip(measured["noise_level"], measured["cluster_size"]))
        (contour,) = [each for each in ax.collections if "ContourSet" in type(each).__name__]
        np.testing.assert_allclose(np.concatenate([path.vertices for path in contour.get_paths()])[:, 0], 0.7 * top)
        assert contour.levels == [0.9]
        assert (ax.get_xscale(), ax.get_yscale()) == ("linear", "log")
        assert (ax.get_xlim(), ax.get_ylim()) == ((0.0, top), (3.0, 130.0))
    assert [ax.get_xlabel() for ax in panels] == [
        r"noise level $\sigma$",
        r"noise level $\epsilon$ (uniform in the ball)",
    ]
    assert (panels[0].get_ylabel(), bar.get_ylabel()) == ("points a cluster", "measured recovery rate")
    assert names["measured: 90% of the batches recovered"].line == "--"
    title = figure.get_suptitle()
    assert "3 clusters that fill 4-dimensional subspaces" in title
    assert "squared affinity, 41 batches a point" in title
