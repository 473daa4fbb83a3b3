"""Parts of figures, each drawn by itself: what is left out, what is scaled, and which rows are chosen."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from figures import looks, ticks
from figures.claims import style
from figures.run_folder import RunFolder
from figures.sweeps import batch_floor, layers, over_fusion, phase, sharpening, tightness
from figures.trainings import ablations, affinity_maps, diverged, head_costs, images, training


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def folder(config=None, **tables):
    return RunFolder(Path("run"), config or {}, tables)


@pytest.mark.parametrize(("high", "plain"), [(90.0, True), (2e3, False)])
def test_few_decades_have_plain_numbers(ax, high, plain):
    ax.set_xscale("log")
    ax.set_xlim(10.0, high)
    ticks.plain_numbers_if_few(ax.xaxis)
    assert (ax.xaxis.get_major_formatter()(50.0) == "50") == plain
    assert (50.0 in ax.xaxis.get_major_locator()()) == plain


@pytest.mark.parametrize(("delta", "told"), [(0.05, "95 %"), (0.001, "99.9 %"), (1e-6, "99.9999 %"), (0.5, "50 %")])
def test_a_success_rate_is_told_with_all_its_digits(delta, told):
    assert ticks.success_rate(delta) == told
    row = {"bound": 0.5, "measured": 0.6, "measured_low": 0.55, "measured_high": 0.65, "tightness": 1.2}
    table = pd.DataFrame([{**row, "ambient_dim": 8, "batch_size": 4, "ceiling": "separation"}])
    figure = tightness.draw(folder({"delta": delta}, boundaries=table))
    assert f"falls to {told}," in figure.get_suptitle()


def test_curves_beyond_the_seventh_have_looks_of_their_own(ax):
    assert len({tuple(looks.color_and_marker(i).items()) for i in range(49)}) == 49
    table = pd.DataFrame({"curve": [f"{i}" for i in range(28)]})
    assert len({tuple(look.items()) for look in style.looks_of(table).values()}) == 28
    part = pd.DataFrame({"layer": [0, 1], "sharpness_mean": 0.5, "sharpness_low": 0.4, "sharpness_high": 0.6,
                         "predicted": 0.5, "cap": np.nan})  # fmt: skip
    for i in range(9):
        curve = pd.Series({"name": f"{i}", "peak_predicted": 0})
        over_fusion.draw_curve(ax, curve, part, over_fusion._look(i))
    drawn = [(line.get_color(), line.get_marker()) for line in ax.lines[::2]]
    assert len({(to_hex(color), marker) for color, marker in drawn}) == len(drawn) == 9


def leaks(ax, sharpness):
    """draw_final of one training a row of sharpness by layer."""
    rows = pd.DataFrame({"cell": range(len(sharpness)), "noise_level": np.arange(len(sharpness)) + 1.0})
    found = [(cell, layer, value) for cell, values in enumerate(sharpness) for layer, value in enumerate(values)]
    history = pd.DataFrame(found, columns=["cell", "layer", "sharpness"]).assign(step=5)
    training.draw_final(ax, rows, history, rows["noise_level"].to_numpy())
    return ax


def test_no_leak_at_all_is_seen_on_a_logarithmic_axis(ax):
    lines = leaks(ax, [[0.5, 0.9, 1.0], [0.6, 1.0 + 2e-16, 0.98]]).lines
    np.testing.assert_allclose([line.get_ydata() for line in lines[:2]], [[0.5, 0.1, 0.01], [0.4, 0.01, 0.02]])
    (none,) = lines[2:]
    assert (none.get_label(), none.get_marker(), none.get_linestyle()) == ("no leak at all", "^", "None")
    assert sorted(none.get_xdata()) == [1, 2]
    np.testing.assert_allclose(none.get_ydata(), 0.01)
    low, high = sorted(ax.get_ylim())
    assert low < 0.01 < 0.5 < high
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["no leak at all"]


def test_where_there_is_a_leak_nothing_is_marked(ax):
    assert len(leaks(ax, [[0.5, 0.9, 0.99]]).lines) == 1
    assert ax.get_legend() is None


def test_trainings_without_any_leak_are_drawn(ax):
    assert len(leaks(ax, [[1.0, 1.0]]).lines) == 2


def test_trainings_that_diverged_are_0_and_are_counted():
    rows = pd.DataFrame({"sharpness": [0.5, np.nan, 0.7], "accuracy": [np.nan, 0.1, 0.2], "other": [np.nan, 1.0, 2.0]})
    filled = diverged.as_zero(rows, "sharpness", "accuracy")
    assert filled["sharpness"].tolist() == [0.5, 0.0, 0.7]
    assert filled["accuracy"].tolist() == [0.0, 0.1, 0.2]
    assert filled["other"].isna().tolist() == [True, False, False]
    assert diverged.counted_words(rows, "sharpness") == "diverged trainings count as 0: 1 of 3"
    assert diverged.counted_words(filled, "sharpness") == ""


def test_the_cells_that_layers_are_shown_of():
    """Noise-free, the last under each ceiling, and where recovery begins to fail and has failed; each once."""
    group = pd.DataFrame({
        "cell": range(7), "mapped": [True] + [False] * 6, "noise_level": [0.0, 0.6, 0.1, 0.3, 0.2, 0.5, 0.4],
        "recovered_rate": [1.0, 0.01, 1.0, 0.8, 1.0, 0.02, 0.5],
        "persistence_guaranteed": [False, False, True, False, False, False, False],
        "separation_guaranteed": [False, False, True, False, True, False, False],
    })  # fmt: skip
    assert layers.select_cells(group)["cell"].tolist() == [0, 2, 4, 3, 5]


def test_entries_of_an_affinity_are_over_the_ideal_one(ax):
    labels = [0, 0, 1, 1, 1]
    ideal = [[(labels[i] == labels[j] and i != j) / (labels.count(labels[i]) - 1) for j in range(5)] for i in range(5)]
    rows = pd.DataFrame([{"class": labels[i], **{f"c{j}": ideal[i][j] for j in range(5)}} for i in range(5)])
    shown = affinity_maps.draw_map(ax, rows).get_array()
    assert np.array_equal(shown, np.array(ideal) > 0)
    assert [line.get_ydata()[0] for line in ax.lines[::2]] == [1.5]


def test_a_bar_is_the_mean_over_seeds():
    rows = pd.DataFrame({"arm": ["a", "a", "b"], "sharpness": [0.2, 0.6, 0.9], "neighbour_accuracy": [0.1, 0.3, 1.0],
                         "seed": [0, 1, 0], "noise_level": 1.0, "batch_size": 8})  # fmt: skip
    figure = ablations.draw_bars(rows, folder({"ablation": "heads", "optimisation": {"steps": 3}}))
    assert [bar.get_width() for bar in figure.axes[0].patches] == pytest.approx([0.4, 0.9])
    assert [bar.get_width() for bar in figure.axes[1].patches] == pytest.approx([0.2, 1.0])
    plt.close(figure)


def test_only_the_floors_of_the_curves_are_drawn(ax):
    rows = pd.DataFrame({"affinity": "signed", "cluster_size": [10, 20], "recovered_rate": [0.1, 0.9],
                         "exact_rate": np.nan, "recovered_low": [0.0, 0.8], "recovered_high": [0.2, 1.0]})  # fmt: skip
    floors = pd.DataFrame(
        {"affinity": ["signed", "squared"], "isolated": [11, 31], "simulated": [12, 32], "proved": [13, 33]}
    )
    batch_floor.draw_panel(ax, rows, floors, 0.05)
    upright = [line.get_xdata()[0] for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert upright == [11, 12, 13]


def test_costs_have_their_batch_sizes_as_ticks():
    costs = pd.DataFrame({"head": ["mlp", "mlp", "none"], "batch_size": [256, 64, 64], "milliseconds": [4.0, 1.0, 0.5],
                          "parameters": [1234, 1234, 0]})  # fmt: skip
    figure = head_costs.draw(folder(costs=costs))
    (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_xticklabels()] == ["64", "256"]
    assert ax.lines[0].get_ydata().tolist() == [1.0, 4.0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mlp (1,234)", "none (0)"]
    plt.close(figure)


def test_angles_are_in_degrees_and_an_overlap_is_said(ax):
    epochs = pd.DataFrame({"epoch": [1, 2], "phi_q05": 0.1, "phi_q50": np.pi / 6, "phi_q95": 0.9, "ceiling": 0.0})
    images.draw_angles(ax, epochs)
    assert ax.lines[0].get_ydata().tolist() == pytest.approx([30.0, 30.0])
    assert ax.lines[1].get_label() == "2b does not apply:\nclasses overlap"


def test_every_level_of_chance_has_one_line(ax):
    over_fusion.draw_chance(ax, pd.DataFrame({"chance": [0.2, 0.1, 0.2]}))
    assert [line.get_ydata()[0] for line in ax.lines] == [0.2, 0.1]


@pytest.mark.parametrize("floor", [np.nan, 30.0])
def test_without_a_proved_floor_nothing_is_outlined(ax, floor):
    places = pd.DataFrame({"panel": 0, "noise_level": [0.1, 0.1, 0.3, 0.3], "cluster_size": [10, 40, 10, 40],
                           "recovered_rate": [0.5, 1.0, 0.0, 0.8]})  # fmt: skip
    squares = pd.DataFrame(
        {"panel": [0], "noise_from": 0.0, "noise_to": 0.4, "size_from": 5, "size_to": 80, "recovered_rate": 0.5}
    )
    outline = pd.DataFrame({"panel": [0, 0], "noise_level": [0.1, 0.3], "proved_floor": floor})
    phase.draw_panel(ax, folder(rows=places, squares=squares, outline=outline), 0)
    assert len(ax.lines) == (0 if np.isnan(floor) else 1)


@pytest.mark.parametrize(("lowest", "drawn"), [(-0.2, True), (0.0, False)])
def test_a_boundary_is_where_the_model_changes_sign(ax, lowest, drawn):
    corners = {"within_from": [0.1, 0.5], "within_to": [0.5, 0.9], "between_from": 0.01, "between_to": 0.1}
    table = pd.DataFrame({**corners, "plain_before": [0.5, 0.2], "plain_after": [0.4, 0.6]})
    boundary = pd.DataFrame(
        {"within": [0.1, 0.9] * 2, "between": [0.01, 0.01, 0.1, 0.1], "plain": [lowest, 0.3, lowest, 0.3]}
    )
    heat = sharpening.draw_panel(ax, table, boundary, "plain")
    assert heat.get_array().tolist() == pytest.approx([-0.1, 0.4])
    assert len(ax.collections) == 1 + drawn


def test_tightness_is_shown_beside_one(ax):
    table = pd.DataFrame({"ambient_dim": [8, 16], "batch_size": 32, "ceiling": "separation", "bound": [0.5, 1.0],
                          "measured": [1.5, 3.5], "measured_low": [1.0, 3.0], "measured_high": [2.0, np.nan],
                          "tightness": [3.0, 3.5]})  # fmt: skip
    tightness.draw_ratios(ax, table)
    low, high = ax.get_ylim()
    assert low <= 0.9 < 1.0 < 3.5 < high
    assert [label.get_text() for label in ax.get_xticklabels()] == ["D=8\nn=32", "D=16\nn=32"]
    # An interval's end outside of the grid has no bar.
    (bars,) = (each for each in ax.collections if len(each.get_segments()) == 2)
    assert bars.get_segments()[0][:, 1].tolist() == pytest.approx([2.0, 4.0])
    assert bars.get_segments()[1][:, 1].tolist() == pytest.approx([3.0, 3.5])


def test_ideal_weights_without_a_ceiling_or_measurement_have_no_line(ax):
    ideal = pd.DataFrame({"noise_level": [0.6, 0.2], "input_sharpness": [0.3, 0.7], "identity_sharpness": [0.4, 0.9],
                          "mapped_sharpness": np.nan, "identity_ceiling": 0.3, "mapped_ceiling": 0.0})  # fmt: skip
    training.draw_ideal(ax, ideal)
    drawn = [(line.get_xdata(), line.get_ydata()) for line in ax.lines]
    assert [list(y) for x, y in drawn if len(set(x)) > 1] == [[0.7, 0.3], [0.9, 0.4]]
    assert [x[0] for x, _ in drawn if len(set(x)) == 1] == [0.3]
