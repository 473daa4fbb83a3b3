"""Where a block sharpens: the change of affinity sharpness over (within, between), with Proposition 5's boundary."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import SymLogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from figures.run_folder import RunFolder
from figures.ticks import plain_numbers

# Changes below this are drawn on a linear scale, larger ones on a logarithmic one.
LINEAR = 1e-3


def draw(run: RunFolder) -> Figure:
    """One panel a block: plain, squared and thresholded ReLU."""
    table, boundary, config = run.tables["map"], run.tables["boundary"], run.config
    titles = {
        "plain": "plain ReLU",
        "squared": "squared ReLU",
        "thresholded": rf"ReLU with threshold $\tau$ = {config['threshold']:g}",
    }
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 3.7), sharey=True)
    for ax, (name, title) in zip(axes, titles.items()):
        heat = draw_panel(ax, table, boundary, name)
        ax.set_title(title)
        ax.set_xlabel("mean cosine within clusters")
    axes[0].set_ylabel("mean cosine between clusters")
    for ax in axes[2:]:
        ax.axhline(config["threshold"], color="0.35", linewidth=1, linestyle=":")
    figure.colorbar(
        heat, ax=axes, label="measured change of sharpness", pad=0.015, extend="both",
        ticks=[-0.1, -LINEAR, 0, LINEAR, 0.1],
    )  # fmt: skip
    figure.legend(
        [Line2D([], [], color="black", linewidth=1.8), Line2D([], [], color="0.35", linestyle=":")],
        ["predicted boundary (block model: Proposition 5)", r"threshold $\tau$"],
        loc="outside lower center",
        ncols=2,
    )
    figure.suptitle(
        f"Where one block sharpens noisy batches: {config['num_clusters']} clusters of {config['cluster_size']}, "
        f"{config['trials']} batches a square",
        fontsize=10,
    )
    return figure


def draw_panel(ax: Axes, table: pd.DataFrame, boundary: pd.DataFrame, name: str) -> PolyCollection:
    """Squares colored by the measured change; the model's zero as a line."""
    x0, x1, y0, y1 = (table[c].to_numpy() for c in ("within_from", "within_to", "between_from", "between_to"))
    polygons = np.stack([np.stack(corner, -1) for corner in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))], 1)
    change = (table[f"{name}_after"] - table[f"{name}_before"]).to_numpy()
    heat = PolyCollection(list(polygons), array=change, cmap="RdBu", norm=SymLogNorm(LINEAR, vmin=-0.5, vmax=0.5))
    heat.set_edgecolor("face")
    ax.add_collection(heat)
    grid = boundary.pivot(index="between", columns="within", values=name)
    # Where the model sees no change at all (nothing crosses the threshold) nothing is lost: count it as risen.
    values = np.where(grid.abs() < 1e-15, LINEAR, grid)
    if np.nanmin(values) < 0 < np.nanmax(values):
        ax.contour(grid.columns, grid.index, values, levels=[0.0], colors="black", linewidths=1.8)
    ax.set_yscale("log")
    plain_numbers(ax.yaxis)
    ax.set_xlim(x0.min(), x1.max())
    ax.set_ylim(y0.min(), y1.max())
    return heat
