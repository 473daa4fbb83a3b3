"""Affinity sharpness against depth: softmax falls to chance, thresholded ReLU stays at 1; measured and predicted."""

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

from figures.looks import color_and_marker
from figures.run_folder import RunFolder

TICKS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def draw(run: RunFolder) -> Figure:
    """Left: sharpness of noisy batches with the model's prediction. Right: the prediction's error by depth."""
    curves, depths = run.tables["curves"], run.tables["depths"]
    curves = curves[(curves["batches"] == "noisy") & ~curves["normalized"].astype(bool)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.8, 3.8), width_ratios=(1.7, 1))
    for i, curve in enumerate(curves.itertuples()):
        look = _look(i)
        part = depths[depths["cell"] == curve.cell].sort_values("layer")
        draw_curve(left, curve, part, look)
        right.plot(part["layer"] + 1, part["error_mean"].where(part["error_mean"] > 1e-7), **look)
    draw_chance(left, curves)
    for ax in (left, right):
        _layer_axis(ax, int(depths["layer"].max()))
    # Chance is lower with more clusters.
    left.set_ylim(min(0.15, left.dataLim.y0 - 0.04), 1.04)
    left.set_ylabel("mean affinity sharpness")
    right.set_yscale("log")
    right.set_ylabel("error of the mean-field prediction")
    config = run.config
    figure.legend(
        [*left.get_legend_handles_labels()[0], Line2D([], [], color="0.3", linestyle=":", linewidth=2),
         Line2D([], [], color="0.3", linestyle="--"), Line2D([], [], color="0.6", linewidth=1)],
        [*left.get_legend_handles_labels()[1], "block model (predicted; circle: its peak)", "Theorem 3c's cap",
         "chance"],
        loc="outside lower center", ncols=3,
    )  # fmt: skip
    figure.suptitle(
        f"Over-fusion: {config['num_clusters']} clusters of {config['cluster_size']}, mean cosines "
        f"{config['within_cos']:g} within and {config['between_cos']:g} between, {config['trials']} batches "
        f"(bands: 5 to 95 %)",
        fontsize=10,
    )
    return figure


def _look(i: int) -> dict[str, Any]:
    """Colors alone tell seven curves apart, dashes being of what is predicted and proved; more have markers."""
    return {"color": f"C{i}"} if i < 7 else {**color_and_marker(i), "markersize": 4, "markevery": 0.1}


def draw_curve(ax: Axes, curve, part: pd.DataFrame, look: dict[str, Any]) -> None:
    """Measured, predicted and, where there is one, the proved cap."""
    place, color = part["layer"] + 1, look["color"]
    ax.plot(place, part["sharpness_mean"], label=curve.name, **look)
    ax.fill_between(place, part["sharpness_low"], part["sharpness_high"], color=color, alpha=0.18, linewidth=0)
    ax.plot(place, part["predicted"], color="0.15", linestyle=":", linewidth=1.6)
    if curve.peak_predicted > 0:
        peak = part[part["layer"] == curve.peak_predicted]
        ax.plot(peak["layer"] + 1, peak["predicted"], "o", markerfacecolor="none", markersize=8, color="0.15")
    if part["cap"].notna().any():
        ax.plot(place, part["cap"], color=color, linestyle="--", linewidth=1)


def draw_chance(ax: Axes, curves: pd.DataFrame) -> None:
    """One line for each chance level: softmax counts a point's weight on itself, ReLU has none."""
    for level in curves["chance"].unique():
        ax.axhline(level, color="0.6", linewidth=1, zorder=1)


def _layer_axis(ax: Axes, depth: int) -> None:
    """Layers on a logarithmic axis, layer 0 included."""
    ax.set_xscale("log")
    ax.set_xlim(1, depth + 1)
    ax.set_xticks([tick + 1 for tick in TICKS if tick <= depth], [str(tick) for tick in TICKS if tick <= depth])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel("layer")
