"""What figures say of themselves, against what is drawn in them."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.lines import Line2D
from PIL import Image

from figures.catalogue import draw_all
from figures.legend_names import plain
from figures.readings import rounded
from figures.words import DESCRIPTION, seen
from tests.figures.test_claim_figures import CLAIM
from theory.numerics.whole_files import write_json, write_table


@pytest.fixture
def axes():
    figure, (left, right) = plt.subplots(1, 2)
    yield left, right
    plt.close(figure)


def said(ax):
    return seen(ax.figure)


@pytest.mark.parametrize(
    ("x", "y", "does"),
    [
        ([0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [1, 1, 1, 0.5, 0, 0], "falls from 1 to 0 between 0.3 and 0.5"),
        ([0.6, 0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 1, 1, 0.5, 0], "falls from 1 to 0 between 0.3 and 0.5"),
        ([1, 2, 3], [0.2, 0.5, 0.8], "rises from 0.2 to 0.8"),
        ([1, 2, 3], [0.2, 0.8, 0.5], "from 0.2 it rises to 0.8 at 2, then falls to 0.5"),
        ([1, 2, 3], [0.5, 0.505, 0.5], "stays near 0.5"),
        ([1, 2, 3], [np.nan, 0.25, np.nan], "0.25 at 2"),
        ([1, 2, 2, 1], [0.5, 0.1, 0.3, 0.2], "4 points from 0.1 to 0.5, between 1 and 2"),
    ],
)
def test_a_curve_is_told_by_where_it_goes(axes, x, y, does):
    axes[0].plot(x, y, label="n = 32")
    axes[0].set(xlabel=r"noise $\sigma$", ylabel="rate", ylim=(0, 1))
    assert said(axes[0]) == f"rate against noise σ: n = 32: {does}."


def test_a_change_is_one_where_the_axis_shows_it(axes):
    """From .001 to .01 is nothing on an axis to 1, and much on a logarithmic one."""
    axes[0].plot([1, 2, 3], [0.001, 0.003, 0.01])
    axes[0].set_ylim(0, 1)
    assert "stays near 0.003" in said(axes[0])
    axes[0].set_yscale("log")
    axes[0].set_ylim(1e-3, 1)
    assert "rises from 0.001 to 0.01" in said(axes[0])


def test_curves_that_do_the_same_are_told_once_and_many_by_first_and_last(axes):
    for n in (16, 32, 64):
        axes[0].plot([1, 2], [1, 1], label=f"n = {n}")
    assert "n = 16, n = 32, n = 64: stays near 1" in said(axes[0])
    for n in range(10):
        axes[1].plot([1, 2], [n, n + 1], label=f"curve {n}")
    words = said(axes[1])
    assert "curve 0: rises from 0 to 1; curve 1: rises from 1 to 2; 6 more; curve 8" in words
    assert "curve 9: rises from 9 to 10" in words
    assert seen(axes[0].figure, room=80).endswith("curve 0: rises from 0 to 1; 9 more.")
    assert seen(axes[0].figure, room=60).endswith("stays near 1. 1 more panel.")


def test_names_come_from_the_legend_by_color_stroke_and_marker(axes):
    """As figures draw them: colors for one thing, strokes and hollow markers for another, in grey in the legend."""
    axes[0].plot([1, 2], [0.0, 1.0], color="C0")
    axes[0].plot([1, 2], [0.5, 1.0], color="C0", linestyle="--")
    axes[0].plot([1, 2], [0.6, 1.0], color="C0", linestyle="none", marker="o", markerfacecolor="none")
    axes[0].plot([1, 2], [0.1, 1.0], color="C1")
    axes[0].axvline(1.5, color="C1", linestyle="--")
    axes[0].figure.legend(
        handles=[Line2D([], [], color="C0", label="ReLU"), Line2D([], [], color="C1", label="softmax"),
                 Line2D([], [], color="0.3", linestyle="--", label="bound"),
                 Line2D([], [], color="0.2", linestyle="none", marker="o", label="measured")])  # fmt: skip
    words = said(axes[0])
    for name, start in (("ReLU", "0"), ("ReLU, bound", "0.5"), ("ReLU, measured", "0.6"), ("softmax", "0.1")):
        assert f"{name}: rises from {start} to 1" in words
    assert "softmax, bound: vertical line at 1.5" in words


def test_dashes_of_one_s_own_are_told_apart(axes):
    """Matplotlib calls the stroke of both "--"."""
    axes[0].axvline(1.5, color="C0", linestyle=(0, (4, 2)))
    axes[0].plot([1, 2], [0.0, 1.0], color="C0", linestyle=(0, (1, 1.5)))
    axes[0].figure.legend(handles=[
        Line2D([], [], color="C0", marker="o", label="n = 16"),
        Line2D([], [], color="0.3", linestyle=(0, (4, 2)), label="ceiling"),
        Line2D([], [], color="0.3", linestyle=(0, (1, 1.5)), linewidth=1.0, label="certified")])  # fmt: skip
    words = said(axes[0])
    assert "n = 16, certified: rises from 0 to 1" in words
    assert "n = 16, ceiling: vertical line at 1.5" in words


def test_a_stroke_in_another_color_is_another_thing(axes):
    """A gray one in a legend stands for all colors; a colored one for its own, and nothing is named by it."""
    axes[0].plot([1, 2], [0.0, 1.0], color="C0", linestyle="--", label="labels")
    axes[0].plot([1, 2], [0.2, 1.0], color="C1", linestyle="--")
    axes[0].plot([1, 2], [0.4, 1.0], color="0.4", linestyle="--")
    axes[0].axvline(1.5, color="C2", linestyle="--")
    axes[0].legend()
    assert said(axes[0]) == "labels: rises from 0 to 1."


def test_a_panel_s_own_legend_names_its_lines_and_no_other_panel_s(axes):
    for ax, name, height in zip(axes, ("of TransFusion", "of Deep Fusion"), (0.0, 0.5)):
        ax.plot([1, 2], [height, 1.0], color="C0")
        ax.set_ylabel(f"sharpness {name}")
    axes[0].legend(handles=[Line2D([], [], color="C0", label="block 3")])
    words = said(axes[0])
    assert (
        words == "sharpness of TransFusion: block 3: rises from 0 to 1. sharpness of Deep Fusion: rises from 0.5 to 1."
    )
    axes[0].figure.legend(handles=[Line2D([], [], color="C0", label="block 1")])
    words = said(axes[0])
    assert words.endswith("block 3: rises from 0 to 1. sharpness of Deep Fusion: block 1: rises from 0.5 to 1.")


def test_rows_are_told_by_name_with_their_intervals(axes):
    axes[0].set_yticks([0, 1], ["A minus B", "A minus C"])
    for place, (low, middle, high) in enumerate([(-1.0, 2.0, 5.0), (0.5, 0.75, 1.0)]):
        axes[0].plot([low, high], [place, place], color="C0")
        axes[0].plot(middle, place, color="C0", marker="o")
    axes[0].axvline(0.0)
    axes[0].set_xlabel("difference")
    assert said(axes[0]) == "difference: A minus B 2 [−1, 5], A minus C 0.75 [0.5, 1]."


def test_an_interval_that_leaves_its_panel_is_told_whole(axes):
    axes[0].set_yticks([0, 1], ["A minus B", "A minus C"])
    for place, (low, middle, high) in enumerate([(-5.0, 1.0, 5.0), (0.5, 0.75, 9.0)]):
        axes[0].plot([low, high], [place, place], color="C0")
        axes[0].plot(middle, place, color="C0", marker="o")
    axes[0].set(xlabel="difference", xlim=(-2, 2))
    assert said(axes[0]) == (
        "difference: A minus B 1 [−5 (outside), 5 (outside)], A minus C 0.75 [0.5, 9 (outside)]."
    )  # fmt: skip


def test_places_of_an_axis_are_told_by_what_stands_there(axes):
    """A tick of another number than its place, as where layer 0 is at 1 on a logarithmic axis."""
    axes[0].plot([1, 2, 3, 9], [1.0, 1.0, 0.0, 0.0])
    axes[0].set_xticks([1, 2, 5, 9], ["0", "1", "4", "8"])
    assert "falls from 1 to 0 between 1 and 2" in said(axes[0])


def test_beyond_the_last_tick_an_axis_goes_on_as_it_was(axes):
    """100 layers, and ticks up to 64: the last two are 98 and 100."""
    axes[0].plot([1, 2, 99, 101], [1.0, 1.0, 1.0, 0.0])
    axes[0].set_xticks([1, 65, 33], ["0", "64", "32"])
    assert "falls from 1 to 0 between 98 and 100" in said(axes[0])


@pytest.mark.parametrize(
    ("value", "told"),
    [(1024.0, "1024"), (-65536.0, "−65536"), (1234.5, "1230"), (12.345, "12.3"), (0.00012345, "0.000123"),
     (2.5e12, "2.5e+12"), (-1e-15, "0"), (999.6, "1000")],
)  # fmt: skip
def test_whole_numbers_are_told_in_full(value, told):
    assert rounded(value) == told


@pytest.mark.parametrize(
    ("scale", "x", "y", "does"),
    [
        # Leaves at the top, halfway between its points; enters at the left; is never inside.
        ("linear", [1, 2, 3], [0.0, 0.0, 2.0], "rises from 0 to 1 between 2 and 2.5"),
        ("linear", [0, 2, 3], [0.0, 1.0, 1.0], "rises from 0.5 to 1 between 1 and 2"),
        ("linear", [1, 2, 3], [2.0, 3.0, 2.0], ""),
        # As it is drawn: half of the way from .01 to 100 is 1.
        ("log", [1, 3], [0.01, 100.0], "rises from 0.01 to 1"),
        # Nothing joins a point beyond the top to those beside a gap; one next to it is joined.
        ("linear", [1, 1.5, 2, 2.5, 3], [0.5, np.nan, 5.0, np.nan, 0.4], "falls from 0.5 to 0.4"),
        ("linear", [1, 1.5, 2, 2.5, 3], [0.5, np.nan, 0.6, 1.4, np.inf], "rises from 0.5 to 1"),
    ],
)
def test_what_lies_outside_a_panel_is_not_told(axes, scale, x, y, does):
    axes[0].plot(x, y, label="rate")
    axes[0].axvline(7.0, label="a line outside")
    axes[0].set_yscale(scale)
    axes[0].set(xlim=(1, 3), ylim=(0.0 if scale == "linear" else 0.01, 1.0))
    assert said(axes[0]) == (f"rate: {does}." if does else "")


def test_marks_outside_a_panel_are_left_out(axes):
    axes[0].plot([1, 2, 2, 2, 9], [0.5, 0.1, 0.3, 0.4, 0.25], linestyle="none", marker="o")
    axes[0].set(xlim=(0, 3), ylim=(0.2, 1.0))
    assert said(axes[0]) == "3 points from 0.3 to 0.5, between 1 and 2."


def test_points_beside_the_diagonal(axes):
    axes[0].plot([0, 1], [0, 1], color="0.6")
    axes[0].plot([0.1, 0.2, 0.5], [0.11, 0.25, 0.47], linestyle="none", marker="o", label="sharpness")
    axes[0].set(xlabel="predicted", ylabel="measured")
    assert said(axes[0]) == ("measured against predicted: sharpness: 3 points from 0.11 to 0.47, between 0.1 and 0.5, "
                             "0.03 from the diagonal (median).")  # fmt: skip


def test_cells_are_told_by_their_ends(axes):
    figure, ax = axes[0].figure, axes[0]
    image = ax.imshow([[0.2, np.nan], [-0.5, 0.7]])
    ax.set_xticks([0, 1], ["crop", "color"])
    ax.set_yticks([0, 1], ["blur", "flip"])
    figure.colorbar(image, ax=ax, label="change")
    assert said(ax) == "3 cells of change, from −0.5 (flip, crop) to 0.7 (flip, color); 1 below 0, 2 above."
    axes[1].pcolormesh([0, 1, 2], [0, 10, 20], [[1, 2], [3, 4]])
    assert "4 cells, from 1 near (0.5, 5) to 4 near (1.5, 15)" in seen(figure)


def test_what_is_faint_hidden_or_empty_is_not_told(axes):
    axes[0].plot([1, 2], [0, 1], alpha=0.2, label="a seed")
    axes[0].plot([1, 2], [0, 1], visible=False, label="hidden")
    axes[0].plot([], [], label="nothing")
    assert said(axes[0]) == ""


def test_formulas_are_read_as_letters():
    assert plain("noise level $\\sigma$,\n $\\alpha_l - \\beta_l$") == "noise level σ, α_l - β_l"


def test_files_carry_their_words(tmp_path):
    """In the PNG as its description, as every reader of PNG finds it, and in the PDF as its subject."""
    values = {"labels": (0.2, 0.4, 0.9), "σ views": (0.5, 0.4, 0.1)}
    rows = [{"measure": "sharpness", "block": block, "curve": curve, "seed": seed, "value": value + 0.01 * seed}
            for curve, blocks in values.items() for block, value in enumerate(blocks) for seed in (0, 1)]  # fmt: skip
    write_json(tmp_path / "config.json", CLAIM)
    write_table(tmp_path / "blocks.csv", rows)
    assert draw_all(tmp_path) == [tmp_path / "claim_blocks.png"]
    with Image.open(tmp_path / "claim_blocks.png") as image:
        words = image.info[DESCRIPTION]
    assert words == ("X1: mean over 2 seeds; bars: 95 % intervals. sharpness against block: labels: rises from 0.205 "
                     "to 0.905; σ views: falls from 0.505 to 0.105.")  # fmt: skip
    assert b"/Subject" in (tmp_path / "claim_blocks.pdf").read_bytes()
