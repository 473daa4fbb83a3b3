"""What the figures of trained stacks show, against the tables that they are drawn from."""

from itertools import product
from statistics import mean, stdev

import numpy as np
import pandas as pd
import pytest

from figures.catalogue import FIGURES
from figures.trainings import peers
from tests.figures.battery import Draws, case
from tests.figures.reading import (
    Pixels,
    bands,
    curves,
    heights,
    horizontals,
    legend,
    named,
    ticks,
    verticals,
    widths,
)

ARMS = ("TransFusion", "Deep Fusion")


def training_tables(draws):
    """Two arms, three seeds, three noise levels, two batch sizes; Deep Fusion at the larger batch only."""
    rows = [{"arm": arm, "batch_size": size, "noise_level": level, "seed": seed, "diverged": False}
            for arm, size, level, seed in product(ARMS, (24, 96), (1.3, 0.4, 0.8), (2, 0, 1))
            if (arm, size) != ("Deep Fusion", 24)]  # fmt: skip
    rows = draws.shuffled(pd.DataFrame(rows), "arm")
    rows["cell"] = 5 + 3 * np.arange(len(rows))
    for name in ("sharpness", "sharpness_first", "certified", "neighbour_accuracy"):
        rows[name] = draws(len(rows))
    history = [{"cell": cell, "step": step, "layer": layer} for cell in rows["cell"] for step in (0, 40, 90)
               for layer in range(3)]  # fmt: skip
    history = draws.shuffled(pd.DataFrame(history))
    for name in ("sharpness", "certified", "attention", "jsd"):
        history[name] = draws(len(history), 0.02, 0.98)
    ideal = pd.DataFrame(list(product((1.3, 0.4, 0.8), (96, 24))), columns=["noise_level", "batch_size"])
    for name in ("input", "identity", "mapped"):
        ideal[f"{name}_sharpness"] = draws(len(ideal))
    for name, ceilings in (("identity", (0.21, 0.33)), ("mapped", (0.47, 0.59))):
        ideal[f"{name}_ceiling"] = [ceilings[size == 96] for size in ideal["batch_size"]]
    breakdowns = pd.DataFrame([(name, size) for size in (96, 24) for name in (
        "input", "identity", "mapped", "TransFusion", "Deep Fusion", "identity, proved", "mapped, proved")
        if (name, size) != ("Deep Fusion", 24)], columns=["name", "batch_size"])  # fmt: skip
    breakdowns["noise_level"] = draws(len(breakdowns), 0.2, 1.2)
    breakdowns.loc[2, "noise_level"] = np.inf
    return {"trainings": rows, "history": history, "ideal": ideal, "breakdowns": breakdowns}


@case("training_breakdown")
def test_trained_against_ideal(draw):
    tables = training_tables(Draws(1))
    rows, ideal, breakdowns = (tables[name] for name in ("trainings", "ideal", "breakdowns"))
    ideal.loc[ideal["batch_size"] == 24, "mapped_sharpness"] = np.nan
    ideal.loc[ideal["batch_size"] == 24, "mapped_ceiling"] = 0.0
    figure = draw(**tables)
    *panels, last = figure.axes
    names = legend(figure)
    ideals = {"input": "no stack", "identity": "ideal weights: identity", "mapped": "ideal weights: W"}
    ceilings = {"identity": "proved ceiling: identity", "mapped": "proved ceiling: W"}
    assert list(names) == [*(f"trained: {arm}" for arm in ARMS), *ideals.values(), *ceilings.values()]
    assert len(set(names.values())) == len(names)
    for ax, size in zip(panels, (24, 96)):
        base = ideal[ideal["batch_size"] == size].sort_values("noise_level")
        drawn = curves(ax)
        for name, title in ideals.items():
            if base[f"{name}_sharpness"].isna().all():
                continue
            curve = drawn.pop(0)
            assert curve.look == names[title]
            np.testing.assert_array_equal([curve.x, curve.y], base[["noise_level", f"{name}_sharpness"]].T)
        for arm in ARMS:
            own = rows[(rows["batch_size"] == size) & (rows["arm"] == arm)]
            if own.empty:
                continue
            line, single = drawn.pop(0), drawn.pop(0)
            look = names[f"trained: {arm}"]
            assert (line.look.color, line.look.line, line.look.marker) == (look.color, "-", "None")
            assert (single.look.color, single.look.line, single.look.marker) == (look.color, "None", look.marker)
            np.testing.assert_array_equal(line.x, [0.4, 0.8, 1.3])
            means = [mean(own.loc[own["noise_level"] == level, "sharpness"]) for level in (0.4, 0.8, 1.3)]
            np.testing.assert_allclose(line.y, means, rtol=1e-14)
            assert sorted(zip(single.x, single.y)) == sorted(zip(own["noise_level"], own["sharpness"]))
        assert not drawn
        expected = [(base[f"{name}_ceiling"].iloc[0], names[title].color) for name, title in ceilings.items()
                    if base[f"{name}_ceiling"].iloc[0] > 0]  # fmt: skip
        assert [(x, look.color) for x, look in verticals(ax)] == expected
        assert (ax.get_title(), ax.get_xlabel()) == (f"n = {size}", r"noise level $\sigma$")
        assert (np.diff(heights(ax, np.array([0.0, 1.0]))) > 0.9).all()
        assert ax.get_xlim()[0] == 0.0
    titles = {**ideals, **{arm: f"trained: {arm}" for arm in ARMS}}
    titles |= {f"{name}, proved": title for name, title in ceilings.items()}
    by_look = {curve.look: curve for curve in curves(last)}
    assert len(by_look) == len(curves(last)) == len(titles)
    for name, title in titles.items():
        part = breakdowns[(breakdowns["name"] == name) & np.isfinite(breakdowns["noise_level"])].sort_values(
            "batch_size"
        )
        np.testing.assert_array_equal(
            [by_look[names[title]].x, by_look[names[title]].y], part[["batch_size", "noise_level"]].T
        )
    assert ticks(last, "x") == {"24": 24, "96": 96}
    assert (last.get_xlabel(), last.get_title()) == ("batch size n", "noise at which sharpness\nfalls through .95")
    assert panels[0].get_ylabel() == "mean affinity sharpness of the output"


@case("training_breakdown")
def test_a_training_that_diverged_counts_as_0_in_its_curve(draw):
    """The mean of two seeds that reached .9 and one that diverged is .6; a breakdown that is not known is told so."""
    tables = training_tables(Draws(4))
    rows = tables["trainings"]
    rows["sharpness"] = 0.9
    ill = (rows["arm"] == "TransFusion") & (rows["batch_size"] == 96) & (rows["noise_level"] == 0.8)
    rows.loc[rows.index[ill][0], ["sharpness", "diverged"]] = [np.nan, True]
    figure = draw(**tables)
    line, single = curves(figure.axes[1])[3:5]
    np.testing.assert_allclose(line.y, [0.9, 0.6, 0.9])
    assert sorted(single.y) == [0.0, *[0.9] * 8]
    told = f"\ndiverged trainings count as 0: 1 of {len(rows)}"
    assert figure.get_suptitle().endswith(told)
    own = (tables["breakdowns"]["name"] == "TransFusion") & (tables["breakdowns"]["batch_size"] == 96)
    tables["breakdowns"].loc[own, "noise_level"] = np.nan
    figure = draw(**tables)
    assert figure.get_suptitle().endswith(f"{told}; no breakdown is known where one diverged")
    (line,) = (curve for curve in curves(figure.axes[-1]) if curve.look.color == line.look.color)
    assert list(line.x) == [24]


@case("training_blocks")
def test_block_by_block(draw):
    tables = training_tables(Draws(2))
    rows, history = tables["trainings"], tables["history"]
    rows.loc[(rows["batch_size"] == 96) & (rows["noise_level"] == 0.8) & (rows["seed"] == 0), "diverged"] = True
    figure = draw(**tables)
    panels = np.array(figure.axes).reshape(2, 2)
    for (left, right), arm in zip(panels, ARMS):
        own = rows[(rows["arm"] == arm) & (rows["batch_size"] == 96) & ~rows["diverged"]]
        assert len(curves(left)) == len(own) == 8
        colors = {}
        for curve in curves(left):
            found = []
            for row in own.to_dict("records"):
                end = history[(history["cell"] == row["cell"]) & (history["step"] == 90)].sort_values("layer")
                if np.array_equal(curve.y, 1.0 - end["sharpness"]):
                    np.testing.assert_array_equal(curve.x, [0, 1, 2])
                    found.append(row["noise_level"])
            (level,) = found
            colors.setdefault(level, set()).add((curve.look.color, curve.look.marker))
        assert len(colors) == len(set.union(*colors.values())) == 3, "a look for each noise level"
        # The number at a curve's end is that of its noise level and in its color.
        ends = {(curve.x[-1], curve.y[-1]): curve.look.color for curve in curves(left)}
        notes = [text for text in left.texts if getattr(text, "xy", None) in ends]
        assert [text.get_text() for text in notes] == ["0.4", "0.8", "1.3"]
        for text in notes:
            assert text.get_color() in ("C0", "C1", "C2")
            assert ends[text.xy] in {color for color, _ in colors[float(text.get_text())]}
        assert left.get_yscale() == "log"
        assert (np.diff(heights(left, np.array([0.9, 0.5, 0.1]))) > 0).all(), "up is sharper"
        assert left.get_ylabel() == f"{arm}\nleak = 1 - sharpness (up: sharper)"
        assert left.get_title() == r"after training, 8 of 9 trainings, 1 diverged (numbers: noise $\sigma$)"
        shown = own[own["noise_level"] == 0.8].iloc[0]
        assert right.get_title() == rf"through training, $\sigma$ = 0.8, seed {shown['seed']}"
        names = legend(right)
        assert list(names) == ["block 0", "block 1", "block 2", "certified (Thm 4)"]
        assert len(curves(right)) == 6
        for layer in range(3):
            part = history[(history["cell"] == shown["cell"]) & (history["layer"] == layer)].sort_values("step")
            curve, certified = named(right)[f"block {layer}"], curves(right)[2 * layer + 1]
            assert curve.look == names[f"block {layer}"]
            assert certified.look.line == names["certified (Thm 4)"].line != curve.look.line
            assert certified.look.color == curve.look.color
            np.testing.assert_array_equal([curve.x, curve.y], part[["step", "sharpness"]].T)
            np.testing.assert_array_equal([certified.x, certified.y], part[["step", "certified"]].T)
        assert len({curve.look.color for curve in curves(right)}) == 3
        assert right.get_ylabel() == "mean affinity sharpness"
        assert (right.get_yscale(), right.get_ylim()[0]) == ("linear", 0.0)
    assert [ax.get_xlabel() for ax in panels[1]] == ["block (the last one is the output)", "optimizer step"]


@case("training_blocks")
def test_an_arm_that_diverged_altogether_says_so(draw):
    tables = training_tables(Draws(3))
    tables["trainings"]["diverged"] = tables["trainings"]["arm"] == "Deep Fusion"
    panels = np.array(draw(**tables).axes).reshape(2, 2)
    assert all(curves(ax) for ax in panels[0])
    assert not any(curves(ax) for ax in panels[1])
    assert [ax.texts[0].get_text() for ax in panels[1]] == ["every training diverged"] * 2


def ablation_rows(draws, varied, values):
    rows = [
        {"arm": f"arm {arm}", varied: value, "seed": seed} for arm in (3, 1, 2) for value in values for seed in range(3)
    ]
    rows = draws.shuffled(pd.DataFrame(rows), "arm").assign(noise_level=0.7, batch_size=96)
    for name in ("sharpness", "neighbour_accuracy", "certified", "sharpness_first"):
        rows[name] = draws(len(rows), 0.3, 0.7)
    # A training that diverged counts as 0.
    rows.loc[4, ["sharpness", "neighbour_accuracy"]] = np.nan
    return rows


@case("ablation")
@pytest.mark.parametrize(("ablation", "varied", "label"), [("loss", "learning_rate", "learning rate"),
                                                            ("learning_rate", "learning_rate", "learning rate"),
                                                            ("depth", "depth", "mixing blocks")])  # fmt: skip
def test_ablations_over_a_number(draw, ablation, varied, label):
    rows = ablation_rows(Draws(4), varied, (3, 1, 8) if varied == "depth" else (0.003, 0.1, 0.02))
    figure = draw({"ablation": ablation, "optimisation": {"steps": 640}}, trainings=rows)
    names = legend(figure)
    assert list(names) == ["arm 3", "arm 1", "arm 2"]
    assert len(set(names.values())) == 3
    for ax, column in zip(figure.axes, ("sharpness", "neighbour_accuracy")):
        assert list(named(ax)) == list(names)
        for arm, band in zip(names, bands(ax)):
            curve = named(ax)[arm]
            assert curve.look == names[arm]
            assert band[3] == curve.look.color
            values = [
                rows.loc[(rows["arm"] == arm) & (rows[varied] == x), column].fillna(0.0)
                for x in sorted(set(rows[varied]))
            ]
            np.testing.assert_array_equal(curve.x, sorted(set(rows[varied])))
            np.testing.assert_array_equal(band[0], curve.x)
            np.testing.assert_allclose(curve.y, [mean(each) for each in values])
            np.testing.assert_allclose(band[1], [mean(each) - stdev(each) for each in values], atol=1e-15)
            np.testing.assert_allclose(band[2], [mean(each) + stdev(each) for each in values], atol=1e-15)
        assert ax.get_xscale() == ("linear" if varied == "depth" else "log")
        assert ax.get_xlabel() == label
        assert ax.get_ylim()[0] == 0.0
    assert [ax.get_ylabel() for ax in figure.axes] == [
        "mean affinity sharpness",
        "nearest neighbour of the own cluster",
    ]
    assert figure.get_suptitle().startswith(f"Ablation: {ablation.replace('_', ' ')} (")
    assert "= 0.7, n = 96, 640 steps, 3 seeds" in figure.get_suptitle()
    assert figure.get_suptitle().endswith(f"\ndiverged trainings count as 0: 1 of {len(rows)}")


@case("ablation")
def test_ablations_side_by_side(draw):
    rows = ablation_rows(Draws(5), "depth", (3,))
    figure = draw({"ablation": "attention", "optimisation": {"steps": 640}}, trainings=rows)
    places = ticks(figure.axes[0], "y")
    assert list(places) == ["arm 3", "arm 1", "arm 2"]
    for ax, column in zip(figure.axes, ("sharpness", "neighbour_accuracy")):
        assert len(curves(ax)) == len(ax.patches) == 3
        for bar, single, (arm, place) in zip(ax.patches, curves(ax), places.items()):
            values = rows.loc[rows["arm"] == arm, column].fillna(0.0)
            assert bar.get_y() + bar.get_height() / 2 == pytest.approx(place)
            assert (bar.get_x(), bar.get_width()) == (0.0, pytest.approx(mean(values)))
            assert (single.y == place).all()
            assert sorted(single.x) == sorted(values)
            assert single.look.line == "None"
        assert (np.diff(heights(ax, np.array(list(places.values())))) < 0).all(), "the first arm is at the top"
        assert (np.diff(widths(ax, np.array([0.0, 1.0]))) > 0.9).all()
    assert [ax.get_xlabel() for ax in figure.axes] == [
        "mean affinity sharpness",
        "nearest neighbour of the own cluster",
    ]
    assert "Ablation: attention" in figure.get_suptitle()


@case("ablation")
def test_a_run_without_ablation_has_no_such_figure(draw):
    assert draw({"ablation": "none"}, trainings=ablation_rows(Draws(), "depth", (3,))) is None


def map_table(draws, cell):
    """Two blocks, before and after, of five rows in clusters of 3 and 2; every entry is different."""
    rows = [{"cell": cell, "stage": stage, "layer": layer, "row": row, "class": (0, 0, 0, 1, 1)[row],
             **{f"c{i}": value for i, value in enumerate(draws(5, 0.0, 0.7))}}
            for stage, layer, row in product(("after", "before"), (1, 0), range(5))]  # fmt: skip
    return draws.shuffled(pd.DataFrame(rows))


def check_maps(figure, table):
    """Every cell of every matrix is seen at its place, in the color that the bar gives to affinity / ideal."""
    *panels, bar = figure.axes
    pixels = Pixels(figure)
    for line, stage in zip(np.array(panels).reshape(2, 2), ("before", "after")):
        for ax, layer in zip(line, (0, 1)):
            own = table[(table["stage"] == stage) & (table["layer"] == layer)].set_index("row")
            for row, column in product(range(5), range(5)):
                ideal = 1.0 / (2 if row < 3 else 1)
                # Row 0 is seen at the top, column 0 at the left.
                color = pixels.at_fraction(ax, (column + 0.5) / 5, 1.0 - (row + 0.5) / 5)
                assert pixels.value(bar, color) == pytest.approx(own.loc[row, f"c{column}"] / ideal, abs=0.02)
            assert [(x, "v") for x, _ in verticals(ax)] + [(y, "h") for y, _ in horizontals(ax)] == [
                (2.5, "v"),
                (2.5, "h"),
            ]
    assert [ax.get_title() for ax in panels] == ["block 0", "output", "", ""]
    assert [ax.get_ylabel() for ax in panels] == ["before training", "", "after training", ""]
    assert bar.get_ylabel() == "affinity / ideal"


@case("affinity_maps_transfusion")
def test_affinity_before_and_after(draw):
    table = map_table(Draws(6), 11)
    trainings = pd.DataFrame(
        {"cell": [3, 11], "arm": ["other", "TransFusion"], "noise_level": [0.2, 0.7], "batch_size": [4, 5]}
    )
    figure = draw(trainings=trainings, maps_transfusion=table)
    check_maps(figure, table)
    assert figure.get_suptitle().startswith("TransFusion: affinity of one fresh batch")
    assert "= 0.7, n = 5" in figure.get_suptitle()


@case("affinity_maps_transfusion")
def test_a_training_that_diverged_has_no_affinity_afterwards(draw):
    table = map_table(Draws(6), 11)
    trainings = pd.DataFrame({"cell": [11], "arm": ["TransFusion"], "noise_level": [0.7], "batch_size": [5]})
    *panels, _ = draw(trainings=trainings, maps_transfusion=table[table["stage"] == "before"]).axes
    assert [len(ax.images) for ax in panels] == [1, 1, 0, 0]
    assert [ax.texts[0].get_text() for ax in panels[2:]] == ["diverged"] * 2
    assert [ax.get_ylabel() for ax in panels] == ["before training", "", "after training", ""]


@case("affinity_maps_deepfusion")
def test_affinity_of_deep_fusion(draw):
    table = map_table(Draws(7), 3)
    trainings = pd.DataFrame({"cell": [3], "arm": ["Deep Fusion"], "noise_level": [0.2], "batch_size": [5]})
    figure = draw(trainings=trainings, maps_deepfusion=table, maps_transfusion=map_table(Draws(8), 3))
    check_maps(figure, table)


@case("head_costs")
def test_costs_of_heads(draw):
    draws = Draws(9)
    table = pd.DataFrame([(head, size) for head in ("mlp", "none", "deepfusion") for size in (256, 64, 128)],
                         columns=["head", "batch_size"])  # fmt: skip
    table = table.assign(milliseconds=draws(9, 1.0, 90.0), low=draws(9), parameters=np.repeat([24768, 0, 162368], 3))
    figure = draw(costs=draws.shuffled(table, "head"))
    (ax,) = figure.axes
    names = legend(figure)
    assert list(names) == list(named(ax)) == ["mlp (24,768)", "none (0)", "deepfusion (162,368)"]
    for label, curve in named(ax).items():
        part = table[table["head"] == label.split()[0]].sort_values("batch_size")
        assert curve.look == names[label]
        np.testing.assert_array_equal([curve.x, curve.y], part[["batch_size", "milliseconds"]].T)
    assert ticks(ax, "x") == {"64": 64, "128": 128, "256": 256}
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("batch size n", "milliseconds a step")
    assert (np.diff(heights(ax, np.array([1.0, 90.0]))) > 0).all()


def test_the_figure_of_peers_is_in_the_catalogue():
    assert FIGURES["peers"] == (("peer_losses",), peers.draw)


@case("peers")
def test_losses_against_peers(draw):
    draws = Draws(10)
    table = pd.DataFrame([(loss, peer, n) for loss, peer in (("nt_xent", "plain torch"), ("nt_xent", "library"),
                                                             ("affinity", "plain torch")) for n in (1024, 256)],
                         columns=["loss", "peer", "n"])  # fmt: skip
    table = table.assign(status="timed", ratio=draws(6, 1.0, 5.0), memory_ratio=draws(6, 1.0, 9.0))
    table = table.assign(ratio_min=table["ratio"] - 0.2, ratio_max=table["ratio"] + 0.3)
    skipped = table.iloc[:1].assign(n=4096, status="skipped", ratio=np.nan, memory_ratio=np.nan)
    figure = draw(peer_losses=pd.concat([table, skipped], ignore_index=True))
    for ax, column, label in zip(figure.axes, ("ratio", "memory_ratio"), ("times as fast", "times less memory")):
        drawn = named(ax)
        assert set(drawn) == {f"{row.loss} against {row.peer}" for row in table.itertuples()} == set(legend(figure))
        for (loss, peer), part in table.groupby(["loss", "peer"]):
            part = part.sort_values("n")
            curve = drawn[f"{loss} against {peer}"]
            np.testing.assert_array_equal([curve.x, curve.y], part[["n", column]].T)
        assert ticks(ax, "x") == {"256": 256, "1024": 1024}
        assert (ax.get_xlabel(), ax.get_ylabel()) == ("rows n", label)
        assert [height for height, _ in horizontals(ax)] == [1.0]
    assert draw(peer_losses=skipped) is None
